import type { Cidr, Family } from '../lib/address.ts'
import { changesBetween, PersistentMap } from '../lib/persistent-map.ts'
import { DuplicateFinder } from './duplicates.ts'
import type { NetworkConfig } from './network-config.ts'
import { olderFirst } from './own-lease.ts'
import { PeerAddresses, PeerAddressRules } from './peer-addresses.ts'
import { type Overlap, RouteOverlaps } from './route-overlaps.ts'
import { SubnetRules } from './subnet-rules.ts'
import { type Harm, HarmRules, type Surroundings } from './surroundings.ts'
import type { Lease, LeaseSnapshot, RejectedLease } from './types.ts'

export interface PeerRuleInput {
  readonly snapshot: LeaseSnapshot
  readonly own: Lease | undefined
  readonly network: NetworkConfig
  /** The same object while nothing of it has changed: another one means that all leases are judged anew. */
  readonly surroundings: Surroundings
  /** `--protected-cidrs`. */
  readonly protectedRanges: readonly Cidr[]
}

export interface PeerVerdicts {
  /** By id. */
  readonly accepted: PersistentMap<Lease>
  /** Also what the store could not read. */
  readonly rejected: readonly RejectedLease[]
  /** What of this host lies beside accepted peers, which changes nothing for either. */
  readonly overlaps: readonly Overlap[]
  /** What is wrong with the own subnet on this host. It is kept all the same. */
  readonly own: readonly Harm[]
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
 * Which leases may become routes (the harm rule): all but those that would take away something that works, or are no leases. What only a
 * backend can judge (VNI, port, keys) is left to it. First each lease is judged by itself; of the rest, those whose subnet contains
 * addresses of others go, and with them those whose address lies in a subnet that stays (`containing`); of two that exclude each other then,
 * the older one stays. So the verdicts do not depend on the order of the snapshot.
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
    let rules = this.#isSameBasis(input) ? this.#rules : undefined
    if (rules === undefined || !this.#judgeChanges(rules, input)) rules = this.#judgeAll(input)
    this.#rules = rules
    this.#judged = leases
    const rejected = this.#rejected.map(({ lease: { id }, fault: { reason, text } }) => ({ id, reason, text }))
    return {
      accepted: this.#accepted,
      rejected: [...unreadable, ...rejected],
      overlaps: rules.overlaps.list(),
      own: rules.own,
    }
  }

  #judgeAll(input: PeerRuleInput): PeerRules {
    const rules = new PeerRules(input)
    const accepted = new Map<string, Lease>()
    const rejected: Rejection[] = []
    const judgeBy = (leases: readonly Lease[], rule: (lease: Lease) => Fault | undefined) =>
      leases.filter((lease) => {
        const fault = rule(lease)
        if (fault !== undefined) rejected.push({ lease, fault })
        return fault === undefined
      })
    const others = [...input.snapshot.leases.values()].filter(({ id }) => id !== input.own?.id).sort(olderFirst)
    const candidates = judgeBy(others, (lease) => rules.alone(lease))
    for (const lease of candidates) rules.addresses.add(lease)
    for (const lease of judgeBy(
      judgeBy(candidates, (one) => rules.containing(one)),
      (one) => rules.excluded(one),
    )) {
      accepted.set(lease.id, lease)
    }
    for (const lease of accepted.values()) rules.overlaps.change(undefined, lease)
    this.#accepted = PersistentMap.from(accepted)
    this.#rejected = sorted(rejected)
    return rules
  }

  /** False: leases exclude each other, so the others decide, and everything must be judged anew. */
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
    const come = new Map(accepted)
    for (const { key } of changes) rules.overlaps.change(this.#accepted.get(key), come.get(key))
    this.#accepted = this.#accepted.patched(
      gone.map(({ key }) => key),
      accepted,
    )
    this.#rejected = sorted(rejected)
    return true
  }

  #isSameBasis({ own, network, surroundings, protectedRanges }: PeerRuleInput): boolean {
    const basis = [own, network, surroundings, protectedRanges]
    const same = basis.every((value, index) => value === this.#basis[index])
    this.#basis = basis
    return same
  }
}

export function acceptPeers(input: PeerRuleInput): PeerVerdicts {
  return new PeerJudge().judge(input)
}

function sorted(rejected: readonly Rejection[]): readonly Rejection[] {
  return [...rejected].sort((a, b) => olderFirst(a.lease, b.lease))
}

