import type { PathState, SkippedPeer } from '../../backends/backend.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import { PersistentMap } from '../../lib/persistent-map.ts'
import { olderFirst } from '../../subnet/own-lease.ts'
import type { Lease } from '../../subnet/types.ts'
import { type Claim, Claims } from './claims.ts'
import type { PeerParts, RefusedWay } from './peer-plan.ts'

interface Skips {
  readonly lease: Lease
  readonly peers: readonly SkippedPeer[]
}

/** A peer that has changed, and its plan; undefined for one that has gone. */
export type ChangedPlan = readonly [id: string, parts: PeerParts | undefined]

/** The plans of all peers, and what they come to together: a change costs the peers that it concerns. */
export class PeerFold {
  /** By lease id. */
  readonly #plans = new Map<string, PeerParts>()
  readonly #claims = new Claims({ claimsOf: (id) => this.#plans.get(id)?.filter(isClaim) ?? [] })
  #paths = PersistentMap.from<PathState>([])
  #refused = PersistentMap.from<readonly RefusedWay[]>([])
  /** The oldest first. */
  #skips: readonly Skips[] = []

  /** Of peers and of this node itself, by `keyOf`. */
  get objects(): PersistentMap<DesiredObject> {
    return this.#claims.objects
  }

  get paths(): PersistentMap<PathState> {
    return this.#paths
  }

  /** By lease id, while the node changes its way. */
  get refused(): PersistentMap<readonly RefusedWay[]> {
    return this.#refused
  }

  get skipped(): readonly SkippedPeer[] {
    return this.#skips.flatMap(({ peers }) => peers)
  }

  /** `own`: this node's own objects, by `keyOf`; `leases`: at least those of the plans. */
  change(
    own: ReadonlyMap<string, DesiredObject>,
    plans: readonly ChangedPlan[],
    leases: ReadonlyMap<string, Lease>,
  ): void {
    const gone: Claim[] = []
    const come: Claim[] = []
    const concerned = new Set<string>()
    for (const [id, parts] of plans) {
      for (const part of this.#plans.get(id) ?? []) if (isClaim(part)) gone.push(part)
      for (const part of parts ?? []) if (isClaim(part)) come.push(part)
      if (parts === undefined) this.#plans.delete(id)
      else this.#plans.set(id, parts)
      concerned.add(id)
    }
    for (const { lease } of this.#claims.change({ own, gone, come })) concerned.add(lease.id)
    this.#sum(concerned, leases)
  }

  #sum(ids: ReadonlySet<string>, leases: ReadonlyMap<string, Lease>): void {
    const paths = new Map<string, PathState>()
    const refused = new Map<string, readonly RefusedWay[]>()
    const skips: Skips[] = []
    for (const id of ids) {
      const parts = this.#plans.get(id) ?? []
      const path = pathOf(parts)
      if (path !== undefined) paths.set(id, path)
      const ways = parts.flatMap((part) => part.refused ?? [])
      if (ways.length > 0) refused.set(id, ways)
      const [lease, peers] = [leases.get(id), skipsOf(id, parts)]
      if (lease !== undefined && peers.length > 0) skips.push({ lease, peers })
    }
    const before = this.#paths
    const changed = [...paths].filter(([id, path]) => before.get(id) !== path)
    const gone = [...ids].filter((id) => before.has(id) && !paths.has(id))
    this.#paths = before.patched(gone, changed)
    const freed = [...ids].filter((id) => this.#refused.has(id) && !refused.has(id))
    if (freed.length > 0 || refused.size > 0) this.#refused = this.#refused.patched(freed, refused)
    const kept = this.#skips.filter(({ lease }) => !ids.has(lease.id))
    if (skips.length > 0) this.#skips = [...kept, ...skips].sort((a, b) => olderFirst(a.lease, b.lease))
    else if (kept.length < this.#skips.length) this.#skips = kept
  }
}

function isClaim(part: PeerParts[number]): part is Claim {
  return 'lease' in part
}

/** Direct is what needs no tunnel in any family. */
function pathOf(parts: PeerParts): PathState | undefined {
  let found: PathState | undefined
  for (const part of parts) {
    if (isClaim(part) && part.blocked === undefined && found !== 'tunnel') found = part.path ?? found
  }
  return found
}

function skipsOf(id: string, parts: PeerParts): readonly SkippedPeer[] {
  const skips: SkippedPeer[] = []
  for (const part of parts) {
    const refusal = isClaim(part) ? part.blocked : part
    if (refusal !== undefined) skips.push({ id, reason: refusal.reason, text: refusal.text })
  }
  return skips
}
