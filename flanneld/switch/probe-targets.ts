import type { Way } from '../../backends/way.ts'
import { keyOf } from '../../kernel/objects.ts'
import { type IpAddr, networkAddress } from '../../lib/address.ts'
import type { Lease, OwnLease } from '../../subnet/types.ts'
import type { Folded } from '../node/fold.ts'
import type { ProbeTarget } from './probe-rounds.ts'
import { type SwitchState, wayOf } from './switch.ts'
import type { LeasedPeer } from './switch-peers.ts'

interface Seen {
  /** By way, as the state names them. */
  readonly keys: ReadonlyMap<Way, string>
  readonly own: OwnLease
  readonly last: Folded
}

/** Whom to ask: by the target who is not moved yet and is led to by it, as every other packet goes who is, and could go back. Pure. */
export function probeTargets(
  state: SwitchState,
  peers: readonly LeasedPeer[],
  { keys, own, last }: Seen,
): readonly ProbeTarget[] {
  const way = [...keys].find(([, key]) => key === state.target)?.[0]
  const bytes = way && last.plan.locals.get(way)?.mtu
  const isTold = state.held.some(({ key, isAccepted }) => key === state.target && isAccepted)
  if (bytes === undefined || !isTold) return []
  return peers.flatMap((peer): readonly ProbeTarget[] => {
    const [from, to] = [addressIn(own.lease, peer), addressIn(peer.lease, peer)]
    if (from === undefined || to === undefined || !peer.accepts.includes(state.target)) return []
    const isMoved = wayOf(state, peer) === state.target
    if (isMoved ? peer.accepts.length < 2 : !leadsTo(last, peer)) return []
    const { id, family } = peer
    return [{ id, family, from, to, bytes, way: state.target, by: isMoved ? 'used' : 'tried' }]
  })
}

/** Whether the target has a route to the peer for its probes. */
export function leadsTo({ plan }: Folded, { lease, family }: LeasedPeer): boolean {
  const dst = lease.families.get(family)?.subnet
  return dst !== undefined && plan.desired.objects.has(keyOf({ kind: 'probe-route', family, dst, device: '' }))
}

function addressIn({ families }: Lease, { family }: LeasedPeer): IpAddr | undefined {
  const subnet = families.get(family)?.subnet
  return subnet && networkAddress(subnet)
}
