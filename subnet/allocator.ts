import {
  type Cidr,
  cidrOf,
  contains,
  type Family,
  familyOf,
  type IpAddr,
  ipFromNumber,
  ipToNumber,
} from '../lib/address.ts'
import { InvalidLease } from '../lib/errors.ts'
import { decodeLeaseKey, encodeLeaseKey } from './lease-codec.ts'
import type { FamilyNetwork } from './network-config.ts'
import { isOwnNode, mayStay, namesAddress, olderFirst } from './own-lease.ts'
import { OwnSubnetRules } from './own-subnet-rules.ts'
import { RangeSet, rangeOf } from './range-set.ts'
import type { AcquireHints, Lease, LeaseAttrs, LeaseConflict, LeaseSnapshot, Rival } from './types.ts'

/** What to do next to hold a lease. Each is one compare-and-swap; after `delete` the question is asked again. */
export type LeaseDecision =
  /** Ours already, or that of another NodeID at our address whose holder did not object. */
  | { readonly type: 'take-over'; readonly lease: Lease; readonly why: 'same-node' | 'same-address' | 'claimed' }
  /** Another NodeID has our address: its holder must be asked first. */
  | { readonly type: 'claim'; readonly lease: Lease }
  /** A key without expiry that names our address; it stays one. */
  | { readonly type: 'claim-reservation'; readonly lease: Lease }
  /** A free key, exactly the one that was lost. */
  | { readonly type: 'recreate'; readonly id: string }
  | { readonly type: 'create'; readonly id: string }
  /** Ours, but of no use, and in the way: peers would see two leases with one address. */
  | { readonly type: 'delete'; readonly lease: Lease; readonly why: 'does-not-fit' | 'second-lease' | 'claimed' }
  | { readonly type: 'conflict'; readonly conflict: LeaseConflict; readonly text: string }

export interface LeaseQuestion {
  readonly snapshot: LeaseSnapshot
  readonly want: LeaseAttrs
  readonly hints: AcquireHints
  /** Whether the holder of this lease was asked and did not object. */
  readonly mayHave: (lease: Lease) => boolean
  /** How many of the first free subnets to choose from: flannel's 100, more after lost races. */
  readonly window: number
  /** From 0 to below 1. */
  readonly random: () => number
}

export const firstWindow = 100

/** Pure. The order of the rules is that of the compatibility contract: NodeID, public address, old subnet, a free one. */
export function decideLease(question: LeaseQuestion): LeaseDecision {
  const { snapshot, want, hints } = question
  const fits = (lease: Lease) => mayStay(lease, hints.network, hints.occupied)
  if (hints.only !== undefined) return decideOnly(question, hints.only)
  const stranger = findStranger(question)
  if (stranger !== undefined) return askStranger(stranger, want)
  const leases = [...snapshot.leases.values()].sort(olderFirst)
  const byNode = leases.filter((lease) => isOwnNode(lease, want))
  const byAddress = leases.filter((lease) => !isOwnNode(lease, want) && namesAddress(lease, want))
  const candidates = [...byNode, ...byAddress]
  const chosen = candidates.find(fits)
  // Reservations that are not needed stay: they are the operator's, and peers ignore them while nobody claims them.
  const surplus = candidates.find((lease) => lease !== chosen && (!lease.reserved || !fits(lease)))
  if (surplus !== undefined) return { type: 'delete', lease: surplus, why: whyDelete(surplus, question) }
  if (chosen === undefined) return hints.keep ? decideOnly(question, hints.keep) : createSomewhere(question)
  return takeOver(chosen, want)
}

function takeOver(lease: Lease, want: LeaseAttrs): LeaseDecision {
  if (isOwnNode(lease, want)) return { type: 'take-over', lease, why: 'same-node' }
  if (lease.node !== '') return { type: 'take-over', lease, why: 'claimed' }
  return lease.reserved ? { type: 'claim-reservation', lease } : { type: 'take-over', lease, why: 'same-address' }
}

function whyDelete(lease: Lease, { hints, want }: LeaseQuestion): 'does-not-fit' | 'second-lease' | 'claimed' {
  if (!mayStay(lease, hints.network, hints.occupied)) return 'does-not-fit'
  return lease.node === '' || isOwnNode(lease, want) ? 'second-lease' : 'claimed'
}

