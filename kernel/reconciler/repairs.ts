import type { Logger } from '../../lib/log.ts'
import { describe } from '../kinds/words.ts'
import type { ObjectKind } from '../objects.ts'
import type { PlannedOp } from './diff.ts'

const BURST_MS = 10_000

interface Burst {
  startedAt: number
  folded: number
}

/**
 * Counts what was found changed, and says so: the first of a burst with its old value at warn, the rest as a number when the burst
 * ends.
 */
export class Repairs {
  readonly driftRepaired = new Map<ObjectKind, number>()
  readonly adopted = new Map<ObjectKind, number>()
  readonly errors = new Map<ObjectKind, number>()
  readonly #log: Logger
  readonly #bursts = new Map<string, Burst>()

  constructor(needs: { log: Logger }) {
    this.#log = needs.log
  }

  /** Ours, was right, was changed or removed by someone, is right again. */
  noteRepair(kind: ObjectKind, planned: PlannedOp, now: number): void {
    count(this.driftRepaired, kind)
    if (this.#isFirst(`${kind} repaired`, now)) this.#log.warn(`${kind} repaired`, fieldsOf(planned))
  }

  /** Somebody else's at a wanted key, replaced by ours. */
  noteAdoption(kind: ObjectKind, planned: PlannedOp, now: number): void {
    count(this.adopted, kind)
    if (this.#isFirst(`${kind} adopted`, now)) this.#log.info(`${kind} adopted`, fieldsOf(planned))
  }

  /** What stood there was wanted until now. */
  noteUpdate(kind: ObjectKind, planned: PlannedOp, now: number): void {
    if (this.#isFirst(`${kind} updated`, now)) this.#log.info(`${kind} updated`, fieldsOf(planned))
  }

  /** Left behind by flannel. */
  noteClearance(kind: ObjectKind, planned: PlannedOp, now: number): void {
    if (this.#isFirst(`leftover ${kind} removed`, now)) this.#log.info(`leftover ${kind} removed`, fieldsOf(planned))
  }

  /** The kernel said no. Only the first time is worth a line. */
  noteRefusal(
    kind: ObjectKind,
    { op, key }: PlannedOp,
    reason: string,
    { now, isFirst }: { now: number; isFirst: boolean },
  ): void {
    this.noteError(kind)
    if (!isFirst) return
    if (this.#isFirst(`${kind} refused`, now)) {
      this.#log.warn(`${kind} refused`, { key, verb: op.verb, object: describe(op.object), reason })
    }
  }

  noteError(kind: ObjectKind): void {
    count(this.errors, kind)
  }

  /** Call after each pass. */
  flush(now: number): void {
    for (const [message, burst] of this.#bursts) {
      if (burst.folded > 0) this.#log.info(`${message}, more of them`, { count: burst.folded })
      burst.folded = 0
      if (now - burst.startedAt > BURST_MS) this.#bursts.delete(message)
    }
  }

  #isFirst(message: string, now: number): boolean {
    const burst = this.#bursts.get(message)
    if (burst !== undefined && now - burst.startedAt <= BURST_MS) {
      burst.folded += 1
      return false
    }
    this.#bursts.set(message, { startedAt: now, folded: 0 })
    return true
  }
}

function count(counts: Map<ObjectKind, number>, kind: ObjectKind): void {
  counts.set(kind, (counts.get(kind) ?? 0) + 1)
}

function fieldsOf({ key, op }: PlannedOp): Record<string, unknown> {
  if (op.verb === 'remove') return { key, was: describe(op.object) }
  return { key, was: op.verb === 'create' ? 'missing' : describe(op.actual), now: describe(op.object) }
}
