import type { DesiredState } from '../desired.ts'
import { kindOf } from '../kinds/kinds.ts'
import { emptiedBy, KINDS_ON_DEVICES } from '../kinds/order.ts'
import { isKept, ownershipOf } from '../kinds/ownership.ts'
import { compare, deviceOf, type KernelObject, keyOf, type Link, type ObjectKind } from '../objects.ts'
import type { KernelEvent, Op } from '../table.ts'
import type { PlannedOp } from './diff.ts'
import type { KindMirror } from './mirror.ts'
import type { Retries } from './pacing.ts'

/** What an event means to us: which part of the mirror must be read again. */
export type News =
  | { readonly of: 'nothing' }
  | { readonly of: 'object'; readonly key: string; readonly kind: ObjectKind }
  | { readonly of: 'device'; readonly name: string }
  | { readonly of: 'kinds'; readonly kinds: readonly ObjectKind[] }
  | { readonly of: 'everything' }

export interface Known {
  readonly mirrors: ReadonlyMap<ObjectKind, KindMirror>
  readonly desired: DesiredState
  /** Names that matter to a wanted object. */
  readonly devices: ReadonlySet<string>
}

const NOTHING: News = { of: 'nothing' }

/**
 * Our own changes come back as events that say what the mirror already says. Of other people's objects the mirror is
 * brought up to date on the spot, as far as it holds any: on a router that runs a routing daemon these are nearly all events.
 */
export function newsOf(event: KernelEvent, known: Known): News {
  switch (event.type) {
    case 'kinds':
      return { of: 'kinds', kinds: event.kinds }
    case 'overrun':
      return { of: 'everything' }
    case 'device':
      return known.devices.has(event.name) ? { of: 'device', name: event.name } : NOTHING
    case 'object':
      return newsOfObject(event.object, event.present, known)
  }
}

function newsOfObject(object: KernelObject, present: boolean, { mirrors, desired, devices }: Known): News {
  const mirror = mirrors.get(object.kind)
  if (mirror === undefined) return NOTHING
  const key = keyOf(object)
  if (!mirror.stale) {
    const held = mirror.held.front.get(key)
    if (present ? held !== undefined && compare(object, held) === 'same' : held === undefined) return NOTHING
  }
  if (object.kind === 'link' && devices.has(object.name)) return { of: 'device', name: object.name }
  // The last IPv4 address takes all IPv4 routes and neighbours of its device with it, the routes without an event.
  if (object.kind === 'address' && !present && devices.has(object.device)) return { of: 'device', name: object.device }
  if (!desired.objects.has(key)) {
    if (!present || ownershipOf(object, desired) === 'foreign') {
      if (present && isKept(object, desired)) mirror.held.put(key, object)
      else mirror.held.delete(key, object)
      return NOTHING
    }
  }
  return { of: 'object', key, kind: object.kind }
}

/** Whether what happens to the device decides about the object. */
export function dependsOn(object: KernelObject, device: string): boolean {
  return kindOf(object.kind).concerns?.(object).includes(device) ?? deviceOf(object) === device
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

interface Learns {
  readonly mirrors: ReadonlyMap<ObjectKind, KindMirror>
  readonly retries: Retries
}

/** What a change of ours, just done, means for objects of other kinds. */
export function noteConsequences(known: Learns, { op }: PlannedOp): void {
  const { object } = op
  if (object.kind === 'link') deviceChanged(known, op, object)
  if (object.kind === 'address') addressChanged(known, op, object.device)
  doubt(known.mirrors, emptiedBy(object.kind))
}

/** These kinds must be read again. */
export function doubt(mirrors: Learns['mirrors'], kinds: Iterable<ObjectKind>): void {
  for (const kind of kinds) {
    const mirror = mirrors.get(kind)
    if (mirror !== undefined) mirror.stale = true
  }
}

function deviceChanged({ mirrors, retries }: Learns, { verb }: Op<KernelObject>, { name }: Link): void {
  if (verb === 'update') {
    // Up, a new MAC or a small MTU make the kernel drop entries, each in its own way: read them again.
    doubt(mirrors, KINDS_ON_DEVICES)
  } else {
    for (const kind of KINDS_ON_DEVICES) {
      const mirror = mirrors.get(kind)
      mirror?.dropDevice(name)
      if (verb !== 'recreate' || mirror === undefined) continue
      for (const [key, object] of mirror.wanted) if (deviceOf(object) === name) mirror.unsettled.add(key)
    }
  }
  retries.hurry(({ object }) => deviceOf(object) === name)
}

function addressChanged({ mirrors, retries }: Learns, { verb }: Op<KernelObject>, device: string): void {
  // The last IPv4 address takes all IPv4 routes of its device with it, without an event.
  if (verb === 'remove') doubt(mirrors, ['route', 'neighbour'])
  retries.hurry(({ object }) => deviceOf(object) === device)
}
