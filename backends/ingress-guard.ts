import type { DesiredObject, Role } from '../kernel/objects.ts'
import { contains, familyOf, type IpAddr } from '../lib/address.ts'
import { prefixKey } from '../lib/prefix-key.ts'
import type { FamilyLease, Lease } from '../subnet/types.ts'
import type { HostFacts, PlanInput } from './backend.ts'

/** Shared by thousands. */
const NONE: readonly IpAddr[] = []
const NO_PATHS: readonly [] = []

type Input = Pick<PlanInput<unknown, unknown>, 'guard' | 'facts'>

/**
 * What an accepted peer may send in one family: nobody's elements but theirs stand in the guard's sets. Nothing where no guard is
 * wanted. `tunnel`: the device that the peer's packets come out of the tunnel by; undefined: there is no tunnel.
 */
export function guardPeer(
  { guard, facts }: Input,
  part: FamilyLease,
  tunnel: string | undefined,
  role: Role,
): readonly DesiredObject[] {
  if (guard === undefined) return []
  const source = prefixKey(part.subnet)
  const devices = [...(tunnel === undefined ? [] : [tunnel]), ...linksOf(facts, part)]
  return [
    {
      kind: 'guard-peer',
      role,
      table: guard,
      family: familyOf(part.subnet),
      name: part.subnet,
      subnets: [source],
      paths: tunnel === undefined ? NO_PATHS : [{ outer: part.publicIp, source }],
      vteps: tunnel === undefined ? NONE : [part.publicIp],
      aliases: tunnel === undefined || part.tunnelIp === undefined ? NONE : [part.tunnelIp],
      senders: devices.map((device) => ({ device, source })),
    },
  ]
}

/** What a peer's plan depends on beside its lease, as text for `PeerMemo`. */
export function guardVariant({ guard, facts }: Input, lease: Lease): string {
  if (guard === undefined || facts.reach.size === 0) return ''
  return [...lease.families.values()].map(({ publicIp }) => facts.reach.get(publicIp)?.onLink ?? '').join(' ')
}

/** What the plans of all peers depend on, for `PeerMemo.begin`. */
export function guardBasis({ guard, facts }: Input): readonly unknown[] {
  return [guard, facts.onLink, facts.external.name]
}

/** Devices by which peers on the same link may send without a tunnel, in an order that depends on them only; on these the guard judges what claims to be a container. */
export function judgedLinks({ external, reach }: HostFacts): readonly string[] {
  const others = new Set<string>()
  for (const { onLink } of reach.values()) if (onLink !== undefined && onLink !== external.name) others.add(onLink)
  return [external.name, ...[...others].sort()]
}

/**
 * A peer on the link may send directly though this host uses the tunnel: in a mixed cluster, and while a backend or DirectRouting
 * changes, the two need not agree.
 */
function linksOf({ external, reach, onLink = [] }: HostFacts, { publicIp, tunnelIp }: FamilyLease): readonly string[] {
  const looked = reach.get(publicIp)?.onLink
  const addresses = tunnelIp === undefined ? [publicIp] : [publicIp, tunnelIp]
  const isNear = onLink.some((prefix) => addresses.some((address) => contains(prefix, address)))
  const near = isNear ? [external.name] : []
  return looked === undefined || near.includes(looked) ? near : [looked, ...near]
}
