import type { Family } from '../../lib/address.ts'
import { FamilyMap } from '../../lib/family-map.ts'
import { type NetworkConfig, withFamilies } from '../../subnet/network-config.ts'
import type { Lease, LeaseAttrs } from '../../subnet/types.ts'
import type { HostView } from '../host/host-view.ts'

/**
 * Which of the enabled families a node has. One is turned on or off while the others carry packets, so each part may have another opinion for
 * a moment or for long: the host has no address of it, the backend cannot be had in it, the lease has no subnet of it yet. A family
 * is planned where all have it, and leased where the host and the ways have it.
 */
export function familiesHere({ families }: NetworkConfig, host: Pick<HostView, 'external'>): readonly Family[] {
  return [...families.keys()].filter((family) => host.external.addresses.has(family))
}

/** What is said to others of the families of the network. */
export function attrsIn({ families }: NetworkConfig, attrs: LeaseAttrs): LeaseAttrs {
  const isIn = ([family]: readonly [Family, unknown]) => families.has(family)
  return {
    ...attrs,
    publicIps: new Map([...attrs.publicIps].filter(isIn)),
    tunnelIps: new Map([...attrs.tunnelIps].filter(isIn)),
  }
}

const parts = new WeakMap<Lease, Map<string, Lease>>()

/** The network and the own lease in the families that both have; undefined: none. The same objects for the same ones. */
export function commonPart(
  network: NetworkConfig,
  held: Lease,
): { readonly network: NetworkConfig; readonly own: Lease } | undefined {
  const families = [...network.families.keys()].filter((family) => held.families.has(family))
  if (families.length === 0) return undefined
  return { network: withFamilies(network, families), own: leaseIn(held, families) }
}

function leaseIn(lease: Lease, families: readonly Family[]): Lease {
  if (families.length === lease.families.size) return lease
  const known = parts.get(lease) ?? new Map<string, Lease>()
  parts.set(lease, known)
  const name = families.join()
  const kept = [...lease.families].filter(([family]) => families.includes(family))
  const part = known.get(name) ?? { ...lease, families: new FamilyMap(kept) }
  known.set(name, part)
  return part
}
