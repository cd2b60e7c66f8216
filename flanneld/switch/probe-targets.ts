import { keyOf } from '../../kernel/objects.ts'
import { type IpAddr, networkAddress } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'
import type { Folded } from '../node/fold.ts'
import { usedRoute } from './leaving-routes.ts'
import type { ProbeTarget } from './probe-rounds.ts'
import type { Seen } from './seen.ts'
import { type SwitchState, wayOf } from './switch.ts'
import type { LeasedPeer } from './switch-peers.ts'

interface PlannedRoute {
  readonly key: string
  readonly device: string | undefined
}

/** A target that may have no route yet. */
export interface PlannedTarget extends Omit<ProbeTarget, 'isMade' | 'device'> {
  /** Key and device of the route that its probes are to go by; undefined: the last plan does not have it. */
  readonly route: PlannedRoute | undefined
}

/** Whom to ask: by the target who is not moved yet, as every other packet goes who is, and could go back. Pure. */
export function probeTargets(
  state: SwitchState,
  peers: readonly LeasedPeer[],
  { keys, own, last }: Pick<Seen, 'keys' | 'own' | 'last'>,
): readonly PlannedTarget[] {
  const way = [...keys].find(([, key]) => key === state.target)?.[0]
  const bytes = way && last.plan.locals.get(way)?.mtu
  const isTold = state.held.some(({ key, isAccepted }) => key === state.target && isAccepted)
  if (bytes === undefined || !isTold) return []
  return peers.flatMap((peer): readonly PlannedTarget[] => {
    const [from, to] = [addressIn(own.lease, peer), addressIn(peer.lease, peer)]
    if (from === undefined || to === undefined || !peer.accepts.includes(state.target)) return []
    const isMoved = wayOf(state, peer) === state.target
    if (peer.verdict === 'unasked' || (isMoved && peer.accepts.length < 2)) return []
    const { id, family } = peer
    const by = isMoved ? 'used' : 'tried'
    const route = last.target === way ? routeTo(last, peer, by) : undefined
    return [{ id, family, from, to, bytes, way: state.target, by, route }]
  })
}

/** Whether the target has a route to the peer for its probes. */
export function leadsTo(last: Folded, peer: LeasedPeer): boolean {
  return routeTo(last, peer, 'tried') !== undefined
}

/** As long as the plan has a route for probes, all other packets go by another way than the target. */
function routeTo({ plan }: Folded, { lease, family }: LeasedPeer, by: ProbeTarget['by']): PlannedRoute | undefined {
  const dst = lease.families.get(family)?.subnet
  if (dst === undefined) return undefined
  const tried = plan.desired.objects.get(keyOf({ kind: 'probe-route', family, dst, device: '' }))
  const found = by === 'tried' ? tried : tried === undefined ? usedRoute(plan, family, dst) : undefined
  return found && 'device' in found ? { key: keyOf(found), device: found.device } : undefined
}

function addressIn({ families }: Lease, { family }: LeasedPeer): IpAddr | undefined {
  const subnet = families.get(family)?.subnet
  return subnet && networkAddress(subnet)
}
