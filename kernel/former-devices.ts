import { type Cidr, contains } from '../lib/address.ts'
import { describe } from './describe.ts'
import type { DesiredState, Failure } from './desired.ts'
import { type Address, deviceOf, type KernelObject } from './objects.ts'

/** Devices on which nothing may be removed, nor they themselves, and why. */
export type SparedDevices = ReadonlyMap<string, Pick<Failure, 'cause' | 'text'>>

/** The kernel makes these by itself. */
const LINK_LOCAL = 'fe80::/10' as Cidr

/** Devices that this instance has used and uses no more: their names may be another's by now. */
export function formerDevices({ objects, scope }: DesiredState): ReadonlySet<string> {
  return new Set([...scope.devices].filter((name) => !objects.has(`link ${name}`)))
}

/**
 * Of the former devices those that another program uses: each bears an address outside all networks of this instance, as no
 * device of ours does. Neither it nor anything on it is touched. `addresses` undefined: they cannot be read now, and so
 * nothing is known of any. Pure.
 */
export function occupiedDevices(desired: DesiredState, addresses: Iterable<KernelObject> | undefined): SparedDevices {
  const former = formerDevices(desired)
  const ranges = [...desired.scope.networks.map(({ network }) => network), LINK_LOCAL]
  const isOwn = ({ address }: Address) => ranges.some((range) => contains(range, address))
  const spared = new Map<string, Pick<Failure, 'cause' | 'text'>>()
  if (addresses === undefined) {
    for (const name of former) spared.set(name, { cause: 'foreign', text: 'its addresses cannot be read now' })
    return spared
  }
  for (const object of addresses) {
    if (object.kind !== 'address' || !former.has(object.device) || isOwn(object)) continue
    spared.set(object.device, { cause: 'foreign', text: `another program uses it: ${describe(object)}` })
  }
  return spared
}

/** The device that an object is, or is on. */
export function ownDeviceOf(object: KernelObject): string | undefined {
  return object.kind === 'link' ? object.name : deviceOf(object)
}
