import { randomBytes } from 'node:crypto'
import type { Kernel } from '../../kernel/kernel.ts'
import { originalsOf, scopeOf } from '../../kernel/reconciler/journal.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { Latest, type Source } from '../../lib/latest.ts'
import { Lifecycle } from '../../lib/lifecycle.ts'
import { silentLogger } from '../../lib/log.ts'
import { untilFirst } from '../../lib/signals.ts'
import { hasFamiliesOf } from '../../subnet/lease-families.ts'
import type { SubnetOrigin } from '../../subnet/network-config.ts'
import type { ConfigText, Lease } from '../../subnet/types.ts'
import type { LeaseWant } from '../leases/keeper-options.ts'
import { previousLease } from '../leases/last-lease.ts'
import { openLeases } from '../leases/open-leases.ts'
import { PeerView } from '../leases/peer-view.ts'
import { agentOptions } from '../options/node-options.ts'
import type { Options } from '../options/options.ts'
import type { ProcessPort } from '../process-port.ts'
import type { PeekedState } from '../state/state-dir.ts'
import { type Condition, ConditionSet } from '../status/status.ts'
import { recordedWays } from '../switch/follow.ts'
import { readWays } from '../switch/record.ts'
import { type Configuration, obstacleBetween, parseConfiguration, wayKey } from './configuration.ts'
import { type Folded, fold } from './fold.ts'
import { ownedBy } from './footprint.ts'
import { NONE_KEPT } from './kept-addresses.ts'
import { LevelSet, type Levels } from './levels.ts'
import { Planner } from './planner.ts'
import { type PresumedLease, presumeLease } from './presumed-lease.ts'
import { followSources } from './sources.ts'
import { fixedWays } from './ways.ts'

interface LookAheadNeeds {
  readonly clock: Clock
  readonly port: ProcessPort
  readonly kernel: Kernel
}

interface LookAheadOptions {
  readonly options: Options
  readonly state: PeekedState
  /** Of a node without a lease: `held` says no more about it, `presumed` goes on as if it had the one that it would ask for. */
  readonly leases: 'held' | 'presumed'
  /** Taken for the network configuration in place of that of the store. */
  readonly instead?: { readonly text: string; readonly origin: string }
}

export interface Outlook {
  readonly configuration: Configuration
  /** That of the store, where another one was taken instead; absent, too, where there is none that can be used. */
  readonly inUse?: Configuration
  /** Why there is no going to this one from that in use without a restart; absent: there is. */
  readonly obstacle?: string
  /** The lease that this node holds. */
  readonly own?: Lease
  /** Absent without a lease. */
  readonly folded?: Folded
  readonly levels: Levels
  readonly presumed?: PresumedLease
  /** That hold by now. */
  readonly conditions: readonly Condition[]
}

/**
 * What the daemon would plan now: its sources and its fold, with nobody who leases or applies anything. Waits for the store and the
 * configuration as long as the signal lasts. Throws what would end the daemon.
 */
export async function lookAhead(
  needs: LookAheadNeeds,
  options: LookAheadOptions,
  signal: AbortSignal,
): Promise<Outlook> {
  const fault = new AbortController()
  const onFault = (_task: string, cause: unknown) => {
    fault.abort(cause)
    return 'ended' as const
  }
  const lifecycle = new Lifecycle({ clock: needs.clock, onFault })
  try {
    return await untilFirst([signal, fault.signal], (stop) => look({ ...needs, lifecycle }, options, stop))
  } finally {
    await lifecycle.stop()
  }
}