class PeerRules {
  readonly addresses: PeerAddresses
  readonly overlaps: RouteOverlaps
  readonly own: readonly Harm[]
  readonly #input: PeerRuleInput
  readonly #harm: HarmRules
  readonly #places: ReadonlyMap<Family, SubnetRules>
  readonly #addressRules: PeerAddressRules
  readonly #duplicates: DuplicateFinder

  constructor(input: PeerRuleInput) {
    const { network, own, surroundings } = input
    const harm = new HarmRules(surroundings)
    this.#input = input
    this.#harm = harm
    this.#places = new Map([...network.families.keys()].map((f) => [f, new SubnetRules({ ...input, harm }, f)]))
    this.#addressRules = new PeerAddressRules({ own, ownAddresses: surroundings.ownAddresses })
    this.#duplicates = new DuplicateFinder(own)
    this.addresses = new PeerAddresses(input)
    this.overlaps = new RouteOverlaps(harm)
    this.own = [...(own?.families.values() ?? [])].flatMap(({ subnet }) => harm.ofOwn(subnet) ?? [])
  }

  /** What is wrong with a lease by itself. */
  alone(lease: Lease): Fault | undefined {
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
      const fault = this.#places.get(family)?.judge(part.subnet) ?? this.#addressRules.judge(part)
      if (fault !== undefined) return fault
    }
    return checked === 0
      ? { reason: 'no-family', text: 'it has a subnet in none of the enabled address families' }
      : undefined
  }

  /**
   * Among leases with nothing wrong by themselves: whose subnet contains addresses of others. At any age it loses to nodes that are there, as
   * a route of this host, the age of their leases or their number shows. A single younger lease whose address no route leads to
   * in particular cannot take a peer away by naming an address of its containers: that one is the loop (`excluded`).
   */
  containing(lease: Lease): Fault | undefined {
    const inside = this.#inside(lease)
    const isMany = new Set(inside.map(({ held }) => held.lease)).size > 1
    const found = inside.find(({ held, network }) => {
      if (isMany || held.lease === this.#input.own || olderFirst(held.lease, lease) < 0) return true
      return this.#harm.knows(held.address, network)
    })
    if (found === undefined) return undefined
    const { held, subnet } = found
    const holder = held.lease === this.#input.own ? 'this node' : `lease ${held.lease.id}`
    const text = `${subnet} contains ${held.address}, the ${held.which} address of ${holder}`
    return { reason: 'peer-address', text, relative: true }
  }

  /** The addresses of others that the lease's subnets contain. */
  #inside(lease: Lease) {
    return [...this.#input.network.families].flatMap(([family, { network }]) => {
      const subnet = lease.families.get(family)?.subnet
      return subnet === undefined ? [] : this.addresses.containedIn(subnet).map((held) => ({ held, subnet, network }))
    })
  }

  /** Among what is left, the oldest first: which an older one excludes. One that is not excluded is remembered. */
  excluded(lease: Lease): Fault | undefined {
    const fault = this.#duplicates.find(lease, this.#input.network) ?? this.#looping(lease)
    if (fault !== undefined) return { ...fault, relative: true }
    this.#duplicates.add(lease)
    return undefined
  }

  /** Of a lease that comes to accepted ones. Where its subnet contains their addresses, one or the other goes: all are judged anew. */
  judge(lease: Lease): Fault | undefined {
    const fault = this.alone(lease) ?? this.containing(lease)
    if (fault !== undefined) return fault
    if (this.#inside(lease).length > 0) return { reason: 'peer-address', text: 'it contains addresses', relative: true }
    this.addresses.add(lease)
    return this.excluded(lease)
  }

  /** An accepted lease is there no more. */
  forget(lease: Lease): void {
    this.#duplicates.forget(lease)
    this.addresses.forget(lease)
  }

  /** Packets to it would go into the tunnel to the other node. */
  #looping(lease: Lease): Fault | undefined {
    for (const family of this.#input.network.families.keys()) {
      const part = lease.families.get(family)
      const found = part && this.#duplicates.around(part)
      if (found === undefined) continue
      const { which, address, lease: around } = found
      const text = `its ${which} address ${address} lies inside the subnet of lease ${around.id}`
      return { reason: `${which}-address-inside`, text }
    }
    return undefined
  }
}