/** A lease that another NodeID holds for our public address, and that is not conceded; of several the oldest. */
export function findStranger({
  snapshot,
  want,
  mayHave,
}: Pick<LeaseQuestion, 'snapshot' | 'want' | 'mayHave'>): Lease | undefined {
  const strangers: Lease[] = []
  for (const lease of snapshot.leases.values())
    if (lease.node !== '' && !isOwnNode(lease, want) && namesAddress(lease, want) && !mayHave(lease))
      strangers.push(lease)
  return strangers.sort(olderFirst)[0]
}

/** Who was refused does not ask again: each restart would cost everybody two writes. */
export function askStranger(lease: Lease, want: LeaseAttrs): LeaseDecision {
  return lease.refused?.includes(want.node) ? addressTaken(lease, want) : { type: 'claim', lease }
}

export function addressTaken({ id, node, families }: Lease, want: LeaseAttrs) {
  const publicIp = firstAddress(families)
  return {
    type: 'conflict',
    conflict: { type: 'public-address-taken', id, node, publicIp },
    text: `the public address ${publicIp} is held by node ${node} (lease ${id}) and not by this node, ${want.node}`,
  } as const
}

function firstAddress(families: Lease['families']): IpAddr {
  const [first] = [...families.values()]
  if (first === undefined) throw new TypeError('a lease without a family')
  return first.publicIp
}

/** After a loss the running containers need exactly this subnet: it is taken again if it is free, else that is the operator's. */
function decideOnly(question: LeaseQuestion, only: ReadonlyMap<Family, Cidr>): LeaseDecision {
  const { snapshot, want } = question
  const id = encodeLeaseKey(only)
  const holder = snapshot.leases.get(id)
  const held = holder && decideHeld(holder, want, question.hints.yieldTo)
  if (held?.type === 'conflict') return held
  const stranger = findStranger(question)
  // Where our lease is gone a claim may have removed it: who got the address is not asked to give it back.
  if (stranger !== undefined) return held === undefined ? addressTaken(stranger, want) : askStranger(stranger, want)
  if (held !== undefined) return held
  const taken = takenSubnets(question)
  for (const [family, subnet] of only) {
    const other = new RangeSet(taken.get(family) ?? []).overlapping(rangeOf(subnet))
    if (other !== undefined) return subnetTaken(id, `the lease of ${other.cidr}`)
  }
  return { type: 'recreate', id }
}

/** Whether a lease at our key is still ours. */
export function decideHeld(holder: Lease, want: LeaseAttrs, yieldTo: ReadonlySet<Rival> = new Set()): LeaseDecision {
  const publicIp = firstAddress(holder.families)
  if (isOwnNode(holder, want)) {
    const isHere = namesAddress(holder, want)
    if (isHere && !yieldTo.has('same-node')) return { type: 'take-over', lease: holder, why: 'same-node' }
    return {
      type: 'conflict',
      conflict: { type: 'identity-shared', id: holder.id, publicIp },
      text: isHere
        ? `another process with this node's NodeID and public address ${publicIp} writes lease ${holder.id}: the state directory was copied`
        : `lease ${holder.id} with this node's NodeID names ${publicIp}: the state directory is shared with that host`,
    }
  }
  if (holder.node === '' && namesAddress(holder, want)) {
    if (!yieldTo.has('flannel')) return takeOver(holder, want)
    return {
      type: 'conflict',
      conflict: { type: 'public-address-shared', id: holder.id, publicIp },
      text: `a flannel elsewhere with this node's public address ${publicIp} writes over lease ${holder.id} again and again`,
    }
  }
  const conflict = subnetTaken(holder.id, holder.node || publicIp)
  if (!namesAddress(holder, want)) return conflict
  return {
    ...conflict,
    conflict: { ...conflict.conflict, publicIp },
    text: `${conflict.text}, which has this node's public address ${publicIp}, too`,
  }
}

function subnetTaken(id: string, holder: string) {
  return {
    type: 'conflict',
    conflict: { type: 'subnet-taken', id, holder },
    text: `the subnet of lease ${id} is now held by ${holder}`,
  } as const
}

