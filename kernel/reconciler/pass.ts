import type { DesiredState, Failure } from '../desired.ts'
import { kindOf } from '../kinds/kinds.ts'
import { APPLY_ORDER, carriedBy, REMOVE_ORDER } from '../kinds/order.ts'
import { type DesiredObject, deviceOf, type ObjectKind } from '../objects.ts'
import {
  asDesired,
  diffUnwanted,
  diffWanted,
  findOccupied,
  foreignDevices,
  type PlannedOp,
  type SparedDevices,
} from './diff.ts'
import { type Journal, recordBefore } from './journal.ts'
import type { KindMirror } from './mirror.ts'
import { Outcome, type OutcomeNeeds } from './outcome.ts'
import type { SlowPrograms } from './slow-programs.ts'

/** What outlives a pass. */
export interface PassNeeds extends OutcomeNeeds {
  readonly programs: SlowPrograms
  readonly journal: Journal
}

/**
 * One attempt to make the kernel equal to one desired state: kind by kind in their order, then removals in reverse. Each kind is
 * compared after the changes of the kinds before it: a device that is made again has lost all that hung on it.
 */
export class Pass {
  readonly outcome: Outcome
  /** Whether it came to its end: only then is known what is in place. */
  complete = false
  /** Milliseconds that reading the kernel has kept others waiting. */
  readMs = 0
  readonly #needs: PassNeeds
  readonly #desired: DesiredState
  #spared: SparedDevices = new Map()

  constructor(needs: PassNeeds, options: { desired: DesiredState }) {
    this.#needs = needs
    this.#desired = options.desired
    this.outcome = new Outcome(needs)
  }

