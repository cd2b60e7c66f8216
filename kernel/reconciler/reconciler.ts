import { Alarm } from '../../lib/alarm.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import { Latest } from '../../lib/latest.ts'
import type { Logger } from '../../lib/log.ts'
import { untilFirst } from '../../lib/signals.ts'
import type { DesiredState, Failure, ReconcileCounts, ReconcileStatus, Settlement } from '../desired.ts'
import { kindOf } from '../kinds/kinds.ts'
import type { ObjectKind } from '../objects.ts'
import type { KernelEvent, ObjectTable } from '../table.ts'
import { type Invalidation, invalidate, invalidatedBy } from './events.ts'
import { goneEntries, type Journal, networksOf } from './journal.ts'
import { KindMirror, type Mirrors } from './mirror.ts'
import { type AuditOptions, ObjectPacing, PassPacing } from './pacing.ts'
import { Pass, type PassNeeds } from './pass.ts'
import { Repairs } from './repairs.ts'
import { Settlements } from './settlement.ts'
import { SlowPrograms } from './slow-programs.ts'
import { Wanted } from './wanted.ts'

export interface ReconcilerNeeds {
  readonly tables: readonly ObjectTable[]
  readonly clock: Clock
  readonly log: Logger
  readonly journal: Journal
  /** Hears the duration of every pass, in seconds. */
  readonly onPass?: (seconds: number) => void
  /** Hears of a fault of the program that ended a pass; the next one reads everything again, after a pause. */
  readonly onFault?: (cause: unknown) => void
}

/** 115 s and 30 s where nothing is said. */
export type ReconcilerOptions = Partial<AuditOptions>

