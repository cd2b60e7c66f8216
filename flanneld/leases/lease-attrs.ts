import type { HostFacts } from '../../backends/backend.ts'
import type { Family, IpAddr } from '../../lib/address.ts'
import type { LeaseAttrs, PeerPath } from '../../subnet/types.ts'

/** What this node publishes. Where it does not own its public address it says from where its packets really come. */
export function leaseAttrs(node: string, path: PeerPath, facts: HostFacts): LeaseAttrs {
  const { publicIps, addresses } = facts.external
  const tunnelIps = new Map<Family, IpAddr>()
  for (const [family, publicIp] of publicIps) {
    const address = addresses.get(family)
    if (!facts.ownAddresses.has(publicIp) && address !== undefined) tunnelIps.set(family, address)
  }
  return { node, primary: path, accepts: [], publicIps, tunnelIps }
}
