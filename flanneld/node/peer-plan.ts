import type { PeerInput, Refusal } from '../../backends/backend.ts'
import type { Way } from '../../backends/way.ts'
import type { Family } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'
import { chooseWays } from './choose-way.ts'
import type { Claim } from './claims.ts'
import { type GuardedNode, guardPeer } from './guard-peers.ts'
import type { PlannerInput } from './planner-input.ts'

/** All that the plans of peers depend on beside the peer; the same object while nothing of it has changed. */
export interface PeerBasis {
  readonly families: readonly Family[]
  readonly ways: readonly Way[]
  /** By way: what its backend gets to see of it. */
  readonly inputs: ReadonlyMap<Way, PeerInput<unknown, unknown>>
  /** Of all ways. */
  readonly tunnels: ReadonlyMap<Family, readonly string[]>
  /** Undefined: peers need no element in the ingress guard. */
  readonly guard: GuardedNode | undefined
}

/** What one peer needs; a part for each family, or one for all. */
export type PeerParts = readonly (Claim | Refusal)[]

export function planPeer(
  basis: PeerBasis,
  lease: Lease,
  { facts, current }: Pick<PlannerInput, 'facts' | 'current'>,
): PeerParts {
  const chosen = chooseWays(lease, basis, current?.get(lease.id))
  if ('reason' in chosen) return [chosen]
  const role = { class: 'peer', peer: lease.id } as const
  return chosen.flatMap(({ family, part, way, path }): Claim | Refusal | readonly [] => {
    const input = basis.inputs.get(way)
    if (input === undefined) return []
    const peer = { role, family, part, data: path.data.get(family) }
    const reach = facts.reach.get(part.publicIp)
    const plan = way.backend.peer(input, peer, reach)
    if ('reason' in plan) return plan
    const guarded = basis.guard ? [guardPeer(basis.guard, peer, basis.tunnels.get(family) ?? [], reach)] : []
    return { lease, path: plan.path, objects: guarded.concat(plan.objects), blocked: undefined }
  })
}
