import type { DesiredState, Failure, Unreadable } from '../desired.ts'
import { kindOf } from '../kinds/kinds.ts'
import { APPLY_ORDER, REMOVE_ORDER } from '../kinds/order.ts'
import { type DesiredObject, deviceOf, type ObjectKind } from '../objects.ts'
import type { OpError } from '../table.ts'
import {
  asDesired,
  diffUnwanted,
  diffWanted,
  findOccupied,
  foreignDevices,
  type PlannedOp,
  type SparedDevices,
} from './diff.ts'
import { doubt, noteConsequences } from './events.ts'
import { recordBefore } from './journal.ts'
import type { KindMirror } from './mirror.ts'
import type { PassNeeds, Tally } from './pass-needs.ts'
import { answersOf, isAlreadyGone, provesMirrorWrong, unmetRequirements } from './settlement.ts'

type Reason = Partial<Pick<Failure, 'code' | 'waitsFor'>>

/**
 * One attempt to make the kernel equal to one desired state. The diff runs kind by kind, each after the changes of the
 * kinds before it: a device that is made again has lost all that hung on it.
 */
export class Pass {
  readonly failures = new Map<string, Failure>()
  readonly unreadable = new Map<ObjectKind, Unreadable>()
  /** Whether it came to its end: only then is known what is in place. */
  complete = false
  /** Milliseconds that reading the kernel has kept others waiting. */
  readMs = 0
  readonly #needs: PassNeeds
  readonly #desired: DesiredState
  #blocked = new Map<string, Failure>()
  #spared: SparedDevices = new Map()
  /** Keys that were refused now or wait for another try. */
  readonly #refused = new Set<string>()
  /** Read when their turn to be compared with what is wanted was over. */
  readonly #readLate = new Set<KindMirror>()
  #removed = false
  #deviceStays = false

  constructor(needs: PassNeeds, options: { desired: DesiredState }) {
    this.#needs = needs
    this.#desired = options.desired
  }

