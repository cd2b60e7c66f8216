import type { DesiredState, Failure } from '../desired.ts'
import { kindOf } from '../kinds/kinds.ts'
import { carriedBy, emptiedBy, KINDS_ON_ANY_DEVICE, KINDS_ON_DEVICES } from '../kinds/order.ts'
import { isKept, ownershipOf } from '../kinds/ownership.ts'
import { compare, deviceOf, type KernelObject, keyOf, type ObjectKind } from '../objects.ts'
import type { KernelEvent, Op } from '../table.ts'
import type { Mirrors } from './mirror.ts'
import type { ObjectPacing } from './pacing.ts'

/** What a change means: which kinds must be read again, and which refused objects are worth a new try at once. */
export interface Invalidation {
  readonly kinds: readonly ObjectKind[]
  readonly concerns?: (failure: Failure) => boolean
  /** The only object that it is about. */
  readonly key?: string
}

export interface Known {
  readonly mirrors: Mirrors
  readonly desired: DesiredState
  /** Names that matter to a wanted object. */
  readonly devices: ReadonlySet<string>
}

interface Held {
  readonly mirrors: Mirrors
  readonly pacing: ObjectPacing
}

export function invalidate({ mirrors, pacing }: Held, { kinds, concerns }: Invalidation): void {
  for (const kind of kinds) mirrors.get(kind)?.invalidate()
  if (concerns !== undefined) pacing.retryNow(concerns)
}

/**
 * What an event of the kernel invalidates; undefined: nothing. Our own changes come back as events that say what the mirror already
 * says. Of other people's objects the mirror is brought up to date on the spot, as far as it holds any: on a router that runs a
 * routing daemon these are nearly all events.
 */
export function invalidatedBy(event: KernelEvent, known: Known): Invalidation | undefined {
  switch (event.type) {
    case 'kinds':
      return { kinds: event.kinds, concerns: ({ object }) => event.kinds.includes(object.kind) }
    case 'overrun':
      return { kinds: [...known.mirrors.keys()] }
    case 'device':
      return known.devices.has(event.name) ? invalidatedByDevice(event.name) : invalidatedByOther(event.name, known)
    case 'object':
      return invalidatedByObject(event.object, event.present, known)
  }
}

function invalidatedByObject(object: KernelObject, present: boolean, known: Known): Invalidation | undefined {
  const { mirrors, desired, devices } = known
  const mirror = mirrors.get(object.kind)
  if (mirror === undefined) return undefined
  const key = keyOf(object)
  if (!mirror.isStale) {
    const held = mirror.held.front.get(key)
    if (present ? held !== undefined && compare(object, held) === 'same' : held === undefined) return undefined
  }
  if (object.kind === 'link' && devices.has(object.name)) return invalidatedByDevice(object.name)
  // The last IPv4 address takes all IPv4 routes and neighbours of its device with it, the routes without an event.
  if (object.kind === 'address' && !present && devices.has(object.device)) return invalidatedByDevice(object.device)
  if (!desired.objects.has(key) && (!present || ownershipOf(object, desired) === 'foreign')) {
    if (present && isKept(object, desired)) mirror.held.put(key, object)
    else mirror.held.delete(key, object)
    return object.kind === 'address' && !present ? invalidatedByOther(object.device, known) : undefined
  }
  const carried = carriedBy(object.kind)
  return {
    kinds: [object.kind, ...carried],
    concerns: (failure) => failure.key === key || carried.includes(failure.object.kind),
    key,
  }
}

function invalidatedByDevice(name: string): Invalidation {
  return {
    kinds: ['link', ...KINDS_ON_DEVICES],
    concerns: ({ object }) => kindOf(object.kind).concerns?.(object).includes(name) ?? deviceOf(object) === name,
  }
}

/**
 * By something that happened to a device that matters to nothing that is wanted: only where another program's object is in the way of
 * ours, and may have gone with it without an event. Devices of containers come and go by the thousand and cost a look at a few keys.
 */
function invalidatedByOther(name: string, { mirrors }: Known): Invalidation | undefined {
  const kinds = KINDS_ON_ANY_DEVICE.filter((kind) => mirrors.get(kind)?.held.hasOtherOn(name))
  return kinds.length === 0 ? undefined : { kinds }
}

/** Tells the mirrors what a change of ours, just done, means for objects of other kinds. */
export function noteConsequences(held: Held, op: Op<KernelObject>): void {
  const { object, verb } = op
  if (object.kind === 'link') {
    // Up, a new MAC or a small MTU make the kernel drop entries, each in its own way: they are read again.
    if (verb !== 'update') dropAllOn(object.name, held.mirrors, verb)
    const made = object.firstAddress === undefined ? [] : (['address'] as const)
    invalidate(held, { kinds: verb === 'update' ? KINDS_ON_DEVICES : made, concerns: isOn(object.name) })
  }
  if (object.kind === 'address') {
    // The last IPv4 address takes all IPv4 routes of its device with it, without an event.
    invalidate(held, { kinds: verb === 'remove' ? ['route', 'neighbour'] : [], concerns: isOn(object.device) })
  }
  invalidate(held, { kinds: emptiedBy(object.kind) })
}

function dropAllOn(device: string, mirrors: Mirrors, verb: Op<KernelObject>['verb']): void {
  for (const kind of KINDS_ON_DEVICES) {
    const mirror = mirrors.get(kind)
    mirror?.dropDevice(device)
    if (verb !== 'recreate' || mirror === undefined) continue
    for (const [key, object] of mirror.wanted) if (deviceOf(object) === device) mirror.unsettled.add(key)
  }
}

function isOn(device: string): (failure: Failure) => boolean {
  return ({ object }) => deviceOf(object) === device
}

/** Names of the devices on which the objects depend. */
export function devicesOf(objects: Iterable<KernelObject>): ReadonlySet<string> {
  const devices = new Set<string>()
  let last: string | undefined
  for (const object of objects) {
    for (const device of kindOf(object.kind).concerns?.(object) ?? []) devices.add(device)
    const device = deviceOf(object)
    if (device !== undefined && device !== last) devices.add(device)
    last = device
  }
  return devices
}
