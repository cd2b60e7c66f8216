import { type DesiredObject, defaultMetric, keyOf, ROUTE_PROTOCOL } from '../../kernel/objects.ts'
import type { Cidr, Family } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'
import type { LeavingRoute } from '../config/ended-connections.ts'
import { type Configuration, movesRoutes } from '../node/configuration.ts'
import type { Folded } from '../node/fold.ts'
import type { NodePlan } from '../node/planner.ts'

type Planned = Pick<NodePlan, 'desired'>

/** By which all packets to the subnet go but probes; undefined: the plan has none. */
export function usedRoute({ desired }: Planned, family: Family, dst: Cidr): DesiredObject | undefined {
  const metric = defaultMetric(family)
  return desired.objects.get(keyOf({ kind: 'route', family, dst, metric, type: 'unicast', protocol: ROUTE_PROTOCOL }))
}

interface Peer {
  readonly lease: Lease
  readonly family: Family
}

interface Facts {
  /** The plan in use; undefined: there is none yet. */
  readonly last: (Pick<Folded, 'verdicts'> & { readonly plan: Planned }) | undefined
  /** Peers that a change of the backend has not moved yet. */
  readonly unmoved: readonly Peer[]
  readonly configuration: Configuration | undefined
  /** What waits for a restart, or to be meant. */
  readonly waiting: Configuration | undefined
}

/** The routes to peers that are going to lead through another device: as soon as the peers move, or when what waits goes into use. Pure. */
export function leavingRoutes({ last, unmoved, configuration, waiting }: Facts): readonly LeavingRoute[] {
  if (last === undefined) return []
  const waits = configuration !== undefined && waiting !== undefined && movesRoutes(configuration, waiting)
  if (unmoved.length > 0 || !waits) return routesTo(last.plan, unmoved)
  const families = [...configuration.network.families.keys()]
  const peers = [...last.verdicts.planned.values()].flatMap((lease) => families.map((family) => ({ lease, family })))
  return routesTo(last.plan, peers)
}

function routesTo(plan: Planned, peers: readonly Peer[]): readonly LeavingRoute[] {
  return peers.flatMap(({ lease, family }) => {
    const dst = lease.families.get(family)?.subnet
    const route = dst && usedRoute(plan, family, dst)
    return route?.kind === 'route' ? [{ dst: route.dst, device: route.device }] : []
  })
}
