import type { LocalFacts, PlannedPeer, Reach } from '../../backends/backend.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import { contains, type IpAddr } from '../../lib/address.ts'
import { prefixKey } from '../../lib/prefix-key.ts'
import type { FamilyLease } from '../../subnet/types.ts'

/** The same lists for thousands of peers. */
const NONE: readonly IpAddr[] = []
const NO_PATHS: readonly [] = []

export interface GuardedNode {
  /** Name of the guard's table. */
  readonly table: string
  readonly uplink: string
  /** Prefixes on the uplink's link. */
  readonly onLink: LocalFacts['onLink']
}

/**
 * What an accepted peer may send in one family: nobody's elements but theirs stand in the guard's sets. `tunnels`: the devices that
 * the peer's packets may come out of a tunnel by, which need not be the one by which this node sends to it; empty: there is no tunnel.
 */
export function guardPeer(
  node: GuardedNode,
  { role, family, part }: PlannedPeer,
  tunnels: readonly string[],
  reach: Reach | undefined,
): DesiredObject {
  const { subnet, publicIp, tunnelIp } = part
  const source = prefixKey(subnet)
  const isTunnelled = tunnels.length > 0
  return {
    kind: 'guard-peer',
    role,
    table: node.table,
    family,
    name: subnet,
    subnets: [source],
    paths: isTunnelled ? [{ outer: publicIp, source }] : NO_PATHS,
    vteps: isTunnelled ? [publicIp] : NONE,
    aliases: isTunnelled && tunnelIp !== undefined ? [tunnelIp] : NONE,
    senders: [...tunnels, ...linksOf(node, part, reach)].map((device) => ({ device, source })),
  }
}

/**
 * A peer on the link may send directly though this host uses the tunnel: in a mixed cluster, and while a backend or DirectRouting
 * changes, the two need not agree.
 */
function linksOf(
  { uplink, onLink = [] }: GuardedNode,
  { publicIp, tunnelIp }: FamilyLease,
  reach: Reach | undefined,
): readonly string[] {
  const looked = reach?.onLink
  const addresses = tunnelIp === undefined ? [publicIp] : [publicIp, tunnelIp]
  const isNear = onLink.some((prefix) => addresses.some((address) => contains(prefix, address)))
  const near = isNear ? [uplink] : []
  return looked === undefined || near.includes(looked) ? near : [looked, ...near]
}
