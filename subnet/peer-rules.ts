import { type Cidr, type Family, familyOf, type IpAddr, networkAddress, prefixLength } from '../lib/address.ts'
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
  readonly accepted: readonly Lease[]
  /** Also what the store could not read. */
  readonly rejected: readonly RejectedLease[]
}

interface Fault {
  readonly reason: string
  readonly text: string
}

/**
 * Which leases may become routes: of two that exclude each other the older one stays, whatever the order of the snapshot. The
 * accepted ones come oldest first. What only a backend can judge (VNI, port, keys) is left to it.
 *
 * A lease is judged beside all older ones, so a snapshot that only adds younger leases to the last one (a node joins) costs
 * their judgement alone. Any other change, of what is judged by included, begins anew. The verdicts are those of a new judge.
 */
export class PeerJudge {
  #basis = ''
  #own: Lease | undefined
  #network: NetworkConfig | undefined
  #rules: PeerRules | undefined
  #judged: readonly Lease[] = []
  readonly #accepted: Lease[] = []
  readonly #rejected: RejectedLease[] = []

  judge(input: PeerRuleInput): PeerVerdicts {
    const { snapshot, own } = input
    const sorted = [...snapshot.leases.values()].sort(olderFirst)
    const rules = this.#rulesFor(input, sorted)
    for (const lease of sorted.slice(this.#judged.length)) {
      if (own !== undefined && lease.id === own.id) continue
      const fault = rules.judge(lease)
      if (fault === undefined) this.#accepted.push(lease)
      else this.#rejected.push({ id: lease.id, ...fault })
    }
    this.#judged = sorted
    return { accepted: [...this.#accepted], rejected: [...snapshot.unreadable, ...this.#rejected] }
  }

  #rulesFor(input: PeerRuleInput, sorted: readonly Lease[]): PeerRules {
    const { own, network, hostRanges, protectedRanges, exactSubnets } = input
    const basis = JSON.stringify([hostRanges, protectedRanges, exactSubnets])
    const same = basis === this.#basis && own === this.#own && network === this.#network
    if (same && this.#rules !== undefined && startsWith(sorted, this.#judged)) return this.#rules
    this.#basis = basis
    this.#own = own
    this.#network = network
    this.#judged = []
    this.#accepted.length = 0
    this.#rejected.length = 0
    this.#rules = new PeerRules(input)
    return this.#rules
  }
}

export function acceptPeers(input: PeerRuleInput): PeerVerdicts {
  return new PeerJudge().judge(input)
}

function startsWith(leases: readonly Lease[], beginning: readonly Lease[]): boolean {
  return beginning.length <= leases.length && beginning.every((lease, index) => lease === leases[index])
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
    if (duplicate !== undefined) return duplicate
    this.#duplicates.add(lease)
    return undefined
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
