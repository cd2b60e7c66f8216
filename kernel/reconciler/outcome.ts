import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { DesiredState, Failure, Unreadable } from '../desired.ts'
import { kindOf } from '../kinds/kinds.ts'
import { KINDS_ON_DEVICES } from '../kinds/order.ts'
import { deviceOf, type KernelObject, type ObjectKind } from '../objects.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../table.ts'
import { asDesired, type PlannedOp } from './diff.ts'
import { noteConsequences } from './events.ts'
import type { KindMirror, Mirrors } from './mirror.ts'
import type { ObjectPacing } from './pacing.ts'
import type { Repairs } from './repairs.ts'
import { unmetRequirements } from './settlement.ts'

export interface OutcomeNeeds {
  readonly mirrors: Mirrors
  readonly pacing: ObjectPacing
  readonly repairs: Repairs
  readonly clock: Clock
}

/** Answers by which the mirror is wrong: something is there or is not, against what it says, or an answer was lost. */
const PROVE_MIRROR_WRONG = new Set([
  'ESTALE',
  'EEXIST',
  'ENOENT',
  'ESRCH',
  'ENODEV',
  'ENXIO',
  'EADDRNOTAVAIL',
  'ENOBUFS',
  'ENETDOWN',
])
/** Answers to a removal by which there is nothing to remove. */
const GONE = new Set(['ENOENT', 'ESRCH', 'ENODEV', 'ENXIO', 'EADDRNOTAVAIL'])

/** Applies the ops of one pass, learns from the answers, and keeps what is not as wanted. */
export class Outcome {
  readonly failures = new Map<string, Failure>()
  readonly unreadable = new Map<ObjectKind, Unreadable>()
  /** Devices on which nothing can be done now, with the failure of the device itself. */
  blocked = new Map<string, Failure>()
  readonly #needs: OutcomeNeeds
  /** Keys that were refused now or wait for another try. */
  readonly #refused = new Set<string>()
  #removed = false

  constructor(needs: OutcomeNeeds) {
    this.#needs = needs
  }

  /** Unknown is not absent: what was in place when it was read last counts as that. */
  noteUnreadable(mirror: KindMirror): void {
    const { text, code } = mirror.unreadable ?? { text: '', code: '' }
    this.unreadable.set(mirror.kind, { text, code })
    for (const [key, object] of mirror.wanted) {
      if (!mirror.isInPlace(key, object)) this.failures.set(key, { key, object, cause: 'refused', text, code })
    }
  }

