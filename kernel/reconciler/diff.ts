import { commandsFor } from '../command.ts'
import { describe } from '../describe.ts'
import type { DesiredState, Failure } from '../desired.ts'
import { compare, type DesiredObject, deviceOf, type KernelObject } from '../objects.ts'
import { type Ownership, ownershipOf } from '../ownership.ts'
import type { Op } from '../table.ts'
import { ownDeviceOf, type SparedDevices } from './former-devices.ts'
import type { KeyedObjects } from './keyed-objects.ts'

export interface PlannedOp {
  readonly key: string
  readonly op: Op<KernelObject>
  /** Whose the object in the way is; undefined where there is none. */
  readonly ownership: Ownership | undefined
}

export interface KindDiff {
  /** Creations and changes. */
  readonly ops: readonly PlannedOp[]
  /** What cannot be had: foreign objects in the way, devices that are not there. */
  readonly failures: ReadonlyMap<string, Failure>
}

/** Devices on which nothing can be done now, with the failure of the device itself. */
export type BlockedDevices = ReadonlyMap<string, Failure>

const NONE: BlockedDevices = new Map()
const UNWANTED: readonly Ownership[] = ['ours', 'leftover']
const EXCESS: readonly Ownership[] = ['ours', 'leftover', 'adoptable']

/**
 * What it takes to have all of `wanted`, objects of one kind, given `actual`, all objects of that kind by key. Pure.
 * Costs about a microsecond an object.
 */
export function diffWanted(
  wanted: ReadonlyMap<string, DesiredObject>,
  actual: ReadonlyMap<string, KernelObject>,
  desired: DesiredState,
  blocked: BlockedDevices = NONE,
): KindDiff {
  const ops: PlannedOp[] = []
  const failures = new Map<string, Failure>()
  for (const [key, object] of wanted) {
    const obstacle = blocked.size === 0 ? undefined : blocked.get(deviceOf(object) ?? '')
    if (obstacle !== undefined) {
      const text = `waits for ${obstacle.key}: ${obstacle.text}`
      failures.set(key, { key, object, cause: obstacle.cause, text, waitsFor: obstacle.key })
      continue
    }
    const found = actual.get(key)
    if (found === undefined) {
      ops.push({ key, op: { verb: 'create', object }, ownership: undefined })
      continue
    }
    const verb = compare(found, object)
    if (verb === 'same') continue
    const ownership = ownershipOf(found, desired)
    if (ownership === 'foreign') failures.set(key, { key, object, cause: 'foreign', text: inTheWay(found) })
    else ops.push({ key, op: { verb, object, actual: found }, ownership })
  }
  return { ops, failures }
}

/**
 * What must go: ours or flannel's and not wanted. Empty while the desired state is incomplete. Pure.
 * So is what stands behind another object at its key: a second far end of an FDB entry gets a copy of each frame.
 * `only`: keys to look at; all where nothing is given.
 */
export function diffUnwanted(
  held: KeyedObjects,
  desired: DesiredState,
  blocked: SparedDevices = NONE,
  only?: Iterable<string>,
): readonly PlannedOp[] {
  if (!desired.complete) return []
  const ops: PlannedOp[] = []
  const judge = (key: string, object: KernelObject, mayGo: readonly Ownership[]) => {
    // On somebody else's device of our name everything is his.
    if (blocked.size > 0 && blocked.get(ownDeviceOf(object) ?? '')?.cause === 'foreign') return
    const ownership = ownershipOf(object, desired)
    if (mayGo.includes(ownership)) ops.push({ key, op: { verb: 'remove', object }, ownership })
  }
  for (const key of only ?? held.front.keys()) {
    const object = desired.objects.has(key) ? undefined : held.front.get(key)
    if (object !== undefined) judge(key, object, UNWANTED)
  }
  for (const [key, objects] of held.behind) for (const object of objects) judge(key, object, EXCESS)
  return ops
}

/** Devices that bear one of our names but are not ours to touch. */
export function foreignDevices(links: ReadonlyMap<string, KernelObject>, desired: DesiredState): Map<string, Failure> {
  const found = new Map<string, Failure>()
  for (const [key, link] of links) {
    if (link.kind !== 'link') continue
    if (!desired.objects.has(key) && !desired.scope.devices.has(link.name)) continue
    if (ownershipOf(link, desired) !== 'foreign') continue
    const object = desired.objects.get(key) ?? asDesired(link)
    found.set(link.name, { key, object, cause: 'foreign', text: inTheWay(link) })
  }
  return found
}

/** Of an object that nobody wants: so that its failure can be told like any other. */
export function asDesired(object: KernelObject): DesiredObject {
  if ('role' in object) return object as DesiredObject
  return { ...object, role: { class: 'advisory', remedy: commandsFor({ verb: 'remove', object }).join('; ') } }
}

function inTheWay(found: KernelObject): string {
  const remedy = commandsFor({ verb: 'remove', object: found }).join('; ')
  return `in the way, not made by this program and left alone: ${describe(found)}; remove it with '${remedy}'`
}
