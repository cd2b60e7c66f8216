import type { DesiredState, Failure } from './desired.ts'
import { diffUnwanted, diffWanted, foreignDevices } from './diff.ts'
import { type DesiredObject, deviceOf, type KernelObject, keyOf, type ObjectKind } from './objects.ts'
import { APPLY_ORDER, REMOVE_ORDER } from './order.ts'
import type { ObjectTable, Op } from './table.ts'

export interface OpPlan {
  /** In the order of their application. */
  readonly ops: readonly Op<KernelObject>[]
  readonly failures: ReadonlyMap<string, Failure>
}

/** What the reconciler would do given these dumps; pure, changes nothing. */
export function planOps(desired: DesiredState, dumps: ReadonlyMap<ObjectKind, readonly KernelObject[]>): OpPlan {
  const wanted = groupByKind(desired)
  const actual = new Map(APPLY_ORDER.map((kind) => [kind, firstByKey(dumps.get(kind) ?? [])]))
  const blocked = foreignDevices(actual.get('link') ?? new Map(), desired)
  const ops: Op<KernelObject>[] = []
  const failures = new Map<string, Failure>()
  const remade = new Set<string>()
  for (const kind of APPLY_ORDER) {
    const held = withoutDevices(actual.get(kind) ?? new Map(), remade)
    actual.set(kind, held)
    const diff = diffWanted(wanted.get(kind) ?? new Map(), held, desired, blocked)
    for (const [key, failure] of diff.failures) failures.set(key, failure)
    for (const { op } of diff.ops) {
      ops.push(op)
      if (op.verb === 'recreate' && op.object.kind === 'link') remade.add(op.object.name)
    }
  }
  const removals = new Map(
    REMOVE_ORDER.map((kind) => [kind, diffUnwanted(actual.get(kind) ?? new Map(), desired, blocked)]),
  )
  const going = new Set((removals.get('link') ?? []).map(({ op }) => (op.object.kind === 'link' ? op.object.name : '')))
  for (const kind of REMOVE_ORDER) {
    // What hangs on a device goes with it.
    for (const { op } of removals.get(kind) ?? []) if (!going.has(deviceOf(op.object) ?? '')) ops.push(op)
  }
  return { ops, failures }
}

/** Reads the kernel and plans; changes nothing. Throws an OpFailure when a kind cannot be read. */
export async function preview(tables: readonly ObjectTable[], desired: DesiredState): Promise<OpPlan> {
  const wanted = groupByKind(desired)
  const dumps = new Map<ObjectKind, readonly KernelObject[]>()
  for (const table of tables) dumps.set(table.kind, await table.dump((wanted.get(table.kind) ?? new Map()).values()))
  return planOps(desired, dumps)
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

function firstByKey(objects: readonly KernelObject[]): ReadonlyMap<string, KernelObject> {
  const byKey = new Map<string, KernelObject>()
  for (const object of objects) {
    const key = keyOf(object)
    if (!byKey.has(key)) byKey.set(key, object)
  }
  return byKey
}

function withoutDevices(
  objects: ReadonlyMap<string, KernelObject>,
  devices: ReadonlySet<string>,
): ReadonlyMap<string, KernelObject> {
  if (devices.size === 0) return objects
  return new Map([...objects].filter(([, object]) => !devices.has(deviceOf(object) ?? '')))
}
