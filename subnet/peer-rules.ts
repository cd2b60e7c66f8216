import { type Cidr, type Family, familyOf, type IpAddr, networkAddress, prefixLength } from '../lib/address.ts'
import { changesBetween, PersistentMap } from '../lib/persistent-map.ts'
import { DuplicateFinder } from './duplicates.ts'
import type { NetworkConfig } from './network-config.ts'
import { olderFirst } from './own-lease.ts'
import { PeerAddressRules } from './peer-addresses.ts'
import { RangeSet, rangeOf } from './range-set.ts'
import type { FamilyLease, Lease, LeaseSnapshot, RejectedLease } from './types.ts'

export interface PeerRuleInput {
  readonly snapshot: LeaseSnapshot
  readonly own: Lease | undefined
  readonly network: NetworkConfig
  /** Addresses, connected routes and gateways of this host outside the overlay. */
  readonly hostRanges: readonly Cidr[]
  /** `--protected-cidrs`. */
  readonly protectedRanges: readonly Cidr[]
  /** In Kubernetes any subnet inside the network is good: its length and place are the cluster's. */
  readonly exactSubnets: boolean
}

export interface PeerVerdicts {
  /** By id. */
  readonly accepted: PersistentMap<Lease>
  /** Also what the store could not read. */
  readonly rejected: readonly RejectedLease[]
}

interface Fault {
  readonly reason: string
  readonly text: string
  /** Because of another peer, without which it might be accepted. */
  readonly relative?: true
}

interface Rejection {
  readonly lease: Lease
  readonly fault: Fault
}

/**
 * Which leases may become routes: of two that exclude each other the older one stays, whatever the order of the snapshot. What
 * only a backend can judge (VNI, port, keys) is left to it.
 *
 * As long as no two leases exclude each other, a change of the snapshot costs the judgement of the leases that changed. Any other
 * change, of what is judged by included, begins anew. The verdicts are those of a new judge.
 */
export class PeerJudge {
  #basis: readonly unknown[] = []
  #rules: PeerRules | undefined
  #judged: ReadonlyMap<string, Lease> = new Map()
  #accepted = PersistentMap.from<Lease>([])
  /** Oldest first. */
  #rejected: readonly Rejection[] = []

