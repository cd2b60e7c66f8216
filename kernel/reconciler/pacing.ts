import type { Failure } from '../desired.ts'
import type { KernelObject } from '../objects.ts'

const FIRST_RETRY_MS = 250
const LAST_RETRY_MS = 30_000
const FIGHT_WINDOW_MS = 60_000
const FIGHT_REPAIRS = 30
const FIGHT_PAUSE_MS = 5_000
/** Events come in bursts (`ip route flush`): one reading for all. */
const BURST_MS = 10
/** After reading because of events, at least this many times as long is spent on other things. */
const REST = 4

const NEVER = Number.POSITIVE_INFINITY

/** Tries of one thing that failed in a row, and when the next one is due: after 250 ms, doubling to 30 s. All times are of `Clock.now()`. */
export class Attempts {
  dueAt = 0
  #failures = 0

  /** `atOnce`: the first failure is followed by a try without a wait. */
  failed(now: number, atOnce = false): void {
    this.#failures += 1
    const wait = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(this.#failures - 1, 20))
    this.dueAt = now + (atOnce && this.#failures === 1 ? 0 : wait)
  }

  succeeded(): void {
    this.#failures = 0
    this.dueAt = 0
  }
}

interface Refusal {
  failure: Failure
  readonly attempts: Attempts
}

interface RepairHistory {
  /** As it was repaired last. */
  object: KernelObject
  /** Oldest first, at most `FIGHT_REPAIRS`. */
  readonly times: number[]
  /** So many in so short a time that another program must be undoing them. */
  fought: boolean
  /** A repair is wanted and was put off. */
  putOff: boolean
}

/**
 * When each object may be tried again. What the kernel refused waits longer each time. What another program undoes again and again gets one
 * repair per 5 s, after 30 within a minute and until a minute has passed without need of any: two daemons that undo each other at full
 * speed would take a core each.
 */
export class ObjectPacing {
  readonly #refusals = new Map<string, Refusal>()
  /** Of the last minute. */
  readonly #repairs = new Map<string, RepairHistory>()

  /** `atOnce`: what we knew was wrong, so the first new try follows as soon as it has been read again. True: the first refusal. */
  refused(failure: Failure, now: number, atOnce: boolean): boolean {
    const before = this.#refusals.get(failure.key)
    const refusal = { failure, attempts: before?.attempts ?? new Attempts() }
    refusal.attempts.failed(now, atOnce)
    this.#refusals.set(failure.key, refusal)
    return before === undefined
  }

  wasRefused(key: string): boolean {
    return this.#refusals.has(key)
  }

  /** The refusal that an object is still waiting with; undefined: it may be tried. */
  waiting(key: string, now: number): Failure | undefined {
    const refusal = this.#refusals.get(key)
    return refusal !== undefined && refusal.attempts.dueAt > now ? refusal.failure : undefined
  }

  /** It is right, or is wanted otherwise by now. */
  forgetRefusal(key: string): void {
    this.#refusals.delete(key)
  }

  /** Something about these objects changed: they are tried at once, but a further refusal still waits longer. */
  retryNow(concerns: (failure: Failure) => boolean): void {
    for (const { failure, attempts } of this.#refusals.values()) if (concerns(failure)) attempts.dueAt = 0
  }

  /** Forgets the refusals of all objects but these. */
  keepRefusals(keys: ReadonlySet<string>): void {
    for (const key of this.#refusals.keys()) if (!keys.has(key)) this.#refusals.delete(key)
  }

  repaired(key: string, object: KernelObject, now: number): void {
    const history = this.#repairs.get(key) ?? { object, times: [], fought: false, putOff: false }
    this.#repairs.set(key, history)
    history.object = object
    history.putOff = false
    history.times.push(now)
    if (history.times.length > FIGHT_REPAIRS) history.times.shift()
    const first = history.times[0] ?? now
    if (history.times.length === FIGHT_REPAIRS && now - first <= FIGHT_WINDOW_MS) history.fought = true
  }

  /** When the object may be repaired, if it is fought over; 0: at any time. A repair is wanted, and follows then. */
  nextRepair(key: string): number {
    const history = this.#repairs.get(key)
    if (history === undefined || !history.fought) return 0
    history.putOff = true
    return lastOf(history) + FIGHT_PAUSE_MS
  }

  /** Objects that are fought over, after forgetting those at peace for a minute. */
  fought(now: number): ReadonlyMap<string, KernelObject> {
    const fought = new Map<string, KernelObject>()
    for (const [key, history] of this.#repairs) {
      if (now - lastOf(history) > FIGHT_WINDOW_MS) this.#repairs.delete(key)
      else if (history.fought) fought.set(key, history.object)
    }
    return fought
  }

  /** When something that waits may be tried, or a fight may be over. */
  nextDue(now: number): number {
    let next = NEVER
    for (const { attempts } of this.#refusals.values()) next = Math.min(next, attempts.dueAt)
    for (const history of this.#repairs.values()) {
      if (!history.fought) continue
      const mayRepairAt = lastOf(history) + FIGHT_PAUSE_MS
      // The other program may have put it right by itself: then nothing is due until the fight is over.
      if (mayRepairAt <= now) history.putOff = false
      next = Math.min(next, history.putOff ? mayRepairAt : lastOf(history) + FIGHT_WINDOW_MS + 1)
    }
    return next
  }
}

export interface AuditOptions {
  /** How often everything is read again, in case an event was lost. */
  readonly auditMs: number
  /** How often the kinds without events (sysctls, files) are read again. */
  readonly sweepMs: number
}

/** When the next pass may begin, and when it must although nothing happened. */
export class PassPacing {
  readonly #options: AuditOptions
  readonly #faults = new Attempts()
  #auditAt = NEVER
  #sweepAt = NEVER
  #restUntil = 0

  constructor(options: AuditOptions) {
    this.#options = options
  }

  /** What is to be read again although nothing happened; asking takes it off the list until `finished`. */
  takeAudit(now: number): 'everything' | 'without events' | undefined {
    if (now < this.nextAudit()) return undefined
    const everything = now >= this.#auditAt
    if (everything) this.#auditAt = NEVER
    this.#sweepAt = NEVER
    return everything ? 'everything' : 'without events'
  }

  nextAudit(): number {
    return Math.min(this.#auditAt, this.#sweepAt)
  }

  /** A pass ended; `readMs`: for so long it has kept others waiting by reading the kernel. */
  finished(now: number, readMs: number): void {
    this.#faults.succeeded()
    this.#restUntil = now + readMs * REST
    if (this.#auditAt === NEVER) this.#auditAt = now + this.#options.auditMs
    if (this.#sweepAt === NEVER) this.#sweepAt = now + this.#options.sweepMs
  }

  /** A pass ended by a fault of the program: no other one before this time, not even for an event, for it would fail again. */
  faulted(now: number): number {
    this.#faults.failed(now)
    return this.#faults.dueAt
  }

  notBefore(at: number): number {
    return Math.max(at, this.#faults.dueAt)
  }

  /** The next pass without a reason for more speed: whatever is wrong, passes must not follow each other without letting go of the event loop. */
  notAtOnce(at: number, now: number): number {
    return Math.max(at, now + BURST_MS)
  }

  /** When to look after an event. */
  afterEvent(now: number): number {
    return Math.max(now + BURST_MS, this.#restUntil)
  }
}

function lastOf({ times }: RepairHistory): number {
  return times.at(-1) ?? 0
}
