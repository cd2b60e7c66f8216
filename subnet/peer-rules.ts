import { type Change, changesBetween, PersistentMap } from '../lib/persistent-map.ts'
import type { Stands } from './lease-index.ts'
import { type Fault, type PeerRuleInput, PeerRules, type Verdict } from './lease-verdict.ts'
import { olderFirst } from './own-lease.ts'
import type { Overlap } from './route-overlaps.ts'
import type { Harm } from './surroundings.ts'
import type { Lease, RejectedLease } from './types.ts'

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

interface Rejection {
  /** As it was judged. */
  readonly lease: Lease
  readonly faults: readonly Fault[]
}

/**
 * Which leases may become routes (the harm rule): all but those that would take away something that works, or are no leases. What only a
 * backend can judge (VNI, port, keys) is left to it. First each lease is judged by itself; of the rest, those whose subnet contains
 * addresses of others go, and with them those whose address lies in a subnet that stays (`containing`); of two that exclude each other then,
 * the older one stays. So the verdicts do not depend on the order of the snapshot. What only the place of one family's subnet or address
 * breaks, on this host or beside others, leaves the lease its other family; what it says of the one that it has lost counts nowhere.
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
  #faulty = new Map<string, Rejection>()
  /** By id; those that others exclude, in all their families or in one. */
  #excluded = new Map<string, Rejection>()

  judge(input: PeerRuleInput): PeerVerdicts {
    const { leases, unreadable } = input.snapshot
    const rules = this.#rulesFor(input)
    const changes = changesBetween(this.#judged, leases).filter(
      ({ key, before, after }) => key !== input.own?.id && !isOwnByAnotherKey(after ?? before, input.own),
    )
    if (changes.length > 0) this.#judgeChanges(rules, changes)
    this.#judged = leases
    const rejected = [...this.#faulty.values(), ...this.#excluded.values()]
    rejected.sort((a, b) => olderFirst(a.lease, b.lease))
    return {
      accepted: this.#accepted,
      rejected: [
        ...unreadable,
        ...rejected.flatMap(({ lease: { id, families }, faults }) =>
          faults.map(({ family, reason, text }) => ({
            id,
            ...(family !== undefined && families.size > 1 && { family }),
            reason,
            text,
          })),
        ),
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
      const { left, faults } = rules.alone(after)
      if (faults.length > 0) this.#faulty.set(key, { lease: after, faults })
      if (left === undefined) continue
      index.add(left)
      come.push(left)
    }
    for (const lease of come) {
      pending.add(lease)
      for (const other of concerned(lease)) pending.add(other)
    }
    this.#decide(rules, changes, this.#verdictsOf(rules, pending, concerned))
  }

  /** What was judged beside others the last time. */
  #candidateOf(id: string): Lease | undefined {
    return this.#excluded.get(id)?.lease ?? this.#accepted.get(id)
  }

  /** The oldest first: whoever an older one excludes is known by then. Where a verdict changes, it may change those of younger ones. */
  #verdictsOf(
    rules: PeerRules,
    pending: Set<Lease>,
    concerned: (lease: Lease) => Iterable<Lease>,
  ): ReadonlyMap<Lease, Verdict> {
    const verdicts = new Map<Lease, Verdict>()
    const stood = (lease: Lease) => (this.#candidateOf(lease.id) === lease ? this.#accepted.get(lease.id) : undefined)
    const stands: Stands = (lease, family) => {
      const known = verdicts.get(lease)
      const left = known === undefined ? stood(lease) : known.left
      return left?.families.has(family) === true
    }
    let queue = [...pending].sort(youngerFirst)
    for (let lease = queue.pop(); lease !== undefined; lease = queue.pop()) {
      const current = lease
      const before = stood(current)
      const { faults, left } = rules.beside(current, stands)
      const verdict = { faults, left: hasFamiliesOf(left, before) ? before : left }
      verdicts.set(current, verdict)
      if (verdict.left === before) continue
      const younger = [...concerned(current)].filter((other) => olderFirst(current, other) < 0 && !pending.has(other))
      for (const other of younger) pending.add(other)
      if (younger.length > 0) queue = [...queue, ...younger].sort(youngerFirst)
    }
    return verdicts
  }

  #decide({ overlaps }: PeerRules, changes: readonly Change<Lease>[], verdicts: ReadonlyMap<Lease, Verdict>): void {
    const now = new Map<string, Lease | undefined>()
    for (const [lease, { faults, left }] of verdicts) {
      now.set(lease.id, left)
      if (faults.length === 0) this.#excluded.delete(lease.id)
      else this.#excluded.set(lease.id, { lease, faults })
    }
    for (const { key } of changes) if (!now.has(key)) now.set(key, undefined)
    const differing = [...now].filter(([id, lease]) => this.#accepted.get(id) !== lease)
    overlaps.change(differing.map(([id, after]) => ({ before: this.#accepted.get(id), after })))
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

/** So that what stays the same stays the same object. */
function hasFamiliesOf(one: Lease | undefined, other: Lease | undefined): boolean {
  if (one === undefined || other === undefined || one.families.size !== other.families.size) return one === other
  return [...one.families.keys()].every((family) => other.families.has(family))
}

/** Its families change at this moment, and its key with them. */
function isOwnByAnotherKey(lease: Lease | undefined, own: Lease | undefined): boolean {
  if (lease === undefined || own === undefined || own.node === '' || lease.node !== own.node) return false
  return [...own.families].some(([family, { subnet }]) => lease.families.get(family)?.subnet === subnet)
}
