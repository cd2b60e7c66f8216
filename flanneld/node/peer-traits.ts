import { contains, type Family, type IpAddr, prefixLength } from '../../lib/address.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { Lease } from '../../subnet/types.ts'
import { addressesInside, type OwnSide } from './own-addresses.ts'

/**
 * What the node's own objects depend on of all peers together, a word each: the lengths of their subnets (`4/24`), and that one of
 * them has an address inside the network (`4 inside`). Few words, whatever the number of peers.
 */
export function traitsOf(network: NetworkConfig, lease: Lease): readonly string[] {
  return [...lease.families].flatMap(([family, { subnet, publicIp, tunnelIp }]) => {
    const whole = network.families.get(family)?.network
    if (whole === undefined) return []
    const isInside = contains(whole, publicIp) || (tunnelIp !== undefined && contains(whole, tunnelIp))
    return [lengthTrait(family, prefixLength(subnet)), ...(isInside ? [insideTrait(family)] : [])]
  })
}

/** Of all of these. */
export function traitsOfAll(network: NetworkConfig, leases: Iterable<Lease>): ReadonlySet<string> {
  const traits = new Set<string>()
  for (const lease of leases) for (const trait of traitsOf(network, lease)) traits.add(trait)
  return traits
}

/** Whether these leases, and those that have come or gone since, still have the traits `before`, no more and no less. */
export function sameTraits(
  before: ReadonlySet<string>,
  network: NetworkConfig,
  leases: Iterable<Lease>,
  changes: { readonly gone: readonly Lease[]; readonly come: readonly Lease[] },
): boolean {
  const come = traitsOfAll(network, changes.come)
  if ([...come].some((trait) => !before.has(trait))) return false
  const missing = new Set([...traitsOfAll(network, changes.gone)].filter((trait) => !come.has(trait)))
  // Found among the first few, as a rule: what one of thousands has nearly all have.
  for (const lease of leases) {
    if (missing.size === 0) return true
    for (const trait of traitsOf(network, lease)) missing.delete(trait)
  }
  return missing.size === 0
}

/** Lengths of subnets in use, the longest first: those of the peers, the own one, and the one of the configuration. */
export function lengthsInUse(
  traits: ReadonlySet<string>,
  { network, own }: { readonly network: NetworkConfig; readonly own: Lease },
  family: Family,
): readonly number[] {
  const subnet = own.families.get(family)?.subnet
  const known = [network.families.get(family)?.subnetLen, subnet && prefixLength(subnet)]
  const ofPeers = [...traits].filter((trait) => trait.startsWith(`${family}/`)).map((trait) => Number(trait.slice(2)))
  const lengths = [...known.filter((length) => length !== undefined), ...ofPeers]
  return [...new Set(lengths)].sort((a, b) => b - a)
}

/**
 * Families in whose network there is an address that outer packets or the store need: of this host, of a peer, of the store
 * (`store`: its endpoints, as far as they are given as addresses). Gateways need no route of their own.
 */
export function underlayInside(
  traits: ReadonlySet<string>,
  side: OwnSide,
  store: readonly IpAddr[] = [],
): ReadonlySet<Family> {
  const inside = [...side.network.families].filter(
    ([family, { network }]) =>
      traits.has(insideTrait(family)) ||
      addressesInside(side, family).length > 0 ||
      store.some((address) => contains(network, address)),
  )
  return new Set(inside.map(([family]) => family))
}

function lengthTrait(family: Family, length: number): string {
  return `${family}/${length}`
}

function insideTrait(family: Family): string {
  return `${family} inside`
}
