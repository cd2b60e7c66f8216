import { systemClock } from '../../lib/clock.ts'
import { silentLogger } from '../../lib/log.ts'
import type { DesiredState, Failure, OwnershipScope } from '../desired.ts'
import { emptiedBy } from '../kinds/order.ts'
import { type KernelObject, keyOf, type ObjectKind } from '../objects.ts'
import type { ObjectTable, Op, OpResult } from '../table.ts'
import { MemoryJournal } from './journal.ts'
import { KeyedObjects, KindMirror } from './mirror.ts'
import { ObjectPacing } from './pacing.ts'
import { Pass } from './pass.ts'
import { Repairs } from './repairs.ts'
import { SlowPrograms } from './slow-programs.ts'
import { Wanted } from './wanted.ts'

export interface OpPlan {
  /** In the order of their application. */
  readonly ops: readonly Op<KernelObject>[]
  readonly failures: ReadonlyMap<string, Failure>
}

/**
 * What the reconciler would do now: a pass over tables that record instead of changing anything. In an order for readers. Throws what
 * reading threw when a kind cannot be read.
 */
export async function preview(tables: readonly ObjectTable[], desired: DesiredState): Promise<OpPlan> {
  const ops: Op<KernelObject>[] = []
  const recording = tables.map((table) => new RecordingTable(table, ops))
  const needs = {
    mirrors: new Map(recording.map((table) => [table.kind, new KindMirror(table)])),
    programs: new SlowPrograms({ clock: systemClock }),
    pacing: new ObjectPacing(),
    repairs: new Repairs({ log: silentLogger }),
    journal: new MemoryJournal(),
    clock: systemClock,
  }
  // What lives in the daemon's own process has no table here, and is neither there nor missing.
  const objects = [...desired.objects].filter(([, { kind }]) => needs.mirrors.has(kind))
  // Made here and not above: the first one of a process costs 12 ms and 3 MB, which a daemon's start need not pay.
  const naturally = new Intl.Collator('en', { numeric: true })
  objects.sort(([a], [b]) => naturally.compare(a, b))
  const given = { ...desired, objects: new Map(objects) }
  const wanted = new Wanted(needs)
  wanted.adopt(given)
  const pass = new Pass(needs, { desired: wanted.desired ?? given })
  await pass.run(new AbortController().signal)
  for (const { kind, cause } of recording) if (pass.outcome.unreadable.has(kind)) throw cause
  return { ops, failures: pass.outcome.failures }
}

/** A table that changes nothing: it notes what is to be done, and from then on shows what it would have read after that. */
class RecordingTable implements ObjectTable {
  readonly kind: ObjectKind
  /** Why it could not be read the last time. */
  cause: unknown
  readonly #table: ObjectTable
  /** Of all kinds. */
  readonly #ops: Op<KernelObject>[]

  constructor(table: ObjectTable, ops: Op<KernelObject>[]) {
    this.kind = table.kind
    this.#table = table
    this.#ops = ops
  }

  async dump(wanted: Iterable<KernelObject>, scope?: OwnershipScope): Promise<readonly KernelObject[]> {
    try {
      return this.#afterOps(await this.#table.dump(wanted, scope))
    } catch (cause) {
      this.cause = cause
      throw cause
    }
  }

  async apply(ops: readonly Op<KernelObject>[]): Promise<readonly OpResult[]> {
    this.#ops.push(...ops)
    return ops.map(() => ({ ok: true }))
  }

  #afterOps(dumped: readonly KernelObject[]): readonly KernelObject[] {
    const held = new KeyedObjects(dumped)
    for (const { verb, object } of this.#ops) {
      if (object.kind === this.kind && verb === 'remove') held.delete(keyOf(object), object)
      else if (object.kind === this.kind) held.put(keyOf(object), object)
      // What hung on a device, or stood in a table, that is made anew or gone is no more.
      else if (verb !== 'update' && object.kind === 'link') held.dropDevice(object.name)
      else if (verb !== 'update' && 'table' in object && emptiedBy(object.kind).includes(this.kind)) {
        held.dropTable(object.table)
      }
    }
    return held.touched ? [...held.front.values(), ...[...held.behind.values()].flat()] : dumped
  }
}
