import type { Cidr, Family } from '../lib/address.ts'
import { type Change, changesBetween, PersistentMap } from '../lib/persistent-map.ts'
import { LeaseIndex } from './lease-index.ts'
import type { NetworkConfig } from './network-config.ts'
import { olderFirst } from './own-lease.ts'
import { PeerAddressRules } from './peer-addresses.ts'
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
}

/** What of a lease nothing is wrong with by itself, and what is wrong with the rest. */
interface AloneVerdict {
  /** Undefined: nothing of it can be routed. */
  readonly candidate: Lease | undefined
  readonly faults: readonly Fault[]
}

interface Rejection {
  readonly lease: Lease
  readonly fault: Fault
}

/**
 * Which leases may become routes (the harm rule): all but those that would take away something that works, or are no leases. What only a
 * backend can judge (VNI, port, keys) is left to it. First each lease is judged by itself; of the rest, those whose subnet contains
 * addresses of others go, and with them those whose address lies in a subnet that stays (`containing`); of two that exclude each other then,
 * the older one stays. So the verdicts do not depend on the order of the snapshot. What only the place of one family's subnet breaks on this
 * host leaves the lease its other family.
 *
 * A change of the snapshot costs the judgement of the leases that changed, of those that hold the same as they do, and so on while
 * verdicts change. A change of what is judged by begins anew. The verdicts are those of a new judge.
 */
export class PeerJudge {
  #basis: readonly unknown[] = []
  #rules: PeerRules | undefined
  #judged: ReadonlyMap<string, Lease> = new Map()
  #accepted = PersistentMap.from<Lease>([])
  /** By id; what is wrong with leases by themselves, in all their families or in one. */
  #faulty = new Map<string, readonly Rejection[]>()
  /** By id; those that others exclude. */
  #excluded = new Map<string, Rejection>()

  judge(input: PeerRuleInput): PeerVerdicts {
    const { leases, unreadable } = input.snapshot
    const rules = this.#rulesFor(input)
    const changes = changesBetween(this.#judged, leases).filter(
      ({ key, before, after }) => key !== input.own?.id && !isOwnByAnotherKey(after ?? before, input.own),
    )
    if (changes.length > 0) this.#judgeChanges(rules, changes)
    this.#judged = leases
    const rejected = [...[...this.#faulty.values()].flat(), ...this.#excluded.values()]
    rejected.sort((a, b) => olderFirst(a.lease, b.lease))
    return {
      accepted: this.#accepted,
      rejected: [
        ...unreadable,
        ...rejected.map(({ lease: { id }, fault: { reason, text } }) => ({ id, reason, text })),
      ],
      overlaps: rules.overlaps.list(),
      own: rules.own,
    }
  }

  #rulesFor(input: PeerRuleInput): PeerRules {
    const basis = [input.own, input.network, input.surroundings, input.protectedRanges]
    const isSame = basis.every((value, index) => value === this.#basis[index])
    if (this.#rules !== undefined && isSame) return this.#rules
    this.#basis = basis
    this.#rules = new PeerRules(input)
    this.#judged = new Map()
    this.#accepted = PersistentMap.from<Lease>([])
    this.#faulty = new Map()
    this.#excluded = new Map()
    return this.#rules
  }

  #judgeChanges(rules: PeerRules, changes: readonly Change<Lease>[]): void {
    const { index } = rules
    const isFirst = this.#judged.size === 0
    const concerned = (lease: Lease) => (isFirst ? [] : index.concerned(lease))
    const pending = new Set<Lease>()
    const gone = changes.flatMap(({ key }) => this.#candidateOf(key) ?? [])
    for (const lease of gone) {
      for (const other of concerned(lease)) pending.add(other)
      index.forget(lease)
    }
    for (const lease of gone) pending.delete(lease)
    const come: Lease[] = []
    for (const { key, after } of changes) {
      this.#faulty.delete(key)
      this.#excluded.delete(key)
      if (after === undefined) continue
      const { candidate, faults } = rules.alone(after)
      if (faults.length > 0)
        this.#faulty.set(
          key,
          faults.map((fault) => ({ lease: after, fault })),
        )
      if (candidate === undefined) continue
      index.add(candidate)
      come.push(candidate)
    }
    for (const lease of come) {
      pending.add(lease)
      for (const other of concerned(lease)) pending.add(other)
    }
    this.#decide(rules, changes, this.#verdictsOf(rules, pending, concerned))
  }

  /** What was judged beside others the last time. */
  #candidateOf(id: string): Lease | undefined {
    return this.#accepted.get(id) ?? this.#excluded.get(id)?.lease
  }

  /** The oldest first: whoever an older one excludes is known by then. Where a verdict changes, it may change those of younger ones. */
  #verdictsOf(
    rules: PeerRules,
    pending: Set<Lease>,
    concerned: (lease: Lease) => Iterable<Lease>,
  ): ReadonlyMap<Lease, Fault | undefined> {
    const verdicts = new Map<Lease, Fault | undefined>()
    const stood = (lease: Lease) => this.#accepted.get(lease.id) === lease
    const stands = (lease: Lease) => (verdicts.has(lease) ? verdicts.get(lease) === undefined : stood(lease))
    let queue = [...pending].sort(youngerFirst)
    for (let lease = queue.pop(); lease !== undefined; lease = queue.pop()) {
      const current = lease
      const fault = rules.containing(current) ?? rules.excluded(current, stands)
      verdicts.set(current, fault)
      if (stood(current) === (fault === undefined)) continue
      const younger = [...concerned(current)].filter((other) => olderFirst(current, other) < 0 && !pending.has(other))
      for (const other of younger) pending.add(other)
      if (younger.length > 0) queue = [...queue, ...younger].sort(youngerFirst)
    }
    return verdicts
  }

