import type { Family } from '../lib/address.ts'
import { decodeLeaseKey, encodeLeaseValue, type LeaseContent, mostRefused } from './lease-codec.ts'
import { namesAddress } from './own-lease.ts'
import type { FamilyLease, Lease, LeaseAttrs, PeerPath } from './types.ts'

/** What a lease says to other writers of it. */
export type Said = Pick<LeaseContent, 'claim' | 'refused' | 'since'>

/** The own lease as it is written at this key; `standing`: what it says of families that are not wanted any more. */
export function written(
  id: string,
  want: LeaseAttrs,
  said: Said = {},
  standing?: Pick<Lease, 'families' | 'primary'>,
): { id: string; value: string } {
  const families = new Map<Family, FamilyLease>()
  for (const [family, subnet] of decodeLeaseKey(id) ?? []) {
    const left = standing?.families.get(family)
    const publicIp = want.publicIps.get(family) ?? left?.publicIp
    if (publicIp === undefined) throw new TypeError(`no public address of family ${family} for lease ${id}`)
    const tunnelIp = want.publicIps.has(family) ? want.tunnelIps.get(family) : left?.tunnelIp
    families.set(family, { subnet, publicIp, ...(tunnelIp === undefined ? {} : { tunnelIp }) })
  }
  const { node, accepts, sends } = want
  const primary = withData(want.primary, standing?.primary)
  const accepted = accepts.map((path) =>
    inFamilies(accepts.length === 1 ? withData(path, standing?.primary) : path, families),
  )
  const paths = { primary: inFamilies(primary, families), accepts: accepted }
  const sent = sends?.map((path) => inFamilies(path, families))
  return { id, value: encodeLeaseValue({ node, ...paths, sends: sent, families, ...said }) }
}

/** A refusal is about one address. */
export function refusalsKept(lease: Lease, want: LeaseAttrs): readonly string[] {
  return namesAddress(lease, want) ? (lease.refused ?? []) : []
}

export function withRefusal(refused: readonly string[], claimant: string | undefined): readonly string[] {
  if (claimant === undefined) return refused
  return [...refused.filter((node) => node !== claimant), claimant].slice(-mostRefused)
}

/** With what another path of the same backend says of other families. */
function withData(path: PeerPath, other: PeerPath | undefined): PeerPath {
  return other?.backend === path.backend ? { ...path, data: new Map([...other.data, ...path.data]) } : path
}

/** Of a family without a subnet nothing is said. */
function inFamilies(path: PeerPath, families: ReadonlyMap<Family, unknown>): PeerPath {
  return { ...path, data: new Map([...path.data].filter(([family]) => families.has(family))) }
}
