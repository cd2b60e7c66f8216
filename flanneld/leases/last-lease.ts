import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import { findOwnLease } from '../../subnet/own-lease.ts'
import type { Lease, LeaseSnapshot, PeerPath } from '../../subnet/types.ts'
import type { InterfaceOptions } from '../host/external-interface.ts'
import type { HostView } from '../host/host-view.ts'
import type { Configuration } from '../node/configuration.ts'

/** What is known of the last run without its lease. */
export interface LastRun {
  readonly nodeId: string
  /** That it wrote to subnet.env. */
  readonly previousSubnets: ReadonlyMap<Family, Cidr>
}

/** By NodeID; flannel's, which has none, by the subnet that it left in subnet.env. */
export function lastLease({ nodeId, previousSubnets }: LastRun, leases: LeaseSnapshot['leases']): Lease | undefined {
  const own = findOwnLease(leases, { node: nodeId, publicIps: new Map() })
  if (own !== undefined || previousSubnets.size === 0) return own
  const wasOurs = ({ node, families }: Lease) =>
    node === '' && [...previousSubnets].every(([family, subnet]) => families.get(family)?.subnet === subnet)
  return [...leases.values()].find(wasOurs)
}

/** From which the packets of a node with this lease came. A public address that was given as such says nothing of that. */
export function addressesOf(lease: Lease | undefined, { publicIp: v4, publicIpv6: v6 }: InterfaceOptions) {
  const addresses = new Map<Family, IpAddr>()
  for (const [family, { tunnelIp, publicIp }] of lease?.families ?? []) {
    if (tunnelIp !== undefined) addresses.set(family, tunnelIp)
    else if (publicIp !== v4 && publicIp !== v6) addresses.set(family, publicIp)
  }
  return addresses
}

/** The lease that this node held before this start. */
export function previousLease(snapshot: LeaseSnapshot, node: string, host: HostView): Lease | undefined {
  return findOwnLease(snapshot.leases, { node, publicIps: host.external.publicIps })
}

/** What that lease says about this way of the node. Where it says one thing only, it is taken for the way before a restart. */
export function pathOf(
  { primary, accepts, families: had }: Lease,
  { backend, config, network }: Configuration,
): PeerPath | undefined {
  if (accepts.length === 0) return primary
  const families = [...network.families.keys()].filter((family) => had.has(family))
  return accepts.find(
    (path) =>
      path.backend === backend.wireType &&
      path.port === backend.ownPort?.(config) &&
      families.every((family) => backend.fits?.(config, family, path.data.get(family)) ?? true),
  )
}

export function subnetsOf(lease: Lease | undefined): readonly Cidr[] {
  return [...(lease?.families.values() ?? [])].map(({ subnet }) => subnet)
}
