import type { Cidr, Family } from '../../lib/address.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { Lease, LeaseConflict, OwnLease, Rival } from '../../subnet/types.ts'

export function stillRivals({ type }: LeaseConflict): ReadonlySet<Rival> {
  if (type === 'identity-shared') return new Set(['same-node'])
  return new Set(type === 'public-address-shared' ? ['flannel'] : [])
}

/** In the families that the network has; all of them where there is none of these. */
export function subnetsIn({ families }: NetworkConfig, lease: Lease): ReadonlyMap<Family, Cidr> {
  const all = [...lease.families].map(([family, part]) => [family, part.subnet] as const)
  const kept = all.filter(([family]) => families.has(family))
  return new Map(kept.length === 0 ? all : kept)
}

type Holding =
  | { readonly at: 'held'; readonly own: OwnLease }
  | { readonly at: 'lost'; readonly last: OwnLease }
  | { readonly at: 'acquiring' | 'recorded' }

/** Of the lease that is ours, or was. */
export function ownId(state: Holding | undefined): string | undefined {
  if (state?.at === 'held') return state.own.lease.id
  return state?.at === 'lost' ? state.last.lease.id : undefined
}
