import type { Way } from '../../backends/way.ts'
import type { IpAddr } from '../../lib/address.ts'
import { type NetworkConfig, withFamilies } from '../../subnet/network-config.ts'
import type { Lease, LeaseSnapshot } from '../../subnet/types.ts'
import type { CniNetwork } from '../cni/conflist.ts'
import type { HostView } from '../host/host-view.ts'
import { previousLease } from '../leases/last-lease.ts'
import { heldLease, isCertain, leaseAttrs } from '../leases/lease-attrs.ts'
import type { LeaseKeeper } from '../leases/lease-keeper.ts'
import type { PeerVerdicts, PeerView } from '../leases/peer-view.ts'
import { reachOf } from './choose-way.ts'
import { type Configuration, wayKey } from './configuration.ts'
import { attrsIn, commonPart, familiesHere } from './families.ts'
import { scopeOfWays } from './footprint.ts'
import type { GuardOptions } from './guard-rules.ts'
import { NONE_KEPT } from './kept-addresses.ts'
import type { Levels } from './levels.ts'
import type { NodePlan, Planner } from './planner.ts'
import type { KeptAddresses } from './planner-input.ts'
import type { Sources } from './sources.ts'
import { undecided, withoutFiles } from './traffic.ts'
import type { TrafficOptions } from './traffic-rules.ts'
import type { PreparedWays, ToldWays, WayPlan } from './ways.ts'

export interface FoldNeeds extends Pick<Sources, 'ways' | 'traffic'> {
  readonly keeper: Pick<LeaseKeeper, 'setWant'>
  readonly peers: PeerView
  readonly planner: Planner
  readonly wayPlan: WayPlan
}

/** What is known beside the levels, of earlier folds and earlier runs. */
export type FoldMemory = Pick<PlanSources, 'ours' | 'originals' | 'isPlanned' | 'keptOurs'>

export interface Folded {
  readonly verdicts: PeerVerdicts
  readonly plan: NodePlan
  /** To which of the ways the node changes in this plan; undefined: it does not. */
  readonly target: Way | undefined
  /** Of the store: as of which the peers are planned. */
  readonly revision: string
  /** They are those of the last run: the store has not answered yet. */
  readonly isRecorded: boolean
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
  { ways, traffic, keeper, peers, planner, wayPlan }: FoldNeeds,
  memory: FoldMemory,
  options: FoldOptions,
): Promise<Folded | undefined> {
  const { configuration, leases, host, storeAddresses } = levels
  if (configuration === undefined) return undefined
  traffic.want(configuration.network)
  if (leases === undefined || host === undefined || storeAddresses === undefined) return undefined
  const wanted = wayPlan.wanted(configuration)
  const held = heldLease(levels.lease)?.lease
  const last = held ?? previousLease(leases, options.nodeId, host)
  const had = familiesHere(configuration.network, host)
  const enough = had.filter((family) => last?.families.has(family))
  // Whom a change of the backend has moved is known by the leases, which get other names with other families.
  const here = wanted.length > 1 && enough.length > 0 ? enough : had
  ways.want({ ways: wanted, instead: wayPlan.instead?.(), families: here, enough, host: host.ownAddresses })
  if (levels.ways === undefined) return undefined
  const prepared = stillWanted(levels.ways, wanted)
  const network = withFamilies(
    configuration.network,
    here.filter((family) => prepared.every(({ families }) => families.includes(family))),
  )
  const told = wayPlan.told(prepared)
  const arePrepared = prepared.length >= wanted.length
  // After a restart peers may already send by a way that is not prepared yet.
  if (arePrepared || held !== undefined)
    keeper.setWant({ attrs: attrsIn(network, leaseAttrs(options.nodeId, told.advertised, host)), network })
  if (held === undefined) return undefined
  const both = commonPart(network, held)
  if (both === undefined) return undefined
  const { own } = both
  // What belongs to a way that is not prepared yet, or to a peer that is not on record, must not be taken for a leftover.
  const complete = arePrepared && !leases.recorded
  const kept = { ours: memory.keptOurs, unused: levels.unusedAddresses ?? NONE_KEPT.unused }
  const known = { network: both.network, ways: prepared, told, complete, host, own, kept }
  const sources = { ...known, snapshot: leases, storeAddresses, ...memory }
  const chosen = levels.traffic ?? undecided(options.traffic)
  const { verdicts, plan } = await planAll(sources, { peers, planner }, { ...options, traffic: chosen })
  const mayTell = levels.traffic !== undefined && isCertain(levels.lease)
  const whole = mayTell ? plan : withoutFiles(plan)
  const { revision, recorded = false } = leases
  return { verdicts, plan: whole, target: told.change?.target, revision, isRecorded: recorded }
}

/** A way that has just ended is still among the prepared ones, and no peer may go back to it; all of them while none of the wanted ones is. */
function stillWanted(prepared: PreparedWays, wanted: readonly Configuration[]): PreparedWays {
  const keys = new Set(wanted.map(wayKey))
  const [first, ...others] = prepared.filter((way) => keys.has(wayKey(way)))
  // The same list while nothing of it has ended: whoever compares sees that at once.
  if (first === undefined || others.length + 1 === prepared.length) return prepared
  return [first, ...others]
}

interface PlanSources {
  readonly network: NetworkConfig
  readonly ways: readonly Way[]
  readonly told: Pick<ToldWays, 'current' | 'change'>
  /** Whether these are all. */
  readonly complete: boolean
  readonly host: HostView
  readonly own: Lease
  readonly snapshot: LeaseSnapshot
  /** Names of all devices of ours, of earlier configurations, too. */
  readonly ours: ReadonlySet<string>
  /** Sysctls that are changed now, with the host's own values. */
  readonly originals: ReadonlyMap<string, string>
  readonly storeAddresses: readonly IpAddr[]
  /** ADDRESS/LENGTH: addresses on the loopback device that this instance has put there. */
  readonly keptOurs: ReadonlySet<string>
  readonly kept: KeptAddresses
  /** Whether the last plan has a route at this key (`keyOf`), whatever stands there at the moment. */
  readonly isPlanned: (key: string) => boolean
}

interface PlanOptions {
  readonly subnetFile: string
  readonly ipMasq: boolean
  readonly blackholeRoute: boolean
  readonly traffic: TrafficOptions
  readonly guard?: GuardOptions | undefined
  readonly cni?: CniNetwork | undefined
}

/** Judges the peers, looks up how they are reached and plans; `peers` and `planner` remember the last time. */
async function planAll(
  sources: PlanSources,
  { peers, planner }: { readonly peers: PeerView; readonly planner: Planner },
  options: PlanOptions,
): Promise<Pick<Folded, 'verdicts' | 'plan'>> {
  const { network, ways, told, host, own, snapshot, ours, originals, storeAddresses, isPlanned, kept } = sources
  const configurations = ways.map((way) => ({ ...way, network }))
  const scope = { ...scopeOfWays(configurations, ways), instance: options.traffic.instance }
  const surroundings = host.surroundings({ ours, keptOurs: kept.ours, storeAddresses, isPlanned })
  const verdicts = peers.judge({ snapshot, own, network, surroundings })
  const facts = await host.facts(verdicts.planned, reachOf(ways), originals)
  const { current, change } = told
  const between = { ...(current && { current }), ...(change && { change }) }
  const known = {
    network,
    ways,
    ...between,
    own,
    kept,
    scope,
    complete: sources.complete,
    peers: verdicts.planned,
    facts,
  }
  const plan = planner.plan({ ...known, options: { ...options, storeAddresses } })
  return { verdicts, plan }
}
