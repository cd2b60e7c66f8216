import { Alarm } from '../../lib/alarm.ts'
import type { Clock } from '../../lib/clock.ts'
import { assertNever, messageOf } from '../../lib/errors.ts'
import { Latest } from '../../lib/latest.ts'
import type { Logger } from '../../lib/log.ts'
import { untilFirst } from '../../lib/signals.ts'
import type { DesiredState, Failure, ReconcileCounts, ReconcileStatus, Settlement } from '../desired.ts'
import { kindOf } from '../kinds/kinds.ts'
import { KINDS_ON_DEVICES } from '../kinds/order.ts'
import type { ObjectKind } from '../objects.ts'
import type { KernelEvent, ObjectTable } from '../table.ts'
import { dependsOn, doubt, type News, newsOf } from './events.ts'
import { goneEntries, type Journal, MemoryJournal, networksOf } from './journal.ts'
import { KindMirror } from './mirror.ts'
import { type AuditOptions, Audits, backoffMs, Fights, Retries } from './pacing.ts'
import { Pass } from './pass.ts'
import type { PassNeeds } from './pass-needs.ts'
import { RepairLog } from './repair-log.ts'
import { Settlements } from './settlement.ts'
import { SlowPrograms } from './slow-programs.ts'
import { Wanted } from './wanted.ts'

export interface ReconcilerNeeds {
  readonly tables: readonly ObjectTable[]
  readonly clock: Clock
  readonly log: Logger
  /** Absent: nothing is known of earlier runs, and nothing is left to later ones. */
  readonly journal?: Journal
  /** Hears the duration of every pass, in seconds. */
  readonly onPass?: (seconds: number) => void
  /** Hears of a fault of the program that ended a pass; the next one reads everything again, after a pause. */
  readonly onFault?: (cause: unknown) => void
}

/** 115 s and 30 s where nothing is said. */
export type ReconcilerOptions = Partial<AuditOptions>

/** Events come in bursts (`ip route flush`): one reading for all. */
const BURST_MS = 10
const GIVEN_UP = "the kernel has nothing of it any more but what is another program's"
/** After reading because of events, at least this many times as long is spent on other things. */
const REST = 4

/**
 * Makes and keeps the kernel equal to the desired state. Reads the kernel into a mirror once; after that an event, an
 * answer that contradicts the mirror, or the slow audit makes a kind be read again. Starts with the first `setDesired`.
 */
export class Reconciler {
  /** Set whenever failures or the settled generation change. */
  readonly status = new Latest<ReconcileStatus>('reconciler')
  /** Counts passes; set after each that came to its end. */
  readonly passes = new Latest<number>('complete passes')
  readonly #log: Logger
  readonly #clock: Clock
  readonly #onPass: (seconds: number) => void
  readonly #onFault: (cause: unknown) => void
  readonly #audits: Audits
  readonly #mirrors: ReadonlyMap<ObjectKind, KindMirror>
  readonly #kinds: readonly ObjectKind[]
  readonly #retries = new Retries()
  readonly #fights = new Fights()
  readonly #settlements = new Settlements()
  readonly #pass: PassNeeds
  readonly #wanted: Wanted
  readonly #alarm: Alarm
  readonly #stopping = new AbortController()
  readonly #loop: Promise<void>
  #next: DesiredState | undefined
  #generation = 0
  #desiredGeneration = 0
  #running = false
  #busySince: number | undefined
  #held: KernelEvent[] = []
  #wakeAt = Number.POSITIVE_INFINITY
  #restUntil = 0
  #overruns = 0
  #passes = 0
  #passMs = 0
  #faults = 0
  #notBefore = 0

