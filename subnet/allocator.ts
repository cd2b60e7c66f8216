import type { Cidr, Family, IpAddr } from '../lib/address.ts'
import { SubnetPools, type SubnetQuestion, takenSubnets } from './free-subnets.ts'
import { encodeLeaseKey } from './lease-codec.ts'
import { hadAddressFirst, isOwnNode, mayChange, mayStay, namesAddress, olderFirst, oldestOf } from './own-lease.ts'
import { RangeSet, rangeOf } from './range-set.ts'
import type { AcquireHints, Lease, LeaseAttrs, LeaseConflict, Rival } from './types.ts'

/** What to do next to hold a lease. Each is one compare-and-swap; after `delete` the question is asked again. */
export type LeaseDecision =
  /** Ours already, or that of another NodeID at our address whose holder did not object. */
  | { readonly type: 'take-over'; readonly lease: Lease; readonly why: 'same-node' | 'same-address' | 'claimed' }
  /** Ours, or flannel's at our address, of other families than the network has: its other subnets stay. */
  | { readonly type: 'change-families'; readonly lease: Lease }
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

export interface LeaseQuestion extends SubnetQuestion {
  readonly hints: AcquireHints
  /** Whether the holder of this lease was asked and did not object. */
  readonly mayHave: (lease: Lease) => boolean
}

export const firstWindow = 100

/** Pure. The order of the rules is that of the compatibility contract: NodeID, public address, old subnet, a free one. */
export function decideLease(question: LeaseQuestion): LeaseDecision {
  const { snapshot, want, hints } = question
  const fits = (lease: Lease) => mayStay(lease, hints.network, hints.occupied)
  if (hints.only !== undefined) return decideOnly(question, hints.only)
  const leases = [...snapshot.leases.values()]
  const byNode = leases.filter((lease) => isOwnNode(lease, want)).sort(olderFirst)
  const stranger = findStranger(question)
  const isOurs = stranger !== undefined && byNode.some((own) => hadAddressFirst(own, stranger, want))
  if (stranger !== undefined && !isOurs) return askStranger(stranger, want)
  const mayTake = (lease: Lease) => lease.node === '' || question.mayHave(lease)
  const byAddress = leases
    .filter((lease) => !isOwnNode(lease, want) && namesAddress(lease, want) && mayTake(lease))
    .sort(olderFirst)
  const candidates = [...byNode, ...byAddress]
  const changes = (lease: Lease) =>
    (isOwnNode(lease, want) || !lease.reserved) && mayChange(lease, hints.network, hints.occupied)
  const chosen = candidates.find(fits) ?? candidates.find(changes)
  // Reservations that are not needed stay: they are the operator's, and peers ignore them while nobody claims them.
  const surplus = candidates.find((lease) => lease !== chosen && (!lease.reserved || !fits(lease)))
  if (surplus !== undefined) return { type: 'delete', lease: surplus, why: whyDelete(surplus, question) }
  if (chosen === undefined) return hints.keep ? decideOnly(question, hints.keep) : createSomewhere(question)
  return fits(chosen) ? takeOver(chosen, want) : { type: 'change-families', lease: chosen }
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
  return oldestOf(
    snapshot.leases,
    (lease) => lease.node !== '' && !isOwnNode(lease, want) && namesAddress(lease, want) && !mayHave(lease),
  )
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
  if (stranger !== undefined) {
    if (holder === undefined) return addressTaken(stranger, want)
    if (!isOwnNode(holder, want) || !hadAddressFirst(holder, stranger, want)) return askStranger(stranger, want)
  }
  if (held !== undefined) return held
  const taken = takenSubnets(question.snapshot, question.hints.network)
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

export function subnetTaken(id: string, holder: string) {
  return {
    type: 'conflict',
    conflict: { type: 'subnet-taken', id, holder },
    text: `the subnet of lease ${id} is now held by ${holder}`,
  } as const
}

function createSomewhere(question: LeaseQuestion): LeaseDecision {
  const pools = new SubnetPools(question)
  const subnets = new Map<Family, Cidr>()
  for (const family of question.hints.network.families.keys()) {
    const found = pools.choose(family)
    if ('text' in found) return { type: 'conflict', conflict: { type: 'pool-exhausted', text: found.text }, ...found }
    subnets.set(family, found.subnet)
  }
  return { type: 'create', id: encodeLeaseKey(subnets) }
}