  #decide(
    { overlaps }: PeerRules,
    changes: readonly Change<Lease>[],
    verdicts: ReadonlyMap<Lease, Fault | undefined>,
  ): void {
    const now = new Map<string, Lease | undefined>()
    for (const [lease, fault] of verdicts) {
      now.set(lease.id, fault === undefined ? lease : undefined)
      if (fault === undefined) this.#excluded.delete(lease.id)
      else this.#excluded.set(lease.id, { lease, fault })
    }
    for (const { key } of changes) if (!now.has(key)) now.set(key, undefined)
    const differing = [...now].filter(([id, lease]) => this.#accepted.get(id) !== lease)
    for (const [id, lease] of differing) overlaps.change(this.#accepted.get(id), lease)
    this.#accepted = this.#accepted.patched(
      differing.flatMap(([id, lease]) => (lease === undefined ? [id] : [])),
      differing.flatMap(([id, lease]) => (lease === undefined ? [] : [[id, lease] as const])),
    )
  }
}

export function acceptPeers(input: PeerRuleInput): PeerVerdicts {
  return new PeerJudge().judge(input)
}

function youngerFirst(a: Lease, b: Lease): number {
  return olderFirst(b, a)
}

class PeerRules {
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
  alone(lease: Lease): AloneVerdict {
    const whole = this.#faultOf(lease)
    if (whole !== undefined) return { candidate: undefined, faults: [whole] }
    const faults: Fault[] = []
    const families = new Map(lease.families)
    for (const [family, place] of this.#places) {
      const part = lease.families.get(family)
      const harm = part && place.harmOf(part.subnet)
      if (harm === undefined) continue
      faults.push(harm)
      families.delete(family)
    }
    if (faults.length === 0) return { candidate: lease, faults }
    const isLeft = [...families.keys()].some((family) => this.#places.has(family))
    return { candidate: isLeft ? { ...lease, families } : undefined, faults }
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
      const fault = place.judge(part.subnet) ?? this.#addressRules.judge(part)
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
    const { own, network } = this.#input
    const inside = [...network.families].flatMap(([family, rules]) => {
      const subnet = lease.families.get(family)?.subnet
      if (subnet === undefined) return []
      return this.index.addressesIn(subnet, lease).map((held) => ({ held, subnet, network: rules.network }))
    })
    const isMany = inside.some(({ held }) => held.lease !== inside[0]?.held.lease)
    const found = inside.find(({ held, network }) => {
      if (isMany || held.lease === own || olderFirst(held.lease, lease) < 0) return true
      return this.#harm.knows(held.address, network)
    })
    if (found === undefined) return undefined
    const { held, subnet } = found
    const holder = held.lease === own ? 'this node' : `lease ${held.lease.id}`
    const text = `${subnet} contains ${held.address}, the ${held.which} address of ${holder}`
    return { reason: 'peer-address', text }
  }

  /** Which of those that stand and are older excludes it. */
  excluded(lease: Lease, stands: (other: Lease) => boolean): Fault | undefined {
    return this.index.excludedBy(lease, (other) => olderFirst(other, lease) < 0 && stands(other))
  }
}

/** Its families change at this moment, and its key with them. */
function isOwnByAnotherKey(lease: Lease | undefined, own: Lease | undefined): boolean {
  if (lease === undefined || own === undefined || own.node === '' || lease.node !== own.node) return false
  return [...own.families].some(([family, { subnet }]) => lease.families.get(family)?.subnet === subnet)
}
