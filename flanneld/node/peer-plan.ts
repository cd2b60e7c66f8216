import type { PeerInput, PlannedPeer, Reach, Refusal } from '../../backends/backend.ts'
import type { Way } from '../../backends/way.ts'
import { type DesiredObject, keyOf } from '../../kernel/objects.ts'
import type { Family } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'
import { acceptedBy, type Choice, chooseWays, mayBeDirect } from './choose-way.ts'
import type { Claim } from './claims.ts'
import { type GuardedNode, guardPeer } from './guard-peers.ts'
import type { PlannerInput } from './planner-input.ts'

/** All that the plans of peers depend on beside the peer; the same object while nothing of it has changed. */
export interface PeerBasis {
  readonly families: readonly Family[]
  readonly ways: readonly Way[]
  /** To which of the ways the node changes; undefined: it does not. */
  readonly target: Way | undefined
  /** False: after a restart half way, as long as peers are only on record or a way is not prepared. */
  readonly complete: boolean
  /** By way: what its backend gets to see of it. */
  readonly inputs: ReadonlyMap<Way, PeerInput<unknown, unknown>>
  /** Devices that packets of peers may come out of, of all ways. */
  readonly tunnels: ReadonlyMap<Family, readonly string[]>
  /** Undefined: peers need no element in the ingress guard. */
  readonly guard: GuardedNode | undefined
}

/** A way that the peer accepts, and that does not lead to it from here. */
export interface RefusedWay {
  readonly family: Family
  readonly way: Way
}

/** What one peer needs; a part for each family, or one for all. `refused`: only while the node changes its way. */
export type PeerParts = readonly ((Claim | Refusal) & { readonly refused?: readonly RefusedWay[] })[]

export function planPeer(
  basis: PeerBasis,
  lease: Lease,
  { facts, current }: Pick<PlannerInput, 'facts' | 'current'>,
): PeerParts {
  const known = current?.get(lease.id)
  const moved = known?.node === lease.node ? known.ways : undefined
  const found = chooseWays(lease, basis, moved)
  if ('reason' in found) return [found]
  // What is not known in full yet moves nobody: the kernel has the route by which the last run has left it.
  const isKept = ({ family, way }: Choice) => !basis.complete && moved?.has(family) && moved.get(family) !== way
  const chosen = found.filter((choice) => !isKept(choice))
  const role = { class: 'peer', peer: lease.id } as const
  return chosen.flatMap((choice): PeerParts => {
    const { family, part } = choice
    const reach = facts.reach.get(part.publicIp)
    const refusals: Refusal[] = []
    for (const { way, path } of [choice, ...othersThan(choice, lease, basis.ways)]) {
      const input = basis.inputs.get(way)
      if (input === undefined) continue
      const peer = { role, family, part, data: path.data.get(family) }
      const plan = way.backend.peer(input, peer, mayBeDirect(lease, way, path) ? reach : undefined)
      if ('reason' in plan) {
        refusals.push(plan)
        continue
      }
      const guarded = basis.guard ? [guardPeer(basis.guard, peer, basis.tunnels.get(family) ?? [], reach)] : []
      const beside = basis.target === undefined ? NOTHING : besides(basis, { lease, chosen: way, peer }, reach)
      const objects = guarded.concat(plan.objects, withoutKnown(beside.objects, plan.objects))
      return [{ lease, path: plan.path, objects, blocked: undefined, ...refusedOf(beside.refused) }]
    }
    const all = basis.target === undefined ? [] : [choice, ...othersThan(choice, lease, basis.ways)]
    return refusals
      .slice(0, 1)
      .map((refusal) => ({ ...refusal, ...refusedOf(all.map(({ way }) => ({ family, way }))) }))
  })
}

/** Two ways may have a device, and with it a neighbour, in common. */
function withoutKnown(objects: readonly DesiredObject[], known: readonly DesiredObject[]): readonly DesiredObject[] {
  const keys = new Set(objects.length === 0 ? [] : known.map(keyOf))
  return objects.filter((object) => !keys.has(keyOf(object)))
}

/** What else the peer accepts, the preferred one first: for one that the chosen way does not lead to. */
function othersThan(
  { way: chosen, family }: Choice,
  lease: Lease,
  ways: readonly Way[],
): readonly Pick<Choice, 'way' | 'path'>[] {
  return ways.flatMap((way) => {
    const path = way === chosen ? undefined : acceptedBy(lease, way, family, ways)
    return path === undefined ? [] : [{ way, path }]
  })
}

function refusedOf(refused: readonly RefusedWay[]): { readonly refused?: readonly RefusedWay[] } {
  return refused.length === 0 ? {} : { refused }
}

interface Beside {
  readonly lease: Lease
  readonly chosen: Choice['way']
  readonly peer: PlannedPeer
}

interface BesidePlan {
  readonly objects: readonly DesiredObject[]
  readonly refused: readonly RefusedWay[]
}

const NOTHING: BesidePlan = { objects: [], refused: [] }

/**
 * While a node changes its way: what a peer needs for each of the other ways that it accepts, but no route. So packets may go by any of
 * them at once, forth and back, and probes go by the one that is to be proven.
 */
function besides(basis: PeerBasis, { lease, chosen, peer }: Beside, reach: Reach | undefined): BesidePlan {
  const refused: RefusedWay[] = []
  const objects = basis.ways.flatMap((way) => {
    const [input, path] = [basis.inputs.get(way), acceptedBy(lease, way, peer.family, basis.ways)]
    if (way === chosen || input === undefined || path === undefined) return []
    const data = path.data.get(peer.family)
    const known = mayBeDirect(lease, way, path) ? reach : undefined
    const plan = way.backend.peer({ ...input, nexthops: false }, { ...peer, data }, known)
    if ('reason' in plan) {
      refused.push({ family: peer.family, way })
      return []
    }
    return plan.objects.flatMap((object): readonly DesiredObject[] => {
      if (object.kind !== 'route') return [object]
      const { role, family, dst, device, via, onLink } = object
      if (way !== basis.target || device === undefined) return []
      const route = { kind: 'probe-route', role, family, dst, device } as const
      return [{ ...route, ...(via === undefined ? {} : { via }), ...(onLink ? { onLink } : {}) }]
    })
  })
  return { objects, refused }
}
