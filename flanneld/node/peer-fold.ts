import type { PathState, SkippedPeer } from '../../backends/backend.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import { PersistentMap } from '../../lib/persistent-map.ts'
import { olderFirst } from '../../subnet/own-lease.ts'
import type { Lease } from '../../subnet/types.ts'
import { type Claim, Claims } from './claims.ts'
import type { PlannedLease } from './peer-plan.ts'

interface Skips {
  readonly lease: Lease
  readonly peers: readonly SkippedPeer[]
}

/** The plans of all peers, and what they come to together: a change costs the peers that it concerns. */
export class PeerFold {
  readonly #plans = new Map<string, PlannedLease>()
  readonly #claims = new Claims({ claimsOf: (id) => claimsOf(this.#plans.get(id)) })
  #paths = PersistentMap.from<PathState>([])
  /** The oldest first. */
  #skips: readonly Skips[] = []

  /** Of peers and of this node itself, by `keyOf`. */
  get objects(): PersistentMap<DesiredObject> {
    return this.#claims.objects
  }

  get paths(): PersistentMap<PathState> {
    return this.#paths
  }

  get skipped(): readonly SkippedPeer[] {
    return this.#skips.flatMap(({ peers }) => peers)
  }

  /** `own`: this node's own objects, by `keyOf`; `plans`: of peers that have changed, undefined for one that has gone. */
  change(
    own: ReadonlyMap<string, DesiredObject>,
    plans: readonly (readonly [id: string, plan: PlannedLease | undefined])[],
  ): void {
    const gone: Claim[] = []
    const come: Claim[] = []
    const concerned = new Set<string>()
    for (const [id, plan] of plans) {
      for (const claim of claimsOf(this.#plans.get(id))) gone.push(claim)
      for (const claim of claimsOf(plan)) come.push(claim)
      if (plan === undefined) this.#plans.delete(id)
      else this.#plans.set(id, plan)
      concerned.add(id)
    }
    for (const { lease } of this.#claims.change({ own, gone, come })) concerned.add(lease.id)
    this.#sum(concerned)
  }

  #sum(ids: ReadonlySet<string>): void {
    const paths: [string, PathState][] = []
    const skips: Skips[] = []
    for (const id of ids) {
      const plan = this.#plans.get(id)
      const path = pathOf(plan)
      if (path !== undefined) paths.push([id, path])
      const peers = skipsOf(plan)
      if (plan !== undefined && peers.length > 0) skips.push({ lease: plan.lease, peers })
    }
    const gone = [...ids].filter((id) => this.#paths.has(id))
    this.#paths = this.#paths.size === 0 ? PersistentMap.from(paths) : this.#paths.patched(gone, paths)
    const kept = this.#skips.filter(({ lease }) => !ids.has(lease.id))
    if (skips.length > 0) this.#skips = [...kept, ...skips].sort((a, b) => olderFirst(a.lease, b.lease))
    else if (kept.length < this.#skips.length) this.#skips = kept
  }
}

function claimsOf(plan: PlannedLease | undefined): readonly Claim[] {
  return plan === undefined ? [] : plan.parts.filter((part) => 'lease' in part)
}

/** Direct is what needs no tunnel in any family. */
function pathOf(plan: PlannedLease | undefined): PathState | undefined {
  const paths = claimsOf(plan).flatMap(({ blocked, path }) => (blocked === undefined && path ? [path] : []))
  return paths.includes('tunnel') ? 'tunnel' : paths[0]
}

function skipsOf(plan: PlannedLease | undefined): readonly SkippedPeer[] {
  if (plan === undefined) return []
  const refusals = plan.parts.flatMap((part) => ('lease' in part ? (part.blocked ?? []) : part))
  return refusals.map(({ reason, text }) => ({ id: plan.lease.id, reason, text }))
}
