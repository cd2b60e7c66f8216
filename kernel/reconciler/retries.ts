import type { Failure } from '../desired.ts'

const FIRST_MS = 250
const MOST_MS = 30_000

interface Retry {
  failures: number
  dueAt: number
  failure: Failure
}

/** Which objects the kernel refused, and when each is tried again: 250 ms, doubling to 30 s. Times are of `Clock.now()`. */
export class Retries {
  readonly #retries = new Map<string, Retry>()

  /** `soon`: what we knew was wrong, so the first new try is worth making at once after reading again. */
  failed(failure: Failure, now: number, soon: boolean): { first: boolean } {
    const failures = (this.#retries.get(failure.key)?.failures ?? 0) + 1
    const wait = soon && failures === 1 ? 0 : backoffMs(failures)
    this.#retries.set(failure.key, { failures, dueAt: now + wait, failure })
    return { first: failures === 1 }
  }

  /** The failure that an object is still waiting with; undefined: it may be tried. */
  waiting(key: string, now: number): Failure | undefined {
    if (this.#retries.size === 0) return undefined
    const retry = this.#retries.get(key)
    return retry !== undefined && retry.dueAt > now ? retry.failure : undefined
  }

  isKnown(key: string): boolean {
    return this.#retries.has(key)
  }

  forget(key: string): void {
    if (this.#retries.size > 0) this.#retries.delete(key)
  }

  /** Something about these objects changed: they are tried at once, but a further failure still waits longer. */
  hurry(concerns: (failure: Failure) => boolean): boolean {
    let found = false
    for (const retry of this.#retries.values()) {
      if (!concerns(retry.failure)) continue
      retry.dueAt = 0
      found = true
    }
    return found
  }

  /** Forgets what is neither failing nor waiting any more. */
  keepOnly(keep: (key: string) => boolean): void {
    for (const key of this.#retries.keys()) if (!keep(key)) this.#retries.delete(key)
  }

  nextDue(): number {
    let next = Number.POSITIVE_INFINITY
    for (const { dueAt } of this.#retries.values()) next = Math.min(next, dueAt)
    return next
  }
}

/** Milliseconds to wait after so many failures in a row. */
export function backoffMs(failures: number): number {
  return Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(failures - 1, 20))
}
