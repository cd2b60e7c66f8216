import type { Cidr, Family } from '../../lib/address.ts'
import { decideLease, firstWindow } from '../../subnet/allocator.ts'
import { decodeLeaseKey, encodeLeaseKey } from '../../subnet/lease-codec.ts'
import { familySubnets } from '../../subnet/lease-families.ts'
import type { Lease } from '../../subnet/types.ts'
import type { LeaseWant } from '../leases/keeper-options.ts'
import type { FoldMemory } from './fold.ts'
import type { Levels } from './levels.ts'

/** What a node without a lease would come to when it asked for one now. */
export interface PresumedLease {
  /** A free one, or the one of this node's public address. */
  readonly lease?: Lease
  /** Another node that has this node's public address: it would be asked first. */
  readonly askedFirst?: Lease
  /** Why there would be none. */
  readonly conflict?: string
  /** Why it would have no subnet of some family. */
  readonly lacks?: string
}

/** By the rules of the store, as if this node were alone. Undefined while not all is known that it follows from. */
export function presumeLease(
  { host, leases: snapshot, storeAddresses }: Levels,
  want: LeaseWant | undefined,
  memory: FoldMemory,
  options: { readonly previousSubnets: ReadonlyMap<Family, Cidr>; readonly protectedRanges: readonly Cidr[] },
): PresumedLease | undefined {
  if (want === undefined || host === undefined || snapshot === undefined || storeAddresses === undefined)
    return undefined
  const { attrs, network } = want
  const { protectedRanges, previousSubnets: previous } = options
  const surroundings = () => host.surroundings({ ...memory, storeAddresses })
  const hints = { network, previous, protectedRanges, surroundings }
  const question = { want: attrs, hints, mayHave: () => false, window: firstWindow, random: () => 0 }
  const leases = new Map(snapshot.leases)
  let chosen = decideLease({ ...question, snapshot })
  for (; chosen.type === 'delete'; chosen = decideLease({ ...question, snapshot: { ...snapshot, leases } }))
    leases.delete(chosen.lease.id)
  switch (chosen.type) {
    case 'conflict':
      return { conflict: chosen.text }
    case 'create':
    case 'recreate':
      return { lease: freeLease(chosen.id, want) }
    case 'change-families': {
      const { subnets, lacks } = familySubnets(chosen.lease, { ...question, snapshot })
      return { lease: freeLease(encodeLeaseKey(subnets), want), ...(lacks && { lacks: lacks.text }) }
    }
    case 'claim':
      return { lease: chosen.lease, askedFirst: chosen.lease }
    default:
      return { lease: chosen.lease }
  }
}

function freeLease(id: string, { attrs: { node, primary, accepts, publicIps } }: LeaseWant): Lease {
  const families: Lease['families'] = new Map(
    [...(decodeLeaseKey(id) ?? [])].flatMap(([family, subnet]) => {
      const publicIp = publicIps.get(family)
      return publicIp === undefined ? [] : [[family, { subnet, publicIp }] as const]
    }),
  )
  return { id, node, primary, accepts, families, age: '', reserved: false }
}
