import type { HostFacts, Ingress } from '../backends/backend.ts'
import { contains, type Family, type IpAddr } from '../lib/address.ts'
import type { NetworkConfig } from '../subnet/network-config.ts'
import type { Lease } from '../subnet/types.ts'

/** Packets of this host itself that look like a container's: it lives inside the network. */
export interface OwnPackets {
  readonly sources: readonly IpAddr[]
  /** The device by which they go to containers of other hosts; undefined: by the uplink, like everything else. */
  readonly tunnel: string | undefined
}

/**
 * Per family; none of a family in whose network this host has no address. `ingress`: undefined where somebody else carries the
 * packets, of which nothing is known.
 */
export function ownPackets(
  { network, own, facts }: { readonly network: NetworkConfig; readonly own: Lease; readonly facts: HostFacts },
  ingress: Ingress | undefined,
  families: readonly Family[],
): ReadonlyMap<Family, OwnPackets> {
  const found = new Map<Family, OwnPackets>()
  if (ingress === undefined) return found
  const { addresses, publicIps } = facts.external
  for (const family of families) {
    const whole = network.families.get(family)?.network
    const subnet = own.families.get(family)?.subnet
    if (whole === undefined || subnet === undefined) continue
    // What a tunnel sends from: the public address where it is this host's, else the interface's.
    const outer = [addresses.get(family), publicIps.get(family)].filter((address) => address !== undefined)
    const sources = [...new Set(outer)].filter(
      (address) => facts.ownAddresses.has(address) && contains(whole, address) && !contains(subnet, address),
    )
    if (sources.length > 0) found.set(family, { sources, tunnel: ingress.tunnels.get(family) })
  }
  return found
}
