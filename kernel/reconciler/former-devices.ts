import { type Cidr, contains } from '../../lib/address.ts'
import { describe } from '../describe.ts'
import type { DesiredState, Failure } from '../desired.ts'
import { deviceOf, type KernelObject, type ObjectKind, ROUTE_PROTOCOL } from '../objects.ts'
import type { KindMirror } from './mirror.ts'

/** Devices on which nothing may be removed, nor they themselves, and why. */
export type SparedDevices = ReadonlyMap<string, Pick<Failure, 'cause' | 'text'>>

/** The kernel makes these by itself. */
const LINK_LOCAL = 'fe80::/10' as Cidr

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
  const ranges = [...desired.scope.networks.map(({ network }) => network), LINK_LOCAL]
  const spared = new Map<string, Pick<Failure, 'cause' | 'text'>>()
  if (hanging === undefined) {
    for (const name of former) spared.set(name, { cause: 'foreign', text: 'what is on it cannot be read now' })
    return spared
  }
  for (const object of hanging) {
    const device = deviceOf(object)
    if (device === undefined || !former.has(device) || !isAnothers(object, ranges)) continue
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
  for (const kind of ['address', 'route'] as const) {
    const mirror = mirrors.get(kind)
    if (mirror === undefined) continue
    if (!(await refresh(mirror))) return occupiedDevices(desired, undefined)
    for (const object of mirror.held.front.values()) hanging.push(object)
  }
  return occupiedDevices(desired, hanging)
}

function isAnothers(object: KernelObject, ranges: readonly Cidr[]): boolean {
  if (object.kind === 'address') return !ranges.some((range) => contains(range, object.address))
  return object.kind === 'route' && object.protocol !== ROUTE_PROTOCOL && object.via !== undefined
}

/** The device that an object is, or is on. */
export function ownDeviceOf(object: KernelObject): string | undefined {
  return object.kind === 'link' ? object.name : deviceOf(object)
}
