import { type DesiredObject, defaultMetric, keyOf, ROUTE_PROTOCOL } from '../../kernel/objects.ts'
import type { Cidr, Family } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'
import type { LeavingRoute } from '../config/ended-connections.ts'
import type { NodePlan } from '../node/planner.ts'

type Planned = Pick<NodePlan, 'desired'>

/** By which all packets to the subnet go but probes; undefined: the plan has none. */
export function usedRoute({ desired }: Planned, family: Family, dst: Cidr): DesiredObject | undefined {
  const metric = defaultMetric(family)
  return desired.objects.get(keyOf({ kind: 'route', family, dst, metric, type: 'unicast', protocol: ROUTE_PROTOCOL }))
}

/** The routes to these peers, which a change of the backend is going to lead through another device. Pure. */
export function leavingRoutes(
  plan: Planned,
  peers: Iterable<{ readonly lease: Lease; readonly family: Family }>,
): readonly LeavingRoute[] {
  return [...peers].flatMap(({ lease, family }) => {
    const dst = lease.families.get(family)?.subnet
    const route = dst && usedRoute(plan, family, dst)
    return route?.kind === 'route' ? [{ dst: route.dst, device: route.device }] : []
  })
}
