import type { Failure } from '../desired.ts'
import type { KernelObject } from '../objects.ts'

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

const WINDOW_MS = 60_000
const MOST_REPAIRS = 30
const SLOW_MS = 5_000

const NOBODY: ReadonlyMap<string, KernelObject> = new Map()

interface Fight {
  readonly object: KernelObject
  /** Times of the last repairs, oldest first, at most `MOST_REPAIRS`. */
  repairs: number[]
  slowed: boolean
  /** A repair was put off. */
  waiting: boolean
}

/**
 * Another program that undoes our repairs: after 30 repairs of one object within a minute it gets one per 5 s, until a
 * minute has passed without need of any. Two daemons that undo each other at full speed would take a core each.
 */
export class Fights {
  readonly #fights = new Map<string, Fight>()

  repaired(key: string, object: KernelObject, now: number): void {
    const fight = this.#fights.get(key) ?? { object, repairs: [], slowed: false, waiting: false }
    this.#fights.set(key, fight)
    fight.repairs.push(now)
    if (fight.repairs.length > MOST_REPAIRS) fight.repairs.shift()
    const first = fight.repairs[0] ?? now
    if (fight.repairs.length === MOST_REPAIRS && now - first <= WINDOW_MS) fight.slowed = true
    fight.waiting = false
  }

  /** Whether a repair must be put off. */
  mustWait(key: string, now: number): boolean {
    const fight = this.#fights.size === 0 ? undefined : this.#fights.get(key)
    if (fight === undefined || !fight.slowed || now >= lastOf(fight) + SLOW_MS) return false
    fight.waiting = true
    return true
  }

  /** When the object may be repaired next, if it is fought over. */
  nextRepair(key: string): number {
    const fight = this.#fights.size === 0 ? undefined : this.#fights.get(key)
    if (fight === undefined || !fight.slowed) return 0
    fight.waiting = true
    return lastOf(fight) + SLOW_MS
  }

  /** Objects that are fought over, after forgetting those at peace for a minute. */
  fought(now: number): ReadonlyMap<string, KernelObject> {
    if (this.#fights.size === 0) return NOBODY
    for (const [key, fight] of this.#fights) if (now - lastOf(fight) > WINDOW_MS) this.#fights.delete(key)
    return new Map([...this.#fights].filter(([, fight]) => fight.slowed).map(([key, { object }]) => [key, object]))
  }

  /** When a repair that was put off may be made, or a fight may be over; later than `now`. */
  nextDue(now: number): number {
    let next = Number.POSITIVE_INFINITY
    for (const fight of this.#fights.values()) {
      if (!fight.slowed) continue
      // The other program may have put it right by itself: then nothing is due until the fight is over.
      if (lastOf(fight) + SLOW_MS <= now) fight.waiting = false
      next = Math.min(next, lastOf(fight) + (fight.waiting ? SLOW_MS : WINDOW_MS + 1))
    }
    return next
  }
}

function lastOf(fight: Fight): number {
  return fight.repairs.at(-1) ?? 0
}

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
