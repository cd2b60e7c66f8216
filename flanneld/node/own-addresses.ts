import type { LocalFacts } from '../../backends/backend.ts'
import { contains, type Family, type IpAddr } from '../../lib/address.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { Lease } from '../../subnet/types.ts'

/** What is known of this node beside its peers. */
export interface OwnSide {
  readonly network: NetworkConfig
  readonly own: Lease
  readonly facts: LocalFacts
}

/**
 * Addresses of this host that lie inside the network and are none of the overlay's: those of its uplink that packets to peers come
 * from. What bridges and tunnels have is not asked, for there are the addresses of containers' gateways, of earlier subnets, too.
 */
export function addressesInside({ network, own, facts }: OwnSide, family: Family): readonly IpAddr[] {
  const whole = network.families.get(family)?.network
  const subnet = own.families.get(family)?.subnet
  if (whole === undefined) return []
  const { addresses, publicIps } = facts.external
  const known = [addresses.get(family), publicIps.get(family)].filter((address) => address !== undefined)
  return [...new Set(known)].filter(
    (address) =>
      facts.ownAddresses.has(address) &&
      contains(whole, address) &&
      (subnet === undefined || !contains(subnet, address)),
  )
}