function createSomewhere(question: LeaseQuestion): LeaseDecision {
  const { hints } = question
  const taken = takenSubnets(question)
  const harm = new OwnSubnetRules(question)
  const subnets = new Map<Family, Cidr>()
  for (const [family, rules] of hints.network.families) {
    const protectedRanges = (hints.protectedRanges ?? []).filter((range) => familyOf(range) === family)
    const busy = new RangeSet([...(taken.get(family) ?? []), ...protectedRanges])
    const pool = { family, rules, busy, harm }
    const subnet = previousSubnet(hints.previous.get(family), pool) ?? randomSubnet(pool, question)
    if (subnet === undefined) {
      const why = harm.example === undefined ? '' : ` whose addresses nobody needs: ${harm.example}`
      const text = `no free subnet is left between ${rules.subnetMin} and ${rules.subnetMax} (/${rules.subnetLen})${why}`
      return { type: 'conflict', conflict: { type: 'pool-exhausted', text }, text }
    }
    subnets.set(family, subnet)
  }
  return { type: 'create', id: encodeLeaseKey(subnets) }
}

/** Where a subnet of one family is looked for. */
export interface SubnetPool {
  readonly family: Family
  readonly rules: FamilyNetwork
  /** Subnets that somebody has. */
  readonly busy: RangeSet
  readonly harm: Pick<OwnSubnetRules, 'allows'>
}

function previousSubnet(previous: Cidr | undefined, { rules, busy, harm }: SubnetPool): Cidr | undefined {
  if (previous === undefined || !previous.endsWith(`/${rules.subnetLen}`)) return undefined
  const { first } = rangeOf(previous)
  if (first < ipToNumber(rules.subnetMin) || first > ipToNumber(rules.subnetMax)) return undefined
  return busy.overlapping(rangeOf(previous)) === undefined && harm.allows(previous) ? previous : undefined
}

function randomSubnet(pool: SubnetPool, question: LeaseQuestion): Cidr | undefined {
  const free = freeSubnets(pool, question.window)
  return free[Math.floor(question.random() * free.length)]
}

/** The first `most` free subnets between min and max, in order. */
export function freeSubnets({ family, rules, busy, harm }: SubnetPool, most: number): Cidr[] {
  const size = 1n << BigInt((family === 4 ? 32 : 128) - rules.subnetLen)
  const end = ipToNumber(rules.subnetMax)
  const free: Cidr[] = []
  for (let at = ipToNumber(rules.subnetMin); at <= end && free.length < most; ) {
    const range =
      family === 4 ? { first: Number(at), last: Number(at + size) - 1 } : { first: at, last: at + size - 1n }
    const taken = busy.overlapping(range)
    const subnet = taken === undefined ? cidrOf(ipFromNumber(family, at), rules.subnetLen) : undefined
    if (subnet !== undefined && harm.allows(subnet)) free.push(subnet)
    // A large foreign range is left in one step; a small one costs the whole candidate.
    const next = taken === undefined || taken.last <= range.last ? BigInt(range.last) : BigInt(taken.last)
    at = next + 1n
  }
  return free
}

/**
 * Every subnet that any key names: also where the value cannot be read, for its key is in the way all the same. Not one as wide as
 * the network, which is nobody's subnet: it would leave no address for anyone.
 */
function takenSubnets({ snapshot, hints }: LeaseQuestion): ReadonlyMap<Family, Cidr[]> {
  const taken = new Map<Family, Cidr[]>([
    [4, []],
    [6, []],
  ])
  const take = (family: Family, subnet: Cidr) => {
    const rules = hints.network.families.get(family)
    if (rules !== undefined && !contains(subnet, rules.network)) taken.get(family)?.push(subnet)
  }
  for (const lease of snapshot.leases.values()) {
    for (const [family, { subnet }] of lease.families) take(family, subnet)
  }
  for (const { id } of snapshot.unreadable) {
    for (const [family, subnet] of subnetsOfKey(id)) take(family, subnet)
  }
  return taken
}

function subnetsOfKey(id: string): ReadonlyMap<Family, Cidr> {
  try {
    return decodeLeaseKey(id) ?? new Map()
  } catch (cause) {
    if (cause instanceof InvalidLease) return new Map()
    throw cause
  }
}
