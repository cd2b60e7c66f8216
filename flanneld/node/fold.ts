import type { Way } from '../../backends/way.ts'
import { withFamilies } from '../../subnet/network-config.ts'
import type { WantedTraffic } from '../host/traffic-choice.ts'
import { previousLease } from '../leases/last-lease.ts'
import { heldLease, isCertain, leaseAttrs } from '../leases/lease-attrs.ts'
import type { LeaseKeeper } from '../leases/lease-keeper.ts'
import type { PeerVerdicts, PeerView } from '../leases/peer-view.ts'
import { reachOf } from './choose-way.ts'
import { type Configuration, isDirect, wayKey } from './configuration.ts'
import { attrsIn, commonPart, familiesHere } from './families.ts'
import { scopeOfWays } from './footprint.ts'
import { NONE_KEPT } from './kept-addresses.ts'
import { type Levels, leasesSoFar } from './levels.ts'
import type { NodePlan, Planner } from './planner.ts'
import type { PlannerInput } from './planner-input.ts'
import type { Sources } from './sources.ts'
import { undecided, withoutFiles } from './traffic.ts'
import type { PreparedWays, WayPlan } from './ways.ts'

export interface FoldNeeds extends Pick<Sources, 'ways' | 'traffic'> {
  readonly keeper: Pick<LeaseKeeper, 'setWant'>
  readonly peers: PeerView
  readonly planner: Planner
  readonly wayPlan: WayPlan
}

/** What is known beside the levels, of earlier folds and earlier runs. */
export interface FoldMemory {
  /** Names of all devices of ours, of earlier configurations, too. */
  readonly ours: ReadonlySet<string>
  /** Sysctls that are changed now, with the host's own values. */
  readonly originals: ReadonlyMap<string, string>
  /** ADDRESS/LENGTH: addresses on the loopback device that this instance has put there. */
  readonly keptOurs: ReadonlySet<string>
  /** Whether the last plan has a route at this key (`keyOf`), whatever stands there at the moment. */
  readonly isPlanned: (key: string) => boolean
  /** Nothing has been planned in this run. */
  readonly isFirst: boolean
}

export interface Folded {
  readonly verdicts: PeerVerdicts
  readonly plan: NodePlan
  /** To which of the ways the node changes in this plan; undefined: it does not. */
  readonly target: Way | undefined
  /** Of the store: as of which the peers are planned. */
  readonly revision: string
  /** They are all that the store has: neither those of the last run nor the own one alone. */
  readonly isCurrent: boolean
  /** Without any peer, whether they are known or not. */
  readonly isAlone: boolean
  /** The files are in it by which containers get this node's subnet. */
  readonly isTold: boolean
}

export interface FoldOptions extends Omit<PlannerInput['options'], 'storeAddresses' | 'traffic'> {
  readonly nodeId: string
  readonly traffic: WantedTraffic
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
  const { configuration, host, storeAddresses } = levels
  if (configuration === undefined) return undefined
  traffic.want(configuration.network)
  if (leasesSoFar(levels) === undefined || host === undefined || storeAddresses === undefined) return undefined
  const wanted = wayPlan.wanted(configuration)
  const isAlone = goesAlone(levels, memory, wanted)
  const leases = isAlone ? levels.ownFirst : levels.leases
  if (leases === undefined) return undefined
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
  const isCurrent = !isAlone && !leases.recorded
  const complete = arePrepared && isCurrent
  const kept = { ours: memory.keptOurs, unused: levels.unusedAddresses ?? NONE_KEPT.unused }
  const surroundings = host.surroundings({ ...memory, storeAddresses })
  const verdicts = peers.judge({ snapshot: leases, own, network: both.network, surroundings })
  const chosen = levels.traffic ?? undecided(options.traffic)
  const configurations = prepared.map((way) => ({ ...way, network: both.network }))
  const { current, change } = told
  const plan = planner.plan({
    network: both.network,
    ways: prepared,
    ...(current && { current }),
    change,
    own,
    kept,
    peers: verdicts.planned,
    facts: await host.facts(verdicts.planned, reachOf(prepared), memory.originals),
    scope: { ...scopeOfWays(configurations, prepared), instance: options.traffic.instance },
    complete,
    isAlone,
    // It would count packets of peers that are not known yet.
    options: { ...options, ...(isAlone && { guard: undefined }), storeAddresses, traffic: chosen },
  })
  const isTold = levels.traffic !== undefined && isCertain(levels.lease)
  const whole = isTold ? plan : withoutFiles(plan)
  return { verdicts, plan: whole, target: change?.target, revision: leases.revision, isCurrent, isAlone, isTold }
}

/**
 * Whether this node is planned by itself: before the others are known, and first of all in a moment of its own, or thousands of them would
 * keep it waiting. They say where a node goes that changes its way, and where one begins that sends directly.
 */
function goesAlone(levels: Levels, { isFirst }: FoldMemory, wanted: readonly Configuration[]): boolean {
  if (levels.ownFirst === undefined || wanted.length > 1 || wanted.some(isDirect)) return false
  return levels.leases === undefined || (isFirst && levels.traffic !== undefined)
}

/** A way that has just ended is still among the prepared ones, and no peer may go back to it; all of them while none of the wanted ones is. */
function stillWanted(prepared: PreparedWays, wanted: readonly Configuration[]): PreparedWays {
  const keys = new Set(wanted.map(wayKey))
  const [first, ...others] = prepared.filter((way) => keys.has(wayKey(way)))
  // The same list while nothing of it has ended: whoever compares sees that at once.
  if (first === undefined || others.length + 1 === prepared.length) return prepared
  return [first, ...others]
}
