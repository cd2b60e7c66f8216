import { contains } from '../../lib/address.ts'
import type { DesiredState } from '../desired.ts'
import { BOOT_PROTOCOL, type KernelObject, keyOf } from '../objects.ts'
import { ownershipOf } from '../ownership.ts'

/**
 * Whether the mirror holds it. Of routes only those that may be ours and those where one is wanted: a routing daemon may
 * keep a million others beside them. Where one of these is in the way of a route that is wanted later, the kernel says
 * EEXIST, and all is read again.
 */
export function isKept(object: KernelObject, desired: DesiredState): boolean {
  if (object.kind !== 'route') return true
  if (desired.objects.has(keyOf(object)) || ownershipOf(object, desired) !== 'foreign') return true
  // flannel's blackhole of a host's subnet becomes a leftover when ours is wanted, which stands at another key.
  const { type, protocol, dst } = object
  return (
    type === 'blackhole' &&
    protocol === BOOT_PROTOCOL &&
    desired.scope.networks.some(({ network }) => contains(network, dst))
  )
}
