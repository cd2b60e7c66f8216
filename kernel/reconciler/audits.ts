export interface AuditOptions {
  /** How often everything is read again, in case an event was lost. */
  readonly auditMs: number
  /** How often the kinds without events (sysctls, files) are read again. */
  readonly sweepMs: number
}

/** When the kernel is read again although nothing happened. Times are of `Clock.now()`; runs from the first `finished`. */
export class Audits {
  readonly #options: AuditOptions
  #auditAt = Number.POSITIVE_INFINITY
  #sweepAt = Number.POSITIVE_INFINITY

  constructor(options: AuditOptions) {
    this.#options = options
  }

  /** What is due; asking takes it off the list until `finished`. */
  take(now: number): 'everything' | 'without events' | undefined {
    if (now < this.nextDue()) return undefined
    const everything = now >= this.#auditAt
    if (everything) this.#auditAt = Number.POSITIVE_INFINITY
    this.#sweepAt = Number.POSITIVE_INFINITY
    return everything ? 'everything' : 'without events'
  }

  finished(now: number): void {
    if (this.#auditAt === Number.POSITIVE_INFINITY) this.#auditAt = now + this.#options.auditMs
    if (this.#sweepAt === Number.POSITIVE_INFINITY) this.#sweepAt = now + this.#options.sweepMs
  }

  nextDue(): number {
    return Math.min(this.#auditAt, this.#sweepAt)
  }
}
