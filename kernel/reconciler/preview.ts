import type { DesiredState, Failure } from '../desired.ts'
import { APPLY_ORDER, emptiedBy, KINDS_ON_DEVICES, REMOVE_ORDER } from '../kinds/order.ts'
import { type DesiredObject, deviceOf, type KernelObject, type ObjectKind } from '../objects.ts'
import type { ObjectTable, Op } from '../table.ts'
import { diffUnwanted, diffWanted, foreignDevices, occupiedDevices, type PlannedOp } from './diff.ts'
import { KeyedObjects } from './mirror.ts'

export interface OpPlan {
  /** In the order of their application. */
  readonly ops: readonly Op<KernelObject>[]
  readonly failures: ReadonlyMap<string, Failure>
}

/** What the reconciler would do given these dumps; pure, changes nothing. */
export function planOps(desired: DesiredState, dumps: ReadonlyMap<ObjectKind, readonly KernelObject[]>): OpPlan {
  const wanted = groupByKind(desired)
  const held = new Map(APPLY_ORDER.map((kind) => [kind, new KeyedObjects(dumps.get(kind))]))
  const blocked = foreignDevices(held.get('link')?.front ?? new Map(), desired)
  const ops: Op<KernelObject>[] = []
  const failures = new Map<string, Failure>()
  for (const [kind, objects] of held) {
    const diff = diffWanted(wanted.get(kind) ?? new Map(), objects.front, desired, blocked)
    for (const [key, failure] of diff.failures) failures.set(key, failure)
    for (const { op } of diff.ops) {
      ops.push(op)
      if (op.verb === 'recreate' && op.object.kind === 'link') {
        for (const kind of KINDS_ON_DEVICES) held.get(kind)?.dropDevice(op.object.name)
      }
      // What is made anew holds nothing, and what waited for it without being missed is due now.
      if (op.verb !== 'update' && 'table' in op.object) {
        for (const emptied of emptiedBy(kind)) held.get(emptied)?.dropTable(op.object.table)
      }
    }
  }
  const hanging = (['address', 'route'] as const).flatMap((kind) => [...(held.get(kind)?.front.values() ?? [])])
  const spared = new Map([...blocked, ...occupiedDevices(desired, hanging)])
  const going = new Set<string>()
  for (const { op } of removals('link')) if (op.object.kind === 'link') going.add(op.object.name)
  for (const kind of REMOVE_ORDER) {
    // What hangs on a device goes with it.
    for (const { op } of removals(kind)) if (!going.has(deviceOf(op.object) ?? '')) ops.push(op)
  }
  return { ops, failures }

  function removals(kind: ObjectKind): readonly PlannedOp[] {
    return diffUnwanted(held.get(kind) ?? new KeyedObjects(), desired, spared)
  }
}

/** Reads the kernel and plans; changes nothing. In an order for readers. Throws an OpFailure when a kind cannot be read. */
export async function preview(tables: readonly ObjectTable[], desired: DesiredState): Promise<OpPlan> {
  const wanted = groupByKind(desired)
  const dumps = new Map<ObjectKind, readonly KernelObject[]>()
  for (const table of tables) {
    dumps.set(table.kind, await table.dump((wanted.get(table.kind) ?? new Map()).values(), desired.scope))
  }
  // What lives in the daemon's own process has no table here, and is neither there nor missing.
  const objects = [...desired.objects].filter(([, { kind }]) => dumps.has(kind))
  // Made here and not above: the first one of a process costs 12 ms and 3 MB, which a daemon's start need not pay.
  const naturally = new Intl.Collator('en', { numeric: true })
  objects.sort(([a], [b]) => naturally.compare(a, b))
  return planOps({ ...desired, objects: new Map(objects) }, dumps)
}

export function groupByKind(desired: DesiredState): Map<ObjectKind, Map<string, DesiredObject>> {
  const groups = new Map<ObjectKind, Map<string, DesiredObject>>()
  for (const [key, object] of desired.objects) {
    let group = groups.get(object.kind)
    if (group === undefined) {
      group = new Map()
      groups.set(object.kind, group)
    }
    group.set(key, object)
  }
  return groups
}