  /** Ends early when the signal is aborted, and when something else is to be done while a program takes long. */
  async run(signal: AbortSignal): Promise<void> {
    if (!(await this.#eachKind(APPLY_ORDER, (mirror) => this.#applyKind(mirror), signal))) return
    if (this.#desired.complete && !(await this.#remove(signal))) return
    this.complete = true
    this.#nameFights()
    // What was removed may have been in the way of something that was refused.
    if (this.#removed) this.#needs.retries.hurry(() => true)
    this.#needs.retries.keepOnly((key) => this.#refused.has(key))
    this.#needs.repairs.flush(this.#now())
    this.#noteExamined()
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

  // Which devices are blocked is found out by each pass.
  #hasWork({ kind, hasWork }: KindMirror): boolean {
    return hasWork || kind === 'link' || this.#blocked.size > 0 || this.#needs.programs.isUnderWay(kind)
  }

  async #applyKind(mirror: KindMirror): Promise<void> {
    const readable = await this.#refresh(mirror)
    if (mirror.kind === 'link') this.#blockDevices(mirror, readable)
    if (!readable) {
      this.#noteUnreadable(mirror)
      return
    }
    const wanted = this.#all(mirror) ? mirror.wanted : mirror.wantedOfChanged()
    const { ops, failures } = diffWanted(wanted, mirror.held.front, this.#desired, this.#blocked)
    for (const [key, failure] of failures) this.failures.set(key, failure)
    this.#noteSettled(mirror, wanted, ops)
    const obstacle = mirror.kind === 'file' ? this.#missingRequirement() : undefined
    const due: PlannedOp[] = []
    for (const planned of ops) {
      if (obstacle !== undefined && asDesired(planned.op.object).role.class === 'required') {
        this.#refuse(planned, `waits for ${obstacle.key}: ${obstacle.text}`, { waitsFor: obstacle.key })
      } else if (this.#mayTry(planned, !mirror.unsettled.has(planned.key))) {
        due.push(planned)
      }
    }
    await this.#apply(mirror, await recordBefore(this.#needs.journal, mirror.kind, { wanted, failures, due }))
  }

  // Unknown is not absent: what was in place when it was read last counts as that.
  #noteUnreadable(mirror: KindMirror): void {
    const { text, code } = mirror.unreadable ?? { text: '', code: '' }
    this.unreadable.set(mirror.kind, { text, code })
    for (const [key, object] of mirror.wanted) {
      if (!mirror.isInPlace(key, object)) this.failures.set(key, { key, object, cause: 'refused', text, code })
    }
  }

  async #remove(signal: AbortSignal): Promise<boolean> {
    const links = this.#needs.mirrors.get('link')
    const { mirrors } = this.#needs
    this.#spared = await findOccupied(this.#desired, mirrors, (mirror) => this.#refresh(mirror))
    const going = new Set<string>()
    if (links !== undefined && !links.stale) {
      for (const { key, op } of this.#unwanted(links)) {
        if (op.object.kind !== 'link') continue
        // What hangs on a device goes with it, unless the device itself stays for now.
        if (this.#needs.retries.waiting(key, this.#now()) === undefined) going.add(op.object.name)
      }
    }
    return await this.#eachKind(REMOVE_ORDER, (mirror) => this.#removeKind(mirror, going), signal)
  }

  async #removeKind(mirror: KindMirror, going: ReadonlySet<string>): Promise<void> {
    const before = mirror.held
    if (!(await this.#refresh(mirror))) {
      this.#noteUnreadable(mirror)
      return
    }
    if (mirror.held !== before) this.#readLate.add(mirror)
    const due = this.#unwanted(mirror).filter(
      (planned) => !going.has(deviceOf(planned.op.object) ?? '') && this.#mayTry(planned, true),
    )
    await this.#apply(mirror, due)
  }

  #unwanted(mirror: KindMirror): readonly PlannedOp[] {
    const blocked = this.#spared.size === 0 ? this.#blocked : new Map([...this.#blocked, ...this.#spared])
    return diffUnwanted(mirror.held, this.#desired, blocked, this.#all(mirror) ? undefined : mirror.changed)
  }

  // Whether a device is blocked decides about all that hangs on it.
  #all(mirror: KindMirror): boolean {
    return mirror.unexamined || this.#blocked.size > 0
  }

  /** What failed must be compared again the next time, and nothing else but what changes until then. */
  #noteExamined(): void {
    const failing = new Map<ObjectKind, Set<string>>()
    for (const kind of this.#needs.mirrors.keys()) failing.set(kind, new Set())
    for (const [key, { object }] of this.failures) failing.get(object.kind)?.add(key)
    for (const [kind, mirror] of this.#needs.mirrors) {
      mirror.examined(failing.get(kind) ?? new Set())
      // What was to go with a device is still there.
      if (this.#deviceStays || this.#readLate.has(mirror)) mirror.unexamined = true
    }
  }

  async #refresh(mirror: KindMirror): Promise<boolean> {
    const startedAt = this.#now()
    const readable = await mirror.refresh(this.#needs.clock, this.#desired, () => this.#count('errors', mirror.kind))
    if (!kindOf(mirror.kind).paced) this.readMs += this.#now() - startedAt
    return readable
  }

  #blockDevices(links: KindMirror, readable: boolean): void {
    this.#blocked = foreignDevices(links.held.front, this.#desired)
    if (readable) return
    // Whose these devices are is not known now: nothing is put on them, unless they were ours and as they should be.
    for (const [key, object] of links.wanted) {
      if (object.kind !== 'link' || links.isInPlace(key, object)) continue
      const text = links.unreadable?.text ?? ''
      this.#blocked.set(object.name, { key: `link ${object.name}`, object, cause: 'refused', text })
    }
  }

  #noteSettled(mirror: KindMirror, wanted: ReadonlyMap<string, DesiredObject>, ops: readonly PlannedOp[]): void {
    if (mirror.unsettled.size === 0) return
    const differing = new Set(ops.map(({ key }) => key))
    for (const key of mirror.unsettled) {
      if (!wanted.has(key) || differing.has(key) || this.failures.has(key)) continue
      mirror.unsettled.delete(key)
    }
  }

  #mayTry(planned: PlannedOp, isRepair: boolean): boolean {
    const waiting = this.#needs.retries.waiting(planned.key, this.#now())
    if (waiting !== undefined) {
      this.#refused.add(planned.key)
      this.#refuse(planned, waiting.text, waiting)
      return false
    }
    // Named as a fight at the end of the pass.
    return !(isRepair && this.#needs.fights.mustWait(planned.key, this.#now()))
  }

