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
const NOTHING: ReadonlyMap<string, KernelObject> = new Map()

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

/** What keeps one object from being tried at any time. */
interface History {
  /** The kernel refused it, and it has not been right since. */
  refusal?: { failure: Failure; readonly attempts: Attempts }
  /** Of the last repair. */
  object?: KernelObject
  /** Times of the last repairs, oldest first, at most `FIGHT_REPAIRS`. */
  readonly repairs: number[]
  /** Repaired so often that another program must be undoing it. */
  fought: boolean
  /** A repair was put off because of that. */
  putOff: boolean
}

/**
 * When each object may be tried again. What the kernel refused waits longer each time. What another program undoes again and again gets one
 * repair per 5 s, after 30 within a minute and until a minute has passed without need of any: two daemons that undo each other at full
 * speed would take a core each.
 */
export class ObjectPacing {
  readonly #histories = new Map<string, History>()

  /** `atOnce`: what we knew was wrong, so the first new try follows as soon as it has been read again. True: the first refusal. */
  refused(failure: Failure, now: number, atOnce: boolean): boolean {
    const history = this.#historyOf(failure.key)
    const isFirst = history.refusal === undefined
    history.refusal = { failure, attempts: history.refusal?.attempts ?? new Attempts() }
    history.refusal.attempts.failed(now, atOnce)
    return isFirst
  }

  wasRefused(key: string): boolean {
    return this.#histories.get(key)?.refusal !== undefined
  }

  /** The refusal that an object is still waiting with; undefined: it may be tried. */
  waiting(key: string, now: number): Failure | undefined {
    const refusal = this.#histories.size === 0 ? undefined : this.#histories.get(key)?.refusal
    return refusal !== undefined && refusal.attempts.dueAt > now ? refusal.failure : undefined
  }

  /** It is right, or is wanted otherwise by now. */
  forgetRefusal(key: string): void {
    const history = this.#histories.size === 0 ? undefined : this.#histories.get(key)
    if (history === undefined) return
    delete history.refusal
    if (history.repairs.length === 0) this.#histories.delete(key)
  }

  /** Something about these objects changed: they are tried at once, but a further refusal still waits longer. */
  retryNow(concerns: (failure: Failure) => boolean): void {
    for (const { refusal } of this.#histories.values()) {
      if (refusal !== undefined && concerns(refusal.failure)) refusal.attempts.dueAt = 0
    }
  }

  /** Forgets the refusals of all objects but these. */
  keepRefusals(keys: ReadonlySet<string>): void {
    for (const key of this.#histories.keys()) if (!keys.has(key)) this.forgetRefusal(key)
  }

  repaired(key: string, object: KernelObject, now: number): void {
    const history = this.#historyOf(key)
    history.object = object
    history.repairs.push(now)
    if (history.repairs.length > FIGHT_REPAIRS) history.repairs.shift()
    const first = history.repairs[0] ?? now
    if (history.repairs.length === FIGHT_REPAIRS && now - first <= FIGHT_WINDOW_MS) history.fought = true
    history.putOff = false
  }

  /** When the object may be repaired, if it is fought over; 0: at any time. A repair is wanted, and follows then. */
  nextRepair(key: string): number {
    const history = this.#histories.size === 0 ? undefined : this.#histories.get(key)
    if (history === undefined || !history.fought) return 0
    history.putOff = true
    return lastRepair(history) + FIGHT_PAUSE_MS
  }

  /** Objects that are fought over, after forgetting those at peace for a minute. */
  fought(now: number): ReadonlyMap<string, KernelObject> {
    if (this.#histories.size === 0) return NOTHING
    const fought = new Map<string, KernelObject>()
    for (const [key, history] of this.#histories) {
      if (history.repairs.length > 0 && now - lastRepair(history) > FIGHT_WINDOW_MS) this.#forgetRepairs(key, history)
      if (history.fought && history.object !== undefined) fought.set(key, history.object)
    }
    return fought
  }

  /** When something that waits may be tried, or a fight may be over. */
  nextDue(now: number): number {
    let next = NEVER
    for (const history of this.#histories.values()) {
      if (history.refusal !== undefined) next = Math.min(next, history.refusal.attempts.dueAt)
      if (!history.fought) continue
      const mayRepairAt = lastRepair(history) + FIGHT_PAUSE_MS
      // The other program may have put it right by itself: then nothing is due until the fight is over.
      if (mayRepairAt <= now) history.putOff = false
      next = Math.min(next, history.putOff ? mayRepairAt : lastRepair(history) + FIGHT_WINDOW_MS + 1)
    }
    return next
  }

  #historyOf(key: string): History {
    let history = this.#histories.get(key)
    if (history === undefined) {
      history = { repairs: [], fought: false, putOff: false }
      this.#histories.set(key, history)
    }
    return history
  }

  #forgetRepairs(key: string, history: History): void {
    history.repairs.length = 0
    history.fought = false
    if (history.refusal === undefined) this.#histories.delete(key)
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

function lastRepair({ repairs }: History): number {
  return repairs.at(-1) ?? 0
}
