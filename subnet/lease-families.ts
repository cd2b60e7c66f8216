import { type Cidr, type Family, prefixLength } from '../lib/address.ts'
import { firstWindow, subnetTaken } from './allocator.ts'
import { SubnetPools, type SubnetQuestion, subnetAtPlaceOf } from './free-subnets.ts'
import { encodeLeaseKey } from './lease-codec.ts'
import type { ClaimingNeeds, WriteResult } from './lease-table.ts'
import { firstHolder, isOwnNode, revisionOf, sinceOf } from './own-lease.ts'
import { type Said, written } from './own-value.ts'
import type { Lease, LeaseAttrs, LeaseWait, PublishHints } from './types.ts'

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
 * way: of two leases with one subnet the younger one would be without this family until it has another one.
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
  readonly lease: Lease
  readonly version: string
  /** Of its families: those whose subnet another node may have got first. */
  readonly unsure?: readonly Family[]
}

/**
 * Writes the own lease with the families of the network. Its key names its subnets, so it gets another one, in the same transaction that
 * deletes the old one: nobody ever sees two leases of this node, or none. Where its new subnet was another's first it gets one more; where
 * somebody stands at the new key it keeps the old one, with the reason.
 */
export async function writeFamilies(
  needs: ClaimingNeeds,
  { lease, version, unsure = [] }: Standing,
  want: LeaseAttrs,
  said: Said,
  hints: PublishHints,
  signal: AbortSignal,
): Promise<WriteResult> {
  const { table, log, random } = needs
  const { reserved } = lease
  const sure = withoutFamilies(lease, unsure)
  let kept = firstHolder((await table.view(signal)).leases, lease, unsure) === undefined ? lease : sure
  let from = { id: lease.id, version }
  let since = sinceOf(lease)
  // Nobody has looked yet whether another node had its subnets first.
  let isNew = unsure.length > 0
  for (;;) {
    signal.throwIfAborted()
    const snapshot = await table.view(signal)
    const question = { snapshot, want, hints, window: firstWindow, random }
    const chosen = familySubnets(kept, question)
    const wanted = encodeLeaseKey(chosen.subnets)
    const there = wanted === from.id ? undefined : table.entry(wanted)
    if (there?.lease !== undefined && isOwnNode(there.lease, want)) {
      // A write whose answer was lost, or what a process has left that was killed.
      if (table.entry(from.id) !== undefined) await table.remove(wanted, there.version, signal)
      else {
        from = { id: wanted, version: there.version }
        since = sinceOf(there.lease)
        isNew = true
      }
      continue
    }
    const id = there === undefined ? wanted : from.id
    const lacks = there === undefined ? chosen.lacks : occupiedKey(from.id, subnetTaken(wanted, holderOf(there)).text)
    const isMoved = id !== from.id
    // Nothing else is to be said.
    if (!isMoved && hints.retryOf !== undefined) return { won: true, own: hints.retryOf }
    if (isMoved) since ??= revisionOf(lease.age)
    const value = written(id, want, { ...said, since }, lease)
    const write = { ...value, expected: { version: from.version }, reserved }
    const result = isMoved ? await table.move(from.id, write, signal) : await table.write(write, signal)
    if (!result.won) return result
    const own = lacks === undefined ? result.own : { ...result.own, lacks }
    if (!isMoved && !isNew) return { won: true, own }
    if (isMoved) log.info('families of the own lease changed', { lease: id, before: from.id, families: namesOf(own) })
    await table.passed(own.version, signal)
    const gained = [...own.lease.families.keys()].filter((family) => !sure.families.has(family))
    const first = firstHolder((await table.view(signal)).leases, own.lease, gained)
    if (first === undefined) return { won: true, own }
    log.warn('another node was first to lease this subnet', { lease: first.id, node: first.node, given: id })
    kept = sure
    from = { id, version: own.version }
    isNew = false
  }
}

function withoutFamilies(lease: Lease, left: readonly Family[]): Lease {
  return { ...lease, families: new Map([...lease.families].filter(([family]) => !left.includes(family))) }
}

function occupiedKey(id: string, why: string): LeaseWait {
  return {
    text: `its families cannot change: ${why}`,
    remedy: `it is tried again by itself: two nodes have one subnet; remove the younger lease, or the one of a host that is gone (this host's is ${id})`,
  }
}

function holderOf({ lease }: { readonly lease: Lease | undefined }): string {
  return lease?.node || 'another node'
}

function namesOf({ lease }: { readonly lease: Lease }): string {
  return Array.from(lease.families.keys(), (family) => `IPv${family}`).join(' ')
}
