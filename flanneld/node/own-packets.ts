import type { Ingress } from '../../backends/backend.ts'
import type { Family, IpAddr } from '../../lib/address.ts'
import { addressesInside, type OwnSide } from './own-addresses.ts'

/** Packets of this host itself that look like a container's: it lives inside the network. */
export interface OwnPackets {
  readonly sources: readonly IpAddr[]
  /** The devices by which they go to containers of other hosts; none: by the uplink, like everything else. */
  readonly tunnels: readonly string[]
}

/**
 * Per family; none of a family in whose network this host has no address. `ingresses`: of all ways; none where somebody else carries
 * the packets, of which nothing is known.
 */
export function ownPackets(
  side: OwnSide,
  ingresses: readonly Ingress[],
  families: readonly Family[],
): ReadonlyMap<Family, OwnPackets> {
  const found = new Map<Family, OwnPackets>()
  if (ingresses.length === 0) return found
  for (const family of families) {
    const sources = addressesInside(side, family)
    if (sources.length > 0) found.set(family, { sources, tunnels: tunnelsOf(ingresses, family) })
  }
  return found
}

/** Devices of all ways, and further ones, that packets of peers may come out of. */
export function receiversOf(ingresses: readonly Ingress[], family: Family): readonly string[] {
  const further = family === 4 ? ingresses.flatMap(({ alsoBy = [] }) => alsoBy) : []
  return [...new Set([...tunnelsOf(ingresses, family), ...further])]
}

/** The tunnel devices of all ways. */
export function tunnelsOf(ingresses: readonly Ingress[], family: Family): readonly string[] {
  return [...new Set(ingresses.flatMap(({ tunnels }) => tunnels.get(family) ?? []))]
}