async function look(
  { clock, port, lifecycle, kernel }: LookAheadNeeds & { lifecycle: Lifecycle },
  { options, state, leases: which, instead }: LookAheadOptions,
  signal: AbortSignal,
): Promise<Outlook> {
  const conditions = new ConditionSet({ clock })
  const log = silentLogger
  const { nodeId, entries } = state
  const source = await openLeases({ clock, log, conditions, random: Math.random, env: port.env }, options, nodeId)
  const agent = { ...(await agentOptions(options, { nodeId, storeEndpoints: source.endpoints }, log)), holdMs: 0 }
  const levels = new LevelSet()
  // Of another configuration its end is planned, not the way there, which the answers of the peers decide.
  const wayPlan = instead ? fixedWays((inUse) => [inUse]) : recordedWays(readWays(state.ways, log))
  const owned = ({ configuration, ways }: Levels) =>
    configuration === undefined ? scopeOf(entries) : ownedBy(wayPlan.wanted(configuration), ways, entries)
  const parts = {
    kernel,
    conditions,
    lifecycle,
    clock,
    log,
    randomBytes,
    levels,
    claim: async () => {},
    refusals: new Map(),
    obstacleBetween,
  }
  const host = { devices: () => owned(levels.current).devices, overlay: () => undefined }
  const change = instead && (await changeTo(instead, source.configSource, signal))
  // What stands now goes on beside it.
  const beside = () => {
    const { inUse } = change ?? {}
    const next = levels.current.configuration
    const isBeside = inUse && next && wayKey(inUse) !== wayKey(next) && obstacleBetween(inUse, next) === undefined
    return isBeside ? [inUse] : []
  }
  const sources = followSources({ ...source, ...parts, ...host, ...change?.source, beside }, agent)
  const peers = new PeerView({ clock, log }, agent)
  let want: LeaseWant | undefined
  const keeper = {
    setWant: (wanted: LeaseWant) => {
      want = wanted
    },
  }
  const needs = { ...sources, peers, planner: new Planner(), keeper, wayPlan }
  for await (const known of levels.changes.watch(signal)) {
    const { configuration, leases, traffic } = known
    const seen = { levels: known, conditions: conditions.list(), ...(change?.inUse && { inUse: change.inUse }) }
    const held = leases && known.host && previousLease(leases, nodeId, known.host)
    const obstacle = change?.inUse && configuration && parts.obstacleBetween(change.inUse, configuration)
    const outlook = configuration && {
      configuration,
      ...seen,
      ...(obstacle !== undefined && { obstacle }),
      ...(held && { own: held }),
    }
    const { devices, addresses = NONE_KEPT.ours } = owned(known)
    const memory = {
      ours: devices,
      keptOurs: addresses,
      originals: originalsOf(entries),
      isPlanned: () => false,
      isFirst: true,
    }
    const foldWith = (lease: Levels['lease']) => fold({ ...known, ...(lease && { lease }) }, needs, memory, agent)
    let own = held
    let presumed: PresumedLease | undefined
    if (outlook && known.host !== undefined && own === undefined) {
      if (which === 'held') return outlook
      await foldWith(undefined)
      presumed = presumeLease(known, want, memory, agent)
      if (presumed?.conflict !== undefined) return { ...outlook, presumed }
      own = presumed?.lease
    }
    // Of other families it would be written anew.
    if (change?.inUse && configuration && held !== undefined && !hasFamiliesOf(held, configuration.network)) {
      await foldWith(undefined)
      presumed = presumeLease(known, want, memory, agent)
      own = presumed?.lease ?? held
    }
    const folded = await foldWith(own && { at: 'held', own: { lease: own, expiresAt: undefined, version: '' } })
    if (outlook && folded !== undefined && traffic !== undefined)
      return { ...outlook, folded, ...(presumed && { presumed }) }
  }
  throw signal.reason
}

/** A source that says this and nothing else, and what the real one says now. @throws ConfigError when it cannot be used */
async function changeTo(instead: { text: string; origin: string }, real: Source<ConfigText>, signal: AbortSignal) {
  const configSource = new Latest<ConfigText>('given configuration')
  for await (const { text, origin, subnets } of real.watch(signal)) {
    parseConfiguration(instead.text, instead.origin, subnets)
    configSource.set({ ...instead, revision: '', ...(subnets && { subnets }) })
    return { source: { configSource }, inUse: text === undefined ? undefined : usable({ text, origin, subnets }) }
  }
  throw signal.reason
}

function usable({ text, origin, subnets }: { text: string; origin: string; subnets: SubnetOrigin | undefined }) {
  try {
    return parseConfiguration(text, origin, subnets)
  } catch (cause) {
    if (cause instanceof ConfigError) return undefined
    throw cause
  }
}