const GIVEN_UP = "the kernel has nothing of it any more but what is another program's"

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
  readonly #pacing: PassPacing
  readonly #mirrors: Mirrors
  readonly #needs: PassNeeds
  readonly #wanted: Wanted
  readonly #settlements = new Settlements()
  readonly #alarm: Alarm
  readonly #stopping = new AbortController()
  readonly #loop: Promise<void>
  /** Wanted as soon as no pass runs. */
  #next: DesiredState | undefined
  #generation = 0
  #desiredGeneration = 0
  #busySince: number | undefined
  /** Events that came during the pass. */
  #waitingEvents: KernelEvent[] = []
  #wakeAt = Number.POSITIVE_INFINITY
  #overruns = 0
  #passes = 0
  #passMs = 0

  constructor(needs: ReconcilerNeeds, options: ReconcilerOptions = {}) {
    this.#log = needs.log
    this.#clock = needs.clock
    this.#onPass = needs.onPass ?? (() => {})
    this.#onFault = needs.onFault ?? ((cause) => this.#log.error('a pass ended by a fault', { why: messageOf(cause) }))
    this.#alarm = new Alarm(needs)
    this.#pacing = new PassPacing({ auditMs: 115_000, sweepMs: 30_000, ...options })
    this.#mirrors = new Map(needs.tables.map((table) => [table.kind, new KindMirror(table)]))
    this.#needs = {
      mirrors: this.#mirrors,
      programs: new SlowPrograms({ clock: needs.clock, onFault: this.#onFault }),
      pacing: new ObjectPacing(),
      repairs: new Repairs(needs),
      journal: needs.journal,
      clock: needs.clock,
    }
    this.#wanted = new Wanted(this.#needs)
    this.#loop = this.#run()
  }

  /** Replaces all that was wanted; returns the generation to wait for. Throws a TypeError for a kind without a table. */
  setDesired(next: DesiredState): number {
    this.#next = next
    this.#generation += 1
    // A pass that runs goes by one desired state.
    if (this.#isRunning) this.#needs.programs.letGo()
    else this.#takeNext()
    this.#wake(this.#clock.now())
    return this.#generation
  }

  /** Makes kinds be read again, for a reason that goes to the log. */
  invalidate(kinds: readonly ObjectKind[] | 'all', why: string): void {
    this.#log.debug('mirror invalidated', { kinds, why })
    const invalidated = kinds === 'all' ? [...this.#mirrors.keys()] : kinds
    for (const kind of invalidated) this.#mirrors.get(kind)?.invalidate()
    if (isUrgent(invalidated)) this.#needs.programs.letGo()
    this.#wake(this.#clock.now())
  }

  /** What the monitor saw, in order. */
  onEvents(events: readonly KernelEvent[]): void {
    if (!this.#isRunning) {
      for (const event of events) this.#note(event)
      return
    }
    // The answers of the pass are not in the mirror yet: our own changes would look like somebody else's.
    for (const event of events) this.#waitingEvents.push(event)
    if (events.some((event) => event.type !== 'kinds' || isUrgent(event.kinds))) this.#needs.programs.letGo()
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
    const { driftRepaired, adopted, errors } = this.#needs.repairs
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

  get #isRunning(): boolean {
    return this.#busySince !== undefined
  }

  #takeNext(): void {
    const next = this.#next ?? this.#wanted.given
    this.#next = undefined
    this.#desiredGeneration = this.#generation
    this.#wanted.adopt(next)
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      if (this.#wakeAt > this.#clock.now()) await this.#alarm.until(this.#wakeAt)
      else await this.#tryAll(signal).catch((cause) => this.#faulted(cause))
    }
  }

  /** A fault in one place must not end the healing of all others. */
  #faulted(cause: unknown): void {
    this.#onFault(cause)
    for (const mirror of this.#mirrors.values()) mirror.invalidate()
    this.#waitingEvents = []
    this.#wake(this.#pacing.faulted(this.#clock.now()))
  }

  #wake(at: number): void {
    const due = this.#pacing.notBefore(at)
    if (due >= this.#wakeAt) return
    this.#wakeAt = due
    this.#alarm.ring()
  }

  async #tryAll(signal: AbortSignal): Promise<void> {
    this.#wakeAt = Number.POSITIVE_INFINITY
    // What came while a pass ended by a fault.
    this.#takeNext()
    const { desired, given } = this.#wanted
    if (desired === undefined || given === undefined) return
    const generation = this.#desiredGeneration
    const startedAt = this.#clock.now()
    this.#audit(startedAt)
    const pass = new Pass(this.#needs, { desired })
    const { journal } = this.#needs
    this.#busySince = startedAt
    this.#needs.programs.begin()
    try {
      await journal.record(networksOf(given))
      await pass.run(signal)
      // Nobody waits for the disk: an entry without an object does no harm.
      if (pass.complete)
        journal
          .forget(goneEntries(journal.entries, given, pass.outcome), GIVEN_UP)
          .catch((cause) => this.#onFault(cause))
    } finally {
      this.#busySince = undefined
    }
    if (!signal.aborted) this.#finish(pass, generation, startedAt)
  }

  #audit(now: number): void {
    const due = this.#pacing.takeAudit(now)
    if (due === undefined) return
    for (const mirror of this.#mirrors.values()) {
      if (!kindOf(mirror.kind).events) mirror.invalidate()
      else if (due === 'everything') mirror.suspect()
    }
  }

  #finish(pass: Pass, generation: number, startedAt: number): void {
    const now = this.#clock.now()
    this.#passes += 1
    this.#passMs += now - startedAt
    this.#onPass((now - startedAt) / 1000)
    this.#pacing.finished(now, pass.readMs)
    const { failures, unreadable } = pass.outcome
    const settlement = { generation, failures, unreadable }
    if (pass.complete && this.#settlements.reached(settlement)) this.status.set(settlement)
    if (pass.complete) this.passes.set(this.#passes)
    this.#takeNext()
    const events = this.#waitingEvents
    this.#waitingEvents = []
    this.#wake(this.#pacing.notAtOnce(pass.complete ? this.#nextDue(now) : now, now))
    for (const event of events) this.#note(event)
  }

  #nextDue(now: number): number {
    let next = Math.min(this.#pacing.nextAudit(), this.#needs.pacing.nextDue(now))
    for (const mirror of this.#mirrors.values()) next = Math.min(next, mirror.nextDue(now))
    return next
  }

  #note(event: KernelEvent): void {
    const { desired, devices } = this.#wanted
    if (desired === undefined) return
    if (event.type === 'overrun') {
      this.#overruns += 1
      this.#log.warn('kernel event queue overflowed, reading everything again')
    }
    const invalidation = invalidatedBy(event, { mirrors: this.#mirrors, desired, devices })
    if (invalidation === undefined) return
    invalidate(this.#needs, invalidation)
    this.#wake(this.#whenToRepair(invalidation))
  }

  #whenToRepair({ key }: Invalidation): number {
    const soon = this.#pacing.afterEvent(this.#clock.now())
    return key === undefined ? soon : Math.max(soon, this.#needs.pacing.nextRepair(key))
  }
}

/** Kinds that run no programs are looked after within a second. */
function isUrgent(kinds: readonly ObjectKind[]): boolean {
  return kinds.some((kind) => !kindOf(kind).paced)
}
