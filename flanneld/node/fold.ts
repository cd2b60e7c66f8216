import { heldLease, leaseAttrs } from '../leases/lease-attrs.ts'
import type { LeaseKeeper } from '../leases/lease-keeper.ts'
import type { PeerVerdicts, PeerView } from '../leases/peer-view.ts'
import type { Levels } from './levels.ts'
import { type PlanOptions, type PlanSources, planAll } from './node-setup.ts'
import type { NodePlan, Planner } from './planner.ts'
import type { Sources } from './sources.ts'
import { undecided, withoutRules } from './traffic.ts'
import type { WantedWays } from './ways.ts'

export interface FoldNeeds extends Pick<Sources, 'ways' | 'traffic'> {
  readonly keeper: Pick<LeaseKeeper, 'setWant'>
  readonly peers: PeerView
  readonly planner: Planner
  readonly wantedWays: WantedWays
}

/** What is known beside the levels, of earlier folds and earlier runs. */
export type FoldMemory = Pick<PlanSources, 'ours' | 'originals' | 'isPlanned'>

export interface Folded {
  readonly verdicts: PeerVerdicts
  readonly plan: NodePlan
}

export interface FoldOptions extends Omit<PlanOptions, 'traffic'> {
  readonly nodeId: string
  readonly traffic: Parameters<typeof undecided>[0]
}

/**
 * All that follows from what is known: tells each part what is wanted of it, as far as that can be said, and gives a plan as soon as
 * there is all that one needs. With the same levels it says the same again.
 */
export async function fold(
  levels: Levels,
  { ways, traffic, keeper, peers, planner, wantedWays }: FoldNeeds,
  memory: FoldMemory,
  options: FoldOptions,
): Promise<Folded | undefined> {
  const { configuration, leases, host, storeAddresses } = levels
  if (configuration === undefined) return undefined
  const { network } = configuration
  traffic.want(network)
  if (leases === undefined || host === undefined || storeAddresses === undefined) return undefined
  ways.want(wantedWays(configuration))
  if (levels.ways === undefined) return undefined
  keeper.setWant({ attrs: leaseAttrs(options.nodeId, levels.ways, await host.facts(new Map(), 'unused')), network })
  const own = heldLease(levels.lease)?.lease
  if (own === undefined) return undefined
  const sources = { network, ways: levels.ways, host, own, snapshot: leases, storeAddresses, ...memory }
  const chosen = levels.traffic ?? undecided(options.traffic)
  const { verdicts, plan } = await planAll(sources, { peers, planner }, { ...options, traffic: chosen })
  return { verdicts, plan: levels.traffic === undefined ? withoutRules(plan, options.subnetFile) : plan }
}
