import type { Ingress } from '../../backends/backend.ts'
import type { Family, IpAddr } from '../../lib/address.ts'
import { addressesInside, type OwnSide } from './own-addresses.ts'

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
  side: OwnSide,
  ingress: Ingress | undefined,
  families: readonly Family[],
): ReadonlyMap<Family, OwnPackets> {
  const found = new Map<Family, OwnPackets>()
  if (ingress === undefined) return found
  for (const family of families) {
    const sources = addressesInside(side, family)
    if (sources.length > 0) found.set(family, { sources, tunnel: ingress.tunnels.get(family) })
  }
  return found
}