  async #apply(mirror: KindMirror, due: readonly PlannedOp[]): Promise<void> {
    if (due.length === 0) return
    const results = await answersOf(
      mirror.table,
      due.map(({ op }) => op),
    )
    due.forEach((planned, index) => {
      const result = results[index]
      if (result?.ok) this.#succeeded(mirror, planned)
      else if (result !== undefined) this.#failed(mirror, planned, result.error)
    })
  }

  #succeeded(mirror: KindMirror, planned: PlannedOp): void {
    const { op, key, ownership } = planned
    const { kind } = mirror
    this.#needs.retries.forget(key)
    if (op.verb === 'remove') {
      mirror.held.delete(key, op.object)
      this.#removed = true
      this.#needs.fights.repaired(key, op.object, this.#now())
      if (ownership === 'leftover') this.#needs.repairs.cleared(kind, planned, this.#now())
    } else {
      const wasSettled = !mirror.unsettled.has(key)
      mirror.held.put(key, op.object)
      // A program may have taken so long that something else is wanted by now.
      if (mirror.wanted.get(key) === op.object) mirror.unsettled.delete(key)
      if (wasSettled) {
        this.#count('driftRepaired', kind)
        this.#needs.fights.repaired(key, op.object, this.#now())
        this.#needs.repairs.repaired(kind, planned, this.#now())
      } else if (op.verb !== 'create' && 'role' in op.actual) {
        this.#needs.repairs.updated(kind, planned, this.#now())
      } else if (ownership === 'adoptable') {
        this.#count('adopted', kind)
        this.#needs.repairs.adopted(kind, planned, this.#now())
      }
    }
    noteConsequences(this.#needs, planned)
  }

  #failed(mirror: KindMirror, planned: PlannedOp, error: OpError): void {
    const wrong = provesMirrorWrong(error)
    if (wrong) mirror.stale = true
    if (wrong && deviceOf(planned.op.object) !== undefined) doubt(this.#needs.mirrors, ['link'])
    this.#refused.add(planned.key)
    const isGone = isAlreadyGone(planned.op, error)
    if (isGone) mirror.held.delete(planned.key, planned.op.object)
    if (isGone && !this.#needs.retries.isKnown(planned.key)) {
      // What shall go is gone. Remembered all the same: a table that shows it again must not keep us running in circles.
      this.#needs.retries.failed(this.#failureOf(planned, error.message, error), this.#now(), true)
      return
    }
    if (mirror.kind === 'link' && planned.op.verb === 'remove') this.#deviceStays = true
    this.#count('errors', mirror.kind)
    const text = `${error.message} (${error.code})`
    const failure = this.#refuse(planned, text, error)
    const { first } = this.#needs.retries.failed(failure, this.#now(), wrong)
    if (first) this.#needs.repairs.refused(mirror.kind, planned, text, this.#now())
  }

  #failureOf({ key, op }: PlannedOp, text: string, { code, waitsFor }: Reason): Failure {
    const why = { ...(code === undefined ? {} : { code }), ...(waitsFor === undefined ? {} : { waitsFor }) }
    return { key, object: asDesired(op.object), cause: 'refused', text, ...why }
  }

  #refuse(planned: PlannedOp, text: string, reason: Reason): Failure {
    const { key, op } = planned
    const failure = this.#failureOf(planned, text, reason)
    this.failures.set(key, failure)
    if (op.object.kind === 'link' && op.verb !== 'remove') this.#blocked.set(op.object.name, failure)
    return failure
  }

  /** The first required object that should be made and is not: files that say "ready" must not appear before it. */
  #missingRequirement(): Failure | undefined {
    return unmetRequirements(this.failures.values()).find(({ object }) => kindOf(object.kind).removed)
  }

  #nameFights(): void {
    for (const [key, object] of this.#needs.fights.fought(this.#now())) {
      if (this.failures.has(key)) continue
      const wanted = this.#desired.objects.get(key) ?? asDesired(object)
      const text = 'changed again and again by another program; repaired every 5 s only'
      this.failures.set(key, { key, object: wanted, cause: 'fought', text })
    }
  }

  #count(what: keyof Tally, kind: ObjectKind): void {
    this.#needs.tally[what].set(kind, (this.#needs.tally[what].get(kind) ?? 0) + 1)
  }

  #now(): number {
    return this.#needs.clock.now()
  }
}
