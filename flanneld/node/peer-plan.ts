import type { PeerInput, PlannedPeer, Reach, Refusal } from '../../backends/backend.ts'
import type { Way } from '../../backends/way.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import type { Family } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'
import { acceptedBy, type Choice, chooseWays } from './choose-way.ts'
import type { Claim } from './claims.ts'
import { type GuardedNode, guardPeer } from './guard-peers.ts'
import type { PlannerInput } from './planner-input.ts'

/** All that the plans of peers depend on beside the peer; the same object while nothing of it has changed. */
export interface PeerBasis {
  readonly families: readonly Family[]
  readonly ways: readonly Way[]
  /** To which of the ways the node changes; undefined: it does not. */
  readonly target: Way | undefined
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
    const beside = basis.target === undefined ? [] : besides(basis, { lease, chosen: way, peer }, reach)
    return { lease, path: plan.path, objects: guarded.concat(plan.objects, beside), blocked: undefined }
  })
}

interface Beside {
  readonly lease: Lease
  readonly chosen: Choice['way']
  readonly peer: PlannedPeer
}

/**
 * While a node changes its way: what a peer needs for each of the other ways that it accepts, but no route. So packets may go by any of
 * them at once, forth and back, and probes go by the one that is to be proven.
 */
function besides(
  basis: PeerBasis,
  { lease, chosen, peer }: Beside,
  reach: Reach | undefined,
): readonly DesiredObject[] {
  return basis.ways.flatMap((way) => {
    const [input, path] = [basis.inputs.get(way), acceptedBy(lease, way, peer.family)]
    if (way === chosen || input === undefined || path === undefined) return []
    const data = path.data.get(peer.family)
    const plan = way.backend.peer({ ...input, nexthops: false }, { ...peer, data }, reach)
    if ('reason' in plan) return []
    return plan.objects.flatMap((object): readonly DesiredObject[] => {
      if (object.kind !== 'route') return [object]
      const { role, family, dst, device, via, onLink } = object
      if (way !== basis.target || device === undefined) return []
      const route = { kind: 'probe-route', role, family, dst, device } as const
      return [{ ...route, ...(via === undefined ? {} : { via }), ...(onLink ? { onLink } : {}) }]
    })
  })
}