  /** False: its time to be tried again has not come. `isRepair`: it was right before. */
  mayTry(planned: PlannedOp, isRepair: boolean): boolean {
    const now = this.#needs.clock.now()
    const waiting = this.#needs.pacing.waiting(planned.key, now)
    if (waiting !== undefined) {
      this.#refused.add(planned.key)
      this.#fail(planned, waiting)
      return false
    }
    // Named as a fight at the end of the pass.
    return !(isRepair && this.#needs.pacing.nextRepair(planned.key) > now)
  }

  /** The first required object that should be made and is not: files that say "ready" must not appear before it. */
  missingRequirement(): Failure | undefined {
    return unmetRequirements(this.failures.values()).find(({ object }) => kindOf(object.kind).removed)
  }

  waitsFor(planned: PlannedOp, obstacle: Failure): void {
    this.#fail(planned, { text: `waits for ${obstacle.key}: ${obstacle.text}`, waitsFor: obstacle.key })
  }

  async apply(mirror: KindMirror, due: readonly PlannedOp[]): Promise<void> {
    if (due.length === 0) return
    const results = await answersOf(
      mirror.table,
      due.map(({ op }) => op),
    )
    due.forEach((planned, index) => {
      const result = results[index]
      if (result === undefined) return
      if (result.ok) this.#succeeded(mirror, planned)
      else this.#refuse(mirror, planned, result.error)
    })
  }

  /** The pass came to its end. */
  finish(desired: DesiredState): void {
    const { pacing, repairs, clock, mirrors } = this.#needs
    for (const [key, object] of pacing.fought(clock.now())) {
      if (this.failures.has(key)) continue
      const wanted = desired.objects.get(key) ?? asDesired(object)
      const text = 'changed again and again by another program; repaired every 5 s only'
      this.failures.set(key, { key, object: wanted, cause: 'fought', text })
    }
    // What was removed may have been in the way of something that was refused.
    if (this.#removed) pacing.retryNow(() => true)
    pacing.keepRefusals(this.#refused)
    repairs.flush(clock.now())
    for (const mirror of mirrors.values()) mirror.endComparing()
    for (const [key, { object }] of this.failures) mirrors.get(object.kind)?.markDirty([key])
  }

  #succeeded(mirror: KindMirror, planned: PlannedOp): void {
    const { pacing, repairs, clock } = this.#needs
    const { op, key, ownership } = planned
    const { kind } = mirror
    const now = clock.now()
    pacing.forgetRefusal(key)
    if (op.verb === 'remove') {
      mirror.held.delete(key, op.object)
      this.#removed = true
      pacing.repaired(key, op.object, now)
      if (ownership === 'leftover') repairs.noteClearance(kind, planned, now)
    } else {
      const wasSettled = !mirror.unsettled.has(key)
      mirror.held.put(key, op.object)
      // A program may have taken so long that something else is wanted by now.
      if (mirror.wanted.get(key) === op.object) mirror.unsettled.delete(key)
      if (wasSettled) {
        pacing.repaired(key, op.object, now)
        repairs.noteRepair(kind, planned, now)
      } else if (op.verb !== 'create' && 'role' in op.actual) {
        repairs.noteUpdate(kind, planned, now)
      } else if (ownership === 'adoptable') {
        repairs.noteAdoption(kind, planned, now)
      }
    }
    noteConsequences(this.#needs, op)
  }

  #refuse(mirror: KindMirror, planned: PlannedOp, error: OpError): void {
    const { pacing, repairs, mirrors } = this.#needs
    const { op, key } = planned
    const now = this.#needs.clock.now()
    const isMirrorWrong = PROVE_MIRROR_WRONG.has(error.code)
    if (isMirrorWrong) mirror.invalidate()
    if (isMirrorWrong && deviceOf(op.object) !== undefined) mirrors.get('link')?.invalidate()
    this.#refused.add(key)
    const isGone = op.verb === 'remove' && GONE.has(error.code)
    if (isGone) mirror.held.delete(key, op.object)
    if (isGone && !pacing.wasRefused(key)) {
      // What shall go is gone. Remembered all the same: a table that shows it again must not keep us running in circles.
      pacing.refused(failureOf(planned, { text: error.message, code: error.code }), now, true)
      return
    }
    // What was to go with the device is still there.
    if (mirror.kind === 'link' && op.verb === 'remove') {
      for (const kind of KINDS_ON_DEVICES) mirrors.get(kind)?.markDirty('all')
    }
    const failure = this.#fail(planned, { text: `${error.message} (${error.code})`, code: error.code })
    const isFirst = pacing.refused(failure, now, isMirrorWrong)
    repairs.noteRefusal(mirror.kind, planned, failure.text, { now, isFirst })
  }

  #fail(planned: PlannedOp, reason: Pick<Failure, 'text' | 'code' | 'waitsFor'>): Failure {
    const { key, op } = planned
    const failure = failureOf(planned, reason)
    this.failures.set(key, failure)
    if (op.object.kind === 'link' && op.verb !== 'remove') this.blocked.set(op.object.name, failure)
    return failure
  }
}

function failureOf(
  { key, op }: PlannedOp,
  { text, code, waitsFor }: Pick<Failure, 'text' | 'code' | 'waitsFor'>,
): Failure {
  const why = { ...(code === undefined ? {} : { code }), ...(waitsFor === undefined ? {} : { waitsFor }) }
  return { key, object: asDesired(op.object), cause: 'refused', text, ...why }
}

/** One result per op, whatever the table does. */
async function answersOf(table: ObjectTable, ops: readonly Op<KernelObject>[]): Promise<readonly OpResult[]> {
  try {
    const results = await table.apply(ops)
    return ops.map((_op, index) => results[index] ?? unknown('no answer'))
  } catch (cause) {
    return ops.map(() => unknown(messageOf(cause)))
  }
}

// Nothing is known of it: this code makes the kind be read again.
function unknown(message: string): OpResult {
  return { ok: false, error: { code: 'ENOBUFS', message } }
}