  constructor(needs: ReconcilerNeeds, options: ReconcilerOptions = {}) {
    this.#log = needs.log
    this.#clock = needs.clock
    this.#onPass = needs.onPass ?? (() => {})
    this.#onFault = needs.onFault ?? ((cause) => this.#log.error('a pass ended by a fault', { why: messageOf(cause) }))
    this.#alarm = new Alarm(needs)
    this.#audits = new Audits({ auditMs: 115_000, sweepMs: 30_000, ...options })
    this.#mirrors = new Map(needs.tables.map((table) => [table.kind, new KindMirror(table)]))
    this.#kinds = [...this.#mirrors.keys()]
    this.#pass = {
      mirrors: this.#mirrors,
      programs: new SlowPrograms({ clock: needs.clock, onFault: this.#onFault }),
      retries: this.#retries,
      fights: this.#fights,
      repairs: new RepairLog(needs),
      journal: needs.journal ?? new MemoryJournal(),
      clock: needs.clock,
      tally: { driftRepaired: new Map(), adopted: new Map(), errors: new Map() },
    }
    this.#wanted = new Wanted(this.#pass)
    this.#loop = this.#run()
  }

  /** Replaces all that was wanted; returns the generation to wait for. Throws a TypeError for a kind without a table. */
  setDesired(next: DesiredState): number {
    this.#next = next
    this.#generation += 1
    // A pass that runs goes by one wish.
    if (this.#running) this.#pass.programs.hurry()
    else this.#adoptNext()
    this.#wake(this.#clock.now())
    return this.#generation
  }

  /** Makes kinds be read again, for a reason that goes to the log. */
  invalidate(kinds: readonly ObjectKind[] | 'all', why: string): void {
    this.#log.debug('mirror invalidated', { kinds, why })
    const doubted = kinds === 'all' ? this.#kinds : kinds
    doubt(this.#mirrors, doubted)
    if (isUrgent(doubted)) this.#pass.programs.hurry()
    this.#wake(this.#clock.now())
  }

  /** What the monitor saw, in order. */
  onEvents(events: readonly KernelEvent[]): void {
    // While a pass runs its answers are not in the mirror yet: our own changes would look like news.
    if (this.#running) {
      for (const event of events) this.#held.push(event)
      if (events.some((event) => event.type !== 'kinds' || isUrgent(event.kinds))) this.#pass.programs.hurry()
    } else for (const event of events) this.#digest(event)
  }

  /** Resolves when every object of that generation, or of a later one, has been tried; rejects when the signal is aborted. */
  settled(generation: number, signal: AbortSignal): Promise<Settlement> {
    return untilFirst([signal, this.#stopping.signal], (stop) => this.#settlements.wait(generation, stop))
  }

  /** What is not as wanted, as of the last pass. */
  failures(): ReadonlyMap<string, Failure> {
    return this.#settlements.last.failures
  }

  counts(): ReconcileCounts {
    const { driftRepaired, adopted, errors } = this.#pass.tally
    return {
      driftRepaired,
      adopted,
      errors,
      overruns: this.#overruns,
      passes: this.#passes,
      passSeconds: this.#passMs / 1000,
    }
  }

  /** For how long the pass that is under way has been running, in ms; 0: none is. */
  busyMs(): number {
    return this.#busySince === undefined ? 0 : this.#clock.now() - this.#busySince
  }

  /** Ends after the batch that is under way; the kernel keeps what it has. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the reconciler was stopped'))
    this.#alarm.stop()
    await this.#loop
    this.status.close()
    this.passes.close()
  }

  #adoptNext(): void {
    const next = this.#next ?? this.#wanted.given
    this.#next = undefined
    this.#desiredGeneration = this.#generation
    this.#wanted.adopt(next)
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      if (this.#wakeAt > this.#clock.now()) await this.#alarm.until(this.#wakeAt)
      else await this.#tryAll(signal).catch((cause) => this.#failed(cause))
    }
  }

  /** A fault in one place must not end the healing of all others. */
  #failed(cause: unknown): void {
    this.#faults += 1
    this.#onFault(cause)
    for (const mirror of this.#mirrors.values()) mirror.stale = true
    this.#held = []
    // Nothing sooner, not even for an event: what fails would fail again.
    this.#notBefore = this.#clock.now() + backoffMs(this.#faults)
    this.#wake(this.#notBefore)
  }

  #wake(at: number): void {
    const due = Math.max(at, this.#notBefore)
    if (due >= this.#wakeAt) return
    this.#wakeAt = due
    this.#alarm.ring()
  }

  async #tryAll(signal: AbortSignal): Promise<void> {
    this.#wakeAt = Number.POSITIVE_INFINITY
    // What came while a pass ended by a fault.
    this.#adoptNext()
    const { desired, given } = this.#wanted
    if (desired === undefined || given === undefined) return
    const generation = this.#desiredGeneration
    const startedAt = this.#clock.now()
    const due = this.#audits.take(startedAt)
    if (due !== undefined)
      doubt(
        this.#mirrors,
        this.#kinds.filter((kind) => !kindOf(kind).events),
      )
    if (due === 'everything') for (const mirror of this.#mirrors.values()) mirror.doubtful = true
    const pass = new Pass(this.#pass, { desired })
    const { journal } = this.#pass
    this.#running = true
    this.#busySince = startedAt
    this.#pass.programs.begin()
    try {
      await journal.record(networksOf(given))
      await pass.run(signal)
      if (pass.complete) await journal.forget(goneEntries(journal.entries, given, pass), GIVEN_UP)
    } finally {
      this.#running = false
      this.#busySince = undefined
    }
    if (!signal.aborted) this.#finish(pass, generation, startedAt)
  }

  #finish(pass: Pass, generation: number, startedAt: number): void {
    const now = this.#clock.now()
    this.#faults = 0
    this.#passes += 1
    this.#passMs += now - startedAt
    this.#onPass((now - startedAt) / 1000)
    this.#restUntil = now + pass.readMs * REST
    const settlement = { generation, failures: pass.failures, unreadable: pass.unreadable }
    if (pass.complete && this.#settlements.reached(settlement)) this.status.set(settlement)
    if (pass.complete) this.passes.set(this.#passes)
    this.#adoptNext()
    this.#schedule(now)
    if (!pass.complete) this.#wake(now + BURST_MS)
    const held = this.#held
    this.#held = []
    for (const event of held) this.#digest(event)
  }

  #digest(event: KernelEvent): void {
    const { desired, devices } = this.#wanted
    if (desired === undefined) return
    if (event.type === 'overrun') this.#overruns += 1
    const news = newsOf(event, { mirrors: this.#mirrors, desired, devices })
    if (news.of !== 'nothing') this.#wake(this.#heed(news))
  }

  /** Invalidates; returns when to look. */
  #heed(news: Exclude<News, { of: 'nothing' }>): number {
    const soon = Math.max(this.#clock.now() + BURST_MS, this.#restUntil)
    switch (news.of) {
      case 'everything':
        this.#log.warn('kernel event queue overflowed, reading everything again')
        doubt(this.#mirrors, this.#kinds)
        return soon
      case 'kinds':
        doubt(this.#mirrors, news.kinds)
        this.#retries.hurry(({ object }) => news.kinds.includes(object.kind))
        return soon
      case 'device':
        doubt(this.#mirrors, ['link', ...KINDS_ON_DEVICES])
        this.#retries.hurry(({ object }) => dependsOn(object, news.name))
        return soon
      case 'object':
        doubt(this.#mirrors, [news.kind])
        this.#retries.hurry(({ key }) => key === news.key)
        return Math.max(soon, this.#fights.nextRepair(news.key))
      default:
        return assertNever(news)
    }
  }

  #schedule(now: number): void {
    this.#audits.finished(now)
    let next = Math.min(this.#audits.nextDue(), this.#retries.nextDue(), this.#fights.nextDue(now))
    for (const { stale, unexamined, unreadable } of this.#mirrors.values()) {
      if (unreadable !== undefined) next = Math.min(next, unreadable.retryAt)
      else if (stale || unexamined) next = now
    }
    // A pause even so: whatever is wrong, passes must not follow each other without letting go of the event loop.
    this.#wake(Math.max(next, now + BURST_MS))
  }
}

/** Kinds that run no programs are looked after within a second. */
function isUrgent(kinds: readonly ObjectKind[]): boolean {
  return kinds.some((kind) => !kindOf(kind).paced)
}