  judge(input: PeerRuleInput): PeerVerdicts {
    const { leases, unreadable } = input.snapshot
    const rules = this.#isSameBasis(input) ? this.#rules : undefined
    if (rules === undefined || !this.#judgeChanges(rules, input)) this.#judgeAll(input)
    this.#judged = leases
    const rejected = this.#rejected.map(({ lease: { id }, fault: { reason, text } }) => ({ id, reason, text }))
    return { accepted: this.#accepted, rejected: [...unreadable, ...rejected] }
  }

  #judgeAll(input: PeerRuleInput): void {
    const rules = new PeerRules(input)
    const accepted = new Map<string, Lease>()
    const rejected: Rejection[] = []
    for (const lease of [...input.snapshot.leases.values()].sort(olderFirst)) {
      if (lease.id === input.own?.id) continue
      const fault = rules.judge(lease)
      if (fault === undefined) accepted.set(lease.id, lease)
      else rejected.push({ lease, fault })
    }
    this.#rules = rules
    this.#accepted = PersistentMap.from(accepted)
    this.#rejected = rejected
  }

  /** False: leases exclude each other, so their ages decide, and everything must be judged anew. */
  #judgeChanges(rules: PeerRules, { snapshot, own }: PeerRuleInput): boolean {
    if (this.#rejected.some(({ fault }) => fault.relative)) return false
    const changes = changesBetween(this.#judged, snapshot.leases).filter(({ key }) => key !== own?.id)
    if (changes.length === 0) return true
    const gone = changes.filter(({ key }) => this.#accepted.has(key))
    for (const { before } of gone) if (before !== undefined) rules.forget(before)
    const accepted: [string, Lease][] = []
    const touched = new Set(changes.map(({ key }) => key))
    const rejected = this.#rejected.filter(({ lease }) => !touched.has(lease.id))
    for (const { key, after } of changes) {
      const fault = after && rules.judge(after)
      if (fault?.relative) return false
      if (after !== undefined && fault !== undefined) rejected.push({ lease: after, fault })
      else if (after !== undefined) accepted.push([key, after])
    }
    this.#accepted = this.#accepted.patched(
      gone.map(({ key }) => key),
      accepted,
    )
    this.#rejected = rejected.sort((a, b) => olderFirst(a.lease, b.lease))
    return true
  }

  #isSameBasis({ own, network, hostRanges, protectedRanges, exactSubnets }: PeerRuleInput): boolean {
    const basis = [own, network, JSON.stringify([hostRanges, protectedRanges, exactSubnets])]
    const same = basis.every((value, index) => value === this.#basis[index])
    this.#basis = basis
    return same
  }
}

export function acceptPeers(input: PeerRuleInput): PeerVerdicts {
  return new PeerJudge().judge(input)
}

class PeerRules {
  readonly #input: PeerRuleInput
  readonly #places: ReadonlyMap<Family, SubnetRules>
  readonly #addresses: PeerAddressRules
  readonly #duplicates: DuplicateFinder

  constructor(input: PeerRuleInput) {
    this.#input = input
    this.#places = new Map([...input.network.families.keys()].map((family) => [family, new SubnetRules(input, family)]))
    this.#addresses = new PeerAddressRules(input)
    this.#duplicates = new DuplicateFinder(input.own)
  }

  judge(lease: Lease): Fault | undefined {
    if (lease.reserved && lease.node === '' && lease.primary.backend === '') {
      return { reason: 'unclaimed-reservation', text: 'the node for which the subnet is reserved has not come yet' }
    }
    const { own, network } = this.#input
    if (own !== undefined && own.node !== '' && lease.node === own.node) {
      return { reason: 'own-identity', text: `it carries this node's NodeID, whose lease is ${own.id}` }
    }
    let checked = 0
    for (const family of network.families.keys()) {
      const part = lease.families.get(family)
      if (part === undefined) continue
      checked += 1
      const fault = this.#places.get(family)?.judge(part.subnet) ?? this.#addresses.judge(part)
      if (fault !== undefined) return fault
    }
    if (checked === 0) return { reason: 'no-family', text: 'it has a subnet in none of the enabled address families' }
    const duplicate = this.#duplicates.find(lease, network)
    if (duplicate !== undefined) return { ...duplicate, relative: true }
    this.#duplicates.add(lease)
    return undefined
  }

  /** An accepted lease is there no more. */
  forget(lease: Lease): void {
    this.#duplicates.forget(lease)
  }
}

/** Where a peer's subnet of one family may lie. */
class SubnetRules {
  readonly #family: Family
  readonly #network: Cidr
  readonly #range: ReturnType<typeof rangeOf>
  readonly #length: number | undefined
  readonly #reserved: IpAddr | undefined
  readonly #forbidden: readonly { reason: string; label: string; ranges: RangeSet }[]

  constructor(input: PeerRuleInput, family: Family) {
    const rules = input.network.families.get(family)
    if (rules === undefined) throw new TypeError(`family ${family} is not enabled`)
    this.#family = family
    this.#network = rules.network
    this.#range = rangeOf(rules.network)
    this.#length = input.exactSubnets ? rules.subnetLen : undefined
    const first = networkAddress(rules.network)
    this.#reserved = input.exactSubnets && rules.subnetMin !== first ? first : undefined
    const own = input.own?.families.get(family)?.subnet
    this.#forbidden = [
      { reason: 'own-subnet', label: 'the own subnet', ranges: this.#set(own === undefined ? [] : [own]) },
      { reason: 'host-range', label: 'a network of this host,', ranges: this.#set(input.hostRanges) },
      { reason: 'protected-range', label: 'the protected', ranges: this.#set(input.protectedRanges) },
    ]
  }

  // A default route covers everything and forbids nothing.
  #set(cidrs: readonly Cidr[]): RangeSet {
    return new RangeSet(cidrs.filter((cidr) => familyOf(cidr) === this.#family && prefixLength(cidr) > 0))
  }

  judge(subnet: FamilyLease['subnet']): Fault | undefined {
    const range = rangeOf(subnet)
    if (range.first < this.#range.first || range.last > this.#range.last) {
      return { reason: 'outside-network', text: `${subnet} does not lie inside ${this.#network}` }
    }
    if (this.#length !== undefined && prefixLength(subnet) !== this.#length) {
      return { reason: 'wrong-length', text: `${subnet} is not a /${this.#length}` }
    }
    if (networkAddress(subnet) === this.#reserved) {
      return { reason: 'first-subnet', text: `${subnet} is the first of the network, which SubnetMin does not allow` }
    }
    for (const { reason, label, ranges } of this.#forbidden) {
      const other = ranges.overlapping(range)
      if (other !== undefined) return { reason, text: `${subnet} overlaps ${label} ${other.cidr}` }
    }
    return undefined
  }
}
