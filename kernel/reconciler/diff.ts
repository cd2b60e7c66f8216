import type { DesiredState, Failure } from '../desired.ts'
import { kindOf } from '../kinds/kinds.ts'
import { KINDS_SHOWING_USE } from '../kinds/order.ts'
import { type Ownership, ownershipOf } from '../kinds/ownership.ts'
import { commandsFor, describe } from '../kinds/words.ts'
import { compare, type DesiredObject, deviceOf, type KernelObject, type ObjectKind } from '../objects.ts'
import type { Op } from '../table.ts'
import type { KeyedObjects, KindMirror } from './mirror.ts'

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
 * Costs some microseconds an object.
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
 * `only`: keys to look at.
 */
export function diffUnwanted(
  held: KeyedObjects,
  desired: DesiredState,
  blocked: SparedDevices = NONE,
  only: Iterable<string> | 'all' = 'all',
): readonly PlannedOp[] {
  if (!desired.complete) return []
  const ops: PlannedOp[] = []
  const judge = (key: string, object: KernelObject, mayGo: readonly Ownership[]) => {
    // On somebody else's device of our name everything is his.
    if (blocked.size > 0 && blocked.get(ownDeviceOf(object) ?? '')?.cause === 'foreign') return
    const ownership = ownershipOf(object, desired)
    if (mayGo.includes(ownership)) ops.push({ key, op: { verb: 'remove', object }, ownership })
  }
  for (const key of only === 'all' ? held.front.keys() : only) {
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

/** Devices on which nothing may be removed, nor they themselves, and why. */
export type SparedDevices = ReadonlyMap<string, Pick<Failure, 'cause' | 'text'>>

/** Devices that this instance has used and uses no more: their names may be another's by now. */
export function formerDevices({ objects, scope }: DesiredState): ReadonlySet<string> {
  return new Set([...scope.devices].filter((name) => !objects.has(`link ${name}`)))
}

/**
 * Of the former devices those that another program uses: each bears an address outside all networks of this instance, or
 * routes through a gateway that this program has not made. Neither such a device nor anything on it is touched. `hanging`: all
 * addresses and routes; undefined: they cannot be read now, and so nothing is known of any device. Pure.
 */
export function occupiedDevices(desired: DesiredState, hanging: Iterable<KernelObject> | undefined): SparedDevices {
  const former = formerDevices(desired)
  const networks = desired.scope.networks.map(({ network }) => network)
  const spared = new Map<string, Pick<Failure, 'cause' | 'text'>>()
  if (hanging === undefined) {
    for (const name of former) spared.set(name, { cause: 'foreign', text: 'what is on it cannot be read now' })
    return spared
  }
  for (const object of hanging) {
    const device = deviceOf(object)
    if (device === undefined || !former.has(device) || !kindOf(object.kind).showsOtherUser?.(object, networks)) continue
    spared.set(device, { cause: 'foreign', text: `another program uses it: ${describe(object)}` })
  }
  return spared
}

/** As `occupiedDevices`, by the mirrors. Reads nothing where there is no former device. */
export async function findOccupied(
  desired: DesiredState,
  mirrors: ReadonlyMap<ObjectKind, KindMirror>,
  refresh: (mirror: KindMirror) => Promise<boolean>,
): Promise<SparedDevices> {
  if (formerDevices(desired).size === 0) return new Map()
  const hanging: KernelObject[] = []
  for (const kind of KINDS_SHOWING_USE) {
    const mirror = mirrors.get(kind)
    if (mirror === undefined) continue
    if (!(await refresh(mirror))) return occupiedDevices(desired, undefined)
    for (const object of mirror.held.front.values()) hanging.push(object)
  }
  return occupiedDevices(desired, hanging)
}

/** The device that an object is, or is on. */
export function ownDeviceOf(object: KernelObject): string | undefined {
  return object.kind === 'link' ? object.name : deviceOf(object)
}
