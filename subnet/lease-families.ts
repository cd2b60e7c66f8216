import { type Cidr, type Family, prefixLength } from '../lib/address.ts'
import { conflictOf } from './address-claim.ts'
import { firstWindow, subnetTaken } from './allocator.ts'
import { SubnetPools, type SubnetQuestion, subnetAtPlaceOf } from './free-subnets.ts'
import { encodeLeaseKey } from './lease-codec.ts'
import type { ClaimingNeeds, WriteResult } from './lease-table.ts'
import { isOwnNode, olderFirst } from './own-lease.ts'
import { type Said, written } from './own-value.ts'
import type { Lease, LeaseAttrs, LeaseSnapshot, LeaseWait, PublishHints } from './types.ts'

export interface FamilySubnets {
  readonly subnets: ReadonlyMap<Family, Cidr>
  /** Why one of the network's families is not among them. */
  readonly lacks?: LeaseWait
}

export function hasFamiliesOf({ families }: Pick<Lease, 'families'>, network: PublishHints['network']): boolean {
  return families.size === network.families.size && [...network.families.keys()].every((family) => families.has(family))
}

/** The subnets that a lease keeps, and those that it gets in families that it has not. Pure. */
export function familySubnets({ families }: Pick<Lease, 'families'>, question: SubnetQuestion): FamilySubnets {
  const pools = new SubnetPools(question)
  const subnets = new Map<Family, Cidr>()
  let lacks: LeaseWait | undefined
  for (const family of question.hints.network.families.keys()) {
    const kept = families.get(family)?.subnet
    const found = kept === undefined ? pools.choose(family, beside(families, family, question)) : { subnet: kept }
    if ('subnet' in found) subnets.set(family, found.subnet)
    else lacks = { text: `no IPv${family} subnet: ${found.text}`, remedy: REMEDY }
  }
  return { subnets, ...(lacks && { lacks }) }
}

/**
 * The one at the place that a kept subnet has in its own network. All nodes gain a family at once, and no two choose the same in that
 * way: two leases with one subnet would exclude each other as a whole, with the family that containers use.
 */
function beside(families: Lease['families'], family: Family, { hints }: SubnetQuestion): Cidr | undefined {
  const to = hints.network.families.get(family)
  for (const [other, { subnet }] of families) {
    const from = hints.network.families.get(other)
    if (from !== undefined && to !== undefined && prefixLength(subnet) === from.subnetLen)
      return subnetAtPlaceOf(subnet, from, to)
  }
  return undefined
}

const REMEDY =
  'it is tried again by itself: delete leases of hosts that are gone, or make the network of this family larger; the other family goes on meanwhile'

/** An own lease as it stands in the store. */
interface Standing {
  readonly lease: Pick<Lease, 'id' | 'families' | 'reserved'>
  readonly version: string
}

/**
 * Writes the own lease with the families of the network. Its key names its subnets, so it gets another one, in the same transaction that
 * deletes the old one: nobody ever sees two leases of this node, or none. Where its new subnet was another's first it gets one more.
 * @throws LeaseConflictError where somebody else has the key
 */
export async function writeFamilies(
  needs: ClaimingNeeds,
  { lease, version }: Standing,
  want: LeaseAttrs,
  said: Said,
  hints: PublishHints,
  signal: AbortSignal,
): Promise<WriteResult> {
  const { table, log, random } = needs
  const { reserved } = lease
  let from = { id: lease.id, version }
  for (;;) {
    signal.throwIfAborted()
    const snapshot = await table.view(signal)
    const { subnets, lacks } = familySubnets(lease, { snapshot, want, hints, window: firstWindow, random })
    const write = {
      ...written(encodeLeaseKey(subnets), want, said),
      expected: { version: from.version },
      reserved,
    }
    const isMoved = write.id !== from.id
    // Nothing else is to be said.
    if (!isMoved && hints.retryOf !== undefined) return { won: true, own: hints.retryOf }
    const there = isMoved ? table.entry(write.id) : undefined
    if (there !== undefined) {
      const isLeftover = there.lease !== undefined && isOwnNode(there.lease, want)
      if (!isLeftover) throw conflictOf(subnetTaken(write.id, there.lease?.node || 'another node'))
      await table.remove(write.id, there.version, signal)
      continue
    }
    const result = isMoved ? await table.move(from.id, write, signal) : await table.write(write, signal)
    if (!result.won) return result
    const own = lacks === undefined ? result.own : { ...result.own, lacks }
    if (!isMoved) return { won: true, own }
    const names = (families: Iterable<Family>) => Array.from(families, (family) => `IPv${family}`).join(' ')
    log.info('families of the own lease changed', { lease: write.id, before: from.id, families: names(subnets.keys()) })
    await table.passed(own.version, signal)
    const first = firstWithGained(await table.view(signal), own.lease, lease)
    if (first === undefined) return { won: true, own }
    log.warn('another node was first to lease this subnet', { lease: first.id, node: first.node, given: write.id })
    from = { id: write.id, version: own.version }
  }
}

/** An older lease that has one of the subnets that the own one has got now. */
function firstWithGained({ leases }: LeaseSnapshot, own: Lease, before: Pick<Lease, 'families'>): Lease | undefined {
  const gained = [...own.families].filter(([family]) => !before.families.has(family))
  const shares = (other: Lease) =>
    other.id !== own.id &&
    olderFirst(other, own) < 0 &&
    gained.some(([family, { subnet }]) => other.families.get(family)?.subnet === subnet)
  return [...leases.values()].find(shares)
}
