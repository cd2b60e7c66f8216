import type { DesiredState } from '../desired.ts'
import { underlayOf } from '../kinds/link/drivers.ts'
import { compare, deviceOf, type KernelObject, keyOf, type ObjectKind } from '../objects.ts'
import { ownershipOf } from '../ownership.ts'
import type { KernelEvent } from '../table.ts'
import { isKept } from './kept.ts'
import type { KindMirror } from './mirror.ts'

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
  if (object.kind !== 'link') return deviceOf(object) === device
  return object.name === device || underlayOf(object.driver) === device
}

/** Names of the devices on which the objects depend. */
export function devicesOf(objects: Iterable<KernelObject>): ReadonlySet<string> {
  const devices = new Set<string>()
  let last: string | undefined
  for (const object of objects) {
    const device = object.kind === 'link' ? object.name : deviceOf(object)
    if (device !== undefined && device !== last) devices.add(device)
    last = device
    const underlay = object.kind === 'link' ? underlayOf(object.driver) : undefined
    if (underlay !== undefined) devices.add(underlay)
  }
  return devices
}