  /** Ends early when the signal is aborted, and when something else is to be done while a program takes long. */
  async run(signal: AbortSignal): Promise<void> {
    if (!(await this.#eachKind(APPLY_ORDER, (mirror) => this.#applyKind(mirror), signal))) return
    if (this.#desired.complete && !(await this.#removeUnwanted(signal))) return
    this.complete = true
    this.outcome.finish(this.#desired)
  }

  /** Does `work` for each kind in turn; those without any cost nothing. False: it ended early. */
  async #eachKind(
    order: readonly ObjectKind[],
    work: (mirror: KindMirror) => Promise<void>,
    signal: AbortSignal,
  ): Promise<boolean> {
    for (const kind of order) {
      const mirror = this.#needs.mirrors.get(kind)
      if (signal.aborted) return false
      if (mirror === undefined || !this.#hasWork(mirror)) continue
      if (!kindOf(kind).paced) await work(mirror)
      else if (!(await this.#needs.programs.run(kind, () => work(mirror), signal))) return false
    }
    return true
  }

  // Which devices are blocked is found out by each pass, and decides about all that hangs on them.
  #hasWork({ kind, hasWork }: KindMirror): boolean {
    return hasWork || kind === 'link' || this.outcome.blocked.size > 0 || this.#needs.programs.isUnderWay(kind)
  }

  async #applyKind(mirror: KindMirror): Promise<void> {
    const { outcome } = this
    const readable = await this.#refresh(mirror)
    if (mirror.kind === 'link') this.#blockDevices(mirror, readable)
    if (!readable) {
      outcome.noteUnreadable(mirror)
      return
    }
    const keys = mirror.startComparing()
    const wanted = mirror.wantedAt(outcome.blocked.size > 0 ? 'all' : keys)
    const { ops, failures } = diffWanted(wanted, mirror.held.front, this.#desired, outcome.blocked)
    for (const [key, failure] of failures) outcome.failures.set(key, failure)
    this.#noteSettled(mirror, wanted, ops)
    const obstacle = kindOf(mirror.kind).announces ? outcome.missingRequirement() : undefined
    const refused = this.#refusedInstead(mirror.kind)
    const due: PlannedOp[] = []
    for (const planned of ops) {
      if (refused !== undefined && planned.op.verb === 'update') {
        outcome.waitsFor(planned, refused)
      } else if (obstacle !== undefined && asDesired(planned.op.object).role.class === 'required') {
        outcome.waitsFor(planned, obstacle)
      } else if (outcome.mayTry(planned, !mirror.unsettled.has(planned.key))) {
        due.push(planned)
      }
    }
    await outcome.apply(mirror, await recordBefore(this.#needs.journal, mirror.kind, { wanted, failures, due }))
  }

  async #removeUnwanted(signal: AbortSignal): Promise<boolean> {
    const { mirrors, pacing, clock } = this.#needs
    const links = mirrors.get('link')
    this.#spared = await findOccupied(this.#desired, mirrors, (mirror) => this.#refresh(mirror))
    // What was not looked at now, since nothing is known of it, is by the next pass.
    links?.markDirty([...this.#spared.keys()].map((name) => `link ${name}`))
    const going = new Set<string>()
    if (links !== undefined && !links.isStale) {
      for (const { key, op } of this.#unwanted(links)) {
        if (op.object.kind !== 'link') continue
        // What hangs on a device goes with it, unless the device itself stays for now.
        if (pacing.waiting(key, clock.now()) === undefined) going.add(op.object.name)
      }
    }
    return await this.#eachKind(REMOVE_ORDER, (mirror) => this.#removeKind(mirror, going), signal)
  }

  async #removeKind(mirror: KindMirror, going: ReadonlySet<string>): Promise<void> {
    if (!(await this.#refresh(mirror))) {
      this.outcome.noteUnreadable(mirror)
      return
    }
    const inUse = this.#carriersInUse(mirror.kind)
    const refused = this.#refusedInstead(mirror.kind)
    const due = this.#unwanted(mirror).filter((planned) => {
      if (going.has(deviceOf(planned.op.object) ?? '')) return false
      const obstacle = refused ?? inUse.get(planned.key)
      if (obstacle !== undefined) this.outcome.waitsFor(planned, obstacle)
      return obstacle === undefined && this.outcome.mayTry(planned, true)
    })
    await this.outcome.apply(mirror, due)
  }

  /** Keys of objects of this kind that would take along what could not be changed away from them yet, with its failure. */
  #carriersInUse(kind: ObjectKind): ReadonlyMap<string, Failure> {
    const inUse = new Map<string, Failure>()
    const carried = carriedBy(kind)
    if (carried.length === 0) return inUse
    for (const [key, failure] of this.outcome.failures) {
      const { kind } = failure.object
      const held = carried.includes(kind) ? this.#needs.mirrors.get(kind)?.held.front.get(key) : undefined
      const carrier = held && kindOf(kind).carrier?.(held)
      if (carrier !== undefined) inUse.set(carrier, failure)
    }
    return inUse
  }

  /** What shall do the work of this kind from now on and cannot be had, with a tool that is missing for one. */
  #refusedInstead(kind: ObjectKind): Failure | undefined {
    const others = kindOf(kind).alsoDoneBy
    if (others === undefined) return undefined
    return [...this.outcome.failures.values()].find(
      ({ key, object }) =>
        others.includes(object.kind) && object.role.class === 'required' && this.#desired.objects.has(key),
    )
  }

  #unwanted(mirror: KindMirror): readonly PlannedOp[] {
    const { blocked } = this.outcome
    const spared = this.#spared.size === 0 ? blocked : new Map([...blocked, ...this.#spared])
    return diffUnwanted(mirror.held, this.#desired, spared, blocked.size > 0 ? 'all' : mirror.comparing)
  }

  async #refresh(mirror: KindMirror): Promise<boolean> {
    const { clock, repairs } = this.#needs
    const startedAt = clock.now()
    const readable = await mirror.refresh(clock, this.#desired, () => repairs.noteError(mirror.kind))
    if (!kindOf(mirror.kind).paced) this.readMs += clock.now() - startedAt
    return readable
  }

  #blockDevices(links: KindMirror, readable: boolean): void {
    const blocked = foreignDevices(links.held.front, this.#desired)
    this.outcome.blocked = blocked
    if (readable) return
    // Whose these devices are is not known now: nothing is put on them, unless they were ours and as they should be.
    for (const [key, object] of links.wanted) {
      if (object.kind !== 'link' || links.isInPlace(key, object)) continue
      const text = links.unreadable?.text ?? ''
      blocked.set(object.name, { key: `link ${object.name}`, object, cause: 'refused', text })
    }
  }

  #noteSettled(mirror: KindMirror, wanted: ReadonlyMap<string, DesiredObject>, ops: readonly PlannedOp[]): void {
    if (mirror.unsettled.size === 0) return
    const differing = new Set(ops.map(({ key }) => key))
    for (const key of mirror.unsettled) {
      if (!wanted.has(key) || differing.has(key) || this.outcome.failures.has(key)) continue
      mirror.unsettled.delete(key)
    }
  }
}
