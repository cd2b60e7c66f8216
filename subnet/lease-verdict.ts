import type { Cidr, Family } from '../lib/address.ts'
import { LeaseIndex, type Stands } from './lease-index.ts'
import type { NetworkConfig } from './network-config.ts'
import { olderFirst } from './own-lease.ts'
import { PeerAddressRules } from './peer-addresses.ts'
import { RouteOverlaps } from './route-overlaps.ts'
import { SubnetRules } from './subnet-rules.ts'
import { type Harm, HarmRules, type Surroundings } from './surroundings.ts'
import type { FamilyLease, Lease, LeaseSnapshot } from './types.ts'

export interface PeerRuleInput {
  readonly snapshot: LeaseSnapshot
  readonly own: Lease | undefined
  readonly network: NetworkConfig
  /** The same object while nothing of it has changed: another one means that all leases are judged anew. */
  readonly surroundings: Surroundings
  /** `--protected-cidrs`. */
  readonly protectedRanges: readonly Cidr[]
}

export interface Fault {
  /** The one that the lease loses by it; absent: all of it. */
  readonly family?: Family
  readonly reason: string
  readonly text: string
}

export interface Verdict {
  readonly faults: readonly Fault[]
  /** In the families that can be routed: the lease itself where that is all of it; undefined: none. */
  readonly left: Lease | undefined
}

/** Judges one lease, by itself and beside others, under one configuration and the host as it is. */
export class PeerRules {
  readonly index: LeaseIndex
  readonly overlaps: RouteOverlaps
  readonly own: readonly Harm[]
  readonly #input: PeerRuleInput
  readonly #harm: HarmRules
  readonly #places: ReadonlyMap<Family, SubnetRules>
  readonly #addressRules: PeerAddressRules

  constructor(input: PeerRuleInput) {
    const { network, own, surroundings } = input
    const harm = new HarmRules(surroundings)
    this.#input = input
    this.#harm = harm
    this.#places = new Map([...network.families.keys()].map((f) => [f, new SubnetRules({ ...input, harm }, f)]))
    this.#addressRules = new PeerAddressRules({ own, ownAddresses: surroundings.ownAddresses })
    this.index = new LeaseIndex(input)
    this.overlaps = new RouteOverlaps(harm)
    this.own = [...(own?.families.values() ?? [])].flatMap(({ subnet }) => harm.ofOwn(subnet) ?? [])
  }

  /** Whatever other leases there are. */
  alone(lease: Lease): Verdict {
    const whole = this.#faultOf(lease)
    if (whole !== undefined) return this.#verdict(lease, [whole])
    const faults: Fault[] = []
    for (const [family, place] of this.#places) {
      const part = lease.families.get(family)
      const lost = part && (place.harmOf(part.subnet) ?? this.#addressRules.loopOf(part))
      if (lost !== undefined) faults.push({ ...lost, family })
    }
    return this.#judgeLeft(lease, faults, (part) => this.#addressRules.impossible(part))
  }

  /** Beside those that stand and are older, and with its subnets beside the addresses of all. */
  beside(lease: Lease, stands: Stands): Verdict {
    const isOlder: Stands = (other, family) => olderFirst(other, lease) < 0 && stands(other, family)
    const containing = this.#containing(lease)
    const losses = this.index.losses(lease, new Set(containing.map(({ family }) => family)), isOlder)
    const lost = losses.length === 0 ? containing : [...containing, ...losses]
    const verdict = this.#judgeLeft(lease, lost, (part) => this.#addressRules.own(part))
    const duplicate = verdict.left && this.index.duplicate(lease, this.#enabled(verdict.left), isOlder)
    return duplicate === undefined ? verdict : this.#verdict(lease, [...lost, duplicate])
  }

  /** What is said of lost families says nothing against the others. */
  #judgeLeft(lease: Lease, lost: readonly Fault[], judge: (part: FamilyLease) => Fault | undefined): Verdict {
    const verdict = this.#verdict(lease, lost)
    for (const part of verdict.left === undefined ? [] : this.#enabled(verdict.left).values()) {
      const fault = judge(part)
      if (fault !== undefined) return this.#verdict(lease, [...lost, fault])
    }
    return verdict
  }

  #enabled({ families }: Lease): Lease['families'] {
    const others = [...families.keys()].some((family) => !this.#places.has(family))
    return others ? new Map([...families].filter(([family]) => this.#places.has(family))) : families
  }

  #verdict(lease: Lease, faults: readonly Fault[]): Verdict {
    if (faults.length === 0) return { faults, left: lease }
    const families = new Map(lease.families)
    for (const { family } of faults) {
      if (family === undefined) return { faults, left: undefined }
      families.delete(family)
    }
    const isLeft = [...families.keys()].some((family) => this.#places.has(family))
    return { faults, left: isLeft ? { ...lease, families } : undefined }
  }

  #faultOf(lease: Lease): Fault | undefined {
    if (lease.reserved && lease.node === '' && lease.primary.backend === '') {
      return { reason: 'unclaimed-reservation', text: 'the node for which the subnet is reserved has not come yet' }
    }
    const { own } = this.#input
    if (own !== undefined && own.node !== '' && lease.node === own.node) {
      return { reason: 'own-identity', text: `it carries this node's NodeID, whose lease is ${own.id}` }
    }
    let checked = 0
    for (const [family, place] of this.#places) {
      const part = lease.families.get(family)
      if (part === undefined) continue
      checked += 1
      const fault = place.judge(part.subnet)
      if (fault !== undefined) return fault
    }
    return checked === 0
      ? { reason: 'no-family', text: 'it has a subnet in none of the enabled address families' }
      : undefined
  }

  /**
   * Among leases with nothing wrong by themselves: where its subnet contains addresses of others. At any age it loses to nodes that are there, as
   * a route of this host, the age of their leases or their number shows. A single younger lease whose address no route leads to
   * in particular cannot take a peer away by naming an address of its containers: that one is the loop (`LeaseIndex.losses`).
   */
  #containing(lease: Lease): readonly (Fault & { readonly family: Family })[] {
    const { own, network } = this.#input
    const inside = [...network.families].flatMap(([family, rules]) => {
      const subnet = lease.families.get(family)?.subnet
      if (subnet === undefined) return []
      return this.index.addressesIn(subnet, lease).map((held) => ({ family, held, subnet, network: rules.network }))
    })
    if (inside.length === 0) return NONE
    const isMany = inside.some(({ held }) => held.lease !== inside[0]?.held.lease)
    const found = inside.filter(({ held, network }) => {
      if (isMany || held.lease === own || olderFirst(held.lease, lease) < 0) return true
      return this.#harm.knows(held.address, network)
    })
    return found
      .filter(({ family }, at) => found.findIndex((first) => first.family === family) === at)
      .map(({ family, held, subnet }) => {
        const holder = held.lease === own ? 'this node' : `lease ${held.lease.id}`
        const text = `${subnet} contains ${held.address}, the ${held.which} address of ${holder}`
        return { family, reason: 'peer-address', text }
      })
  }
}

const NONE: readonly never[] = []
