import { Reconciler } from '../../kernel/reconciler/reconciler.ts'
import { watchTables } from '../../kernel/reconciler/watch-tables.ts'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import { Latest, type Source } from '../../lib/latest.ts'
import { aborted } from '../../lib/signals.ts'
import type { StoreHealth } from '../../subnet/types.ts'
import { countEnded } from '../config/masqueraded.ts'
import { occupiedAddresses } from '../host/occupied.ts'
import { keepLastKnown } from '../last-known/keep.ts'
import { recallLastKnown } from '../last-known/recall.ts'
import { LeaseKeeper, OWN_LEASE } from '../leases/lease-keeper.ts'
import { keepLastSubnets, lastRun } from '../state/own-subnet.ts'
import type { Check } from '../status/health.ts'
import { leaseConditions } from '../status/lease-conditions.ts'
import { datastoreConditions, readinessChecks } from '../status/node-conditions.ts'
import type { FinishOutcome } from '../switch/change-status.ts'
import { ConnectionWatch } from '../switch/connection-watch.ts'
import { leavingRoutes } from '../switch/leaving-routes.ts'
import { SocketWatch } from '../switch/socket-watch.ts'
import { WayChange } from '../switch/way-change.ts'
import type { AgentNeeds, AgentOptions, AgentView } from './agent-needs.ts'
import type { ObstacleBetween } from './configuration.ts'
import { kernelListener } from './kernel-events.ts'
import { followReconciler } from './kernel-status.ts'
import { LevelSet } from './levels.ts'
import { ObstacleWatch } from './obstacle-watch.ts'
import { Planning } from './planning.ts'
import { releaseHeld } from './release-held.ts'
import { followSources, type Sources } from './sources.ts'
import { fixedWays } from './ways.ts'

/**
 * Whether this node takes its subnet, and tells it by subnet.env, before the other leases are known. After a boot the kubelet asks for it
 * at once, and again only seconds later. Of a daemon that is restarted subnet.env stands there already, and what carries packets is changed
 * with all leases in view. A guard that drops stands before there is a container, with all peers in it.
 */
function goesFirst({ previousSubnets, guard }: Pick<AgentOptions, 'previousSubnets' | 'guard'>): boolean {
  return previousSubnets.size === 0 && guard?.mode !== 'on'
}

/**
 * Joins the parts: sources -> levels -> fold -> ways, own lease, desired objects -> reconciler. Nothing happens once at a start: every
 * change of any level makes a new whole plan, which shares with the last one what has not changed.
 */
export class Agent {
  /** Counts changes of what `view` and `notReady` say. */
  readonly changes = new Latest<number>('agent')
  readonly reconciler: Reconciler
  readonly #needs: AgentNeeds
  readonly #options: AgentOptions
  readonly #levels = new LevelSet()
  /** Why this host has none of a way, by `wayKey`. */
  readonly #refusals = new Map<string, string>()
  readonly #keeper: LeaseKeeper
  readonly #planning: Planning
  #config: Sources['config'] | undefined
  #obstacles: ObstacleWatch | undefined
  readonly #change: WayChange
  readonly #connections: ConnectionWatch
  readonly #sockets: SocketWatch
  #store: StoreHealth | undefined
  /** On record, of a store that had not answered when the host was read first. */
  #given: ReadonlyMap<Family, IpAddr> | undefined
  #count = 0

  constructor(needs: AgentNeeds, options: AgentOptions) {
    this.#needs = needs
    this.#options = options
    const { journal } = needs.state
    this.reconciler = new Reconciler({ ...needs, journal, tables: needs.kernel.tables, onFault: needs.onPassFault })
    this.#change = new WayChange(
      {
        ...needs,
        levels: this.#levels,
        planning: () => this.#planning,
        reconciler: this.reconciler,
        refusals: this.#refusals,
        closedArrival: () => this.#obstacles?.closedArrival,
        files: needs.state.files,
      },
      options,
    )
    const { host, sockets } = needs.kernel
    this.#sockets = new SocketWatch({ ...needs, host, sockets, levels: this.#levels })
    this.#connections = new ConnectionWatch({
      ...needs,
      leaving: () =>
        leavingRoutes({
          last: this.#planning.last,
          unmoved: this.#change.unmoved,
          configuration: this.#levels.current.configuration,
          waiting: this.#config?.waiting,
        }),
      count: (routes) => countEnded(needs.kernel, routes),
    })
    this.#planning = new Planning(
      {
        ...needs,
        journal,
        levels: this.#levels,
        reconciler: this.reconciler,
        onSlow: () => this.#changed(),
        onPlan: () => {
          this.#change.look()
          this.#sockets.planned(this.#planning.last?.plan.own ?? [])
        },
      },
      { wayPlan: options.wantedWays === undefined ? this.#change : fixedWays(options.wantedWays), ...options },
    )
    this.#keeper = new LeaseKeeper(needs, {
      ...options,
      lastRun: (network) =>
        lastRun(
          { ...needs, files: needs.state.files, bootId: needs.moment().bootId },
          network,
          options.previousSubnets,
        ),
      occupied: () => occupiedAddresses(needs.kernel.host),
      surroundings: () => this.#planning.surroundings(),
    })
  }

  get view(): AgentView {
    const { renewals } = this.#keeper
    const { status, counts } = this.#change
    const ending = this.#connections.status
    const change = { ...(status && { change: status }), ...(ending && { ending }), changeCounts: counts }
    return {
      ...this.#levels.current,
      ...this.#planning.last,
      ...change,
      ...(this.#store && { store: this.#store }),
      renewals,
    }
  }

  /** What is planned is for this node by itself, as nothing is known of the others. */
  get isAlone(): boolean {
    return this.#planning.last?.isAlone === true && this.#levels.current.leases === undefined
  }

  /** Of this instance, earlier ones, too. */
  networks(): readonly Cidr[] {
    return this.#planning.owned().networks.map(({ network }) => network)
  }

  /** What a ready node fulfils, and what this one does not. */
  readiness(): readonly Check[] {
    const status = this.reconciler.status.current
    const tried = status !== undefined && this.#planning.isWhole(status.generation)
    const { lease } = this.#levels.current
    return readinessChecks(lease, tried, this.reconciler.failures(), this.#needs.conditions.list(), this.isAlone)
  }

  /** Reasons why the node is not ready, a line each; empty: it is. */
  notReady(): readonly string[] {
    return this.readiness().flatMap(({ ok, text }) => (ok ? [] : [text]))
  }

  /** Uses the configuration that waits because it was changed back and forth. What differs, in words; undefined: none waits. */
  useWaitingConfiguration(): readonly string[] | undefined {
    return this.#config?.useWaiting()
  }

  /** Follows everything and keeps planning until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { lifecycle, storeHealth, conditions } = this.#needs
    const planning = this.#planning
    if (this.#options.wantedWays === undefined) {
      await this.#change.load()
      lifecycle.run('change of the backend', (stop) => this.#change.run(stop))
    }
    // From the first try on: who waits for the configuration must be told why, too.
    this.#follow(storeHealth, (store) => {
      this.#store = store
      conditions.replace('datastore', datastoreConditions(store))
      this.#changed()
    })
    const known = { devices: () => planning.owned().devices, overlay: () => planning.overlay() }
    const givenAddresses = () => this.#given ?? this.#needs.givenAddresses?.() ?? new Map()
    const obstacleBetween: ObstacleBetween = (inUse, next) => this.#change.obstacleBetween(inUse, next)
    const beside = { levels: this.#levels, refusals: this.#refusals, obstacleBetween }
    const lastConfiguration = () => this.#change.target
    const ownFirst = goesFirst(this.#options) ? this.#needs.store.ownFirst : undefined
    const needs = { ...this.#needs, ...known, ...beside, givenAddresses, lastConfiguration, ownFirst }
    const sources = followSources(needs, this.#options)
    this.#config = sources.config
    this.#followLease()
    this.#followKernel(sources)
    this.#followRecord(sources)
    const again = () => this.#levels.set({})
    const held = { ...this.#needs, peers: planning.peers, changes: this.changes, onRelease: again }
    lifecycle.run('held peers', (stop) => releaseHeld(held, stop))
    this.#follow(this.#needs.state.changes, () => {
      // A host's own setting that could not be written down can be changed now.
      this.reconciler.invalidate(['sysctl'], 'the disk takes what it refused')
      again()
    })
    lifecycle.run('kept addresses', (stop) => this.#sockets.run(stop))
    lifecycle.run('masqueraded connections', (stop) => this.#connections.run(conditions.changes, stop))
    lifecycle.run('planner', (stop) => planning.run({ ...sources, keeper: this.#keeper }, stop))
    await aborted(signal)
  }

  /** Ends the old ways of a change of the backend, whoever needs them. */
  finishChange(): FinishOutcome {
    return this.#change.finish()
  }

  #followLease(): void {
    const { lifecycle, conditions, state, moment } = this.#needs
    lifecycle.run(OWN_LEASE, (stop) => this.#keeper.run(stop))
    this.#follow(this.#keeper.state, (lease) => {
      conditions.replace('lease', leaseConditions(lease))
      this.#levels.set({ lease })
      this.#change.look()
    })
    const network = () => this.#levels.current.configuration?.network
    const record = { files: state.files, bootId: moment().bootId }
    lifecycle.run('own subnet', (stop) => keepLastSubnets(record, network, this.#keeper.state, stop))
  }

  /** What was known before this start counts until the store answers; what is known now is for the next one. */
  #followRecord({ config }: Sources): void {
    const { lifecycle, state, identity, leaseId, givenAddresses } = this.#needs
    const here = { nodeId: this.#options.nodeId, store: identity, ...(leaseId !== undefined && { leaseId }) }
    const needs = { ...this.#needs, files: state.files, here }
    const onGiven = (given: ReadonlyMap<Family, IpAddr>) => {
      this.#given = given
    }
    const recall = { ...needs, config, levels: this.#levels, keeper: this.#keeper, onGiven }
    lifecycle.run('last known leases', (stop) => recallLastKnown(recall, stop))
    const keep = {
      ...needs,
      changes: this.changes,
      view: () => this.view,
      given: () => givenAddresses?.() ?? new Map(),
    }
    lifecycle.run('record of the leases', (stop) => keepLastKnown(keep, stop))
  }

  #followKernel({ host, traffic }: Sources): void {
    const { kernel, lifecycle } = this.#needs
    const { reconciler } = this
    const planning = this.#planning
    const heard = { ...this.#needs, reconciler, host, levels: this.#levels, owned: () => planning.owned() }
    const listener = kernelListener(heard, { target: this.#options.interfaceOptions.ifaceCanReach })
    kernel.monitor.start(listener, (event) => host.paths.onNeighbourState(event))
    watchTables({ lifecycle, reconciler }, kernel.tables)
    lifecycle.run('iptables resync', (stop) => traffic.resync(stop))
    lifecycle.run("Docker's mark", (stop) => traffic.followDocker(stop))
    const rules = { reader: kernel.rules.obstacles, monitor: kernel.rules.monitor }
    const obstacles = new ObstacleWatch({
      ...this.#needs,
      ...rules,
      paths: () => planning.last?.plan.packetPaths ?? [],
      onLook: () => this.#change.look(),
    })
    this.#obstacles = obstacles
    let kept = ''
    this.#follow(reconciler.passes, () => {
      // Of what this program itself does to the loopback device the host's view hears nothing.
      const entries = [...this.#needs.state.journal.entries.values()]
      const now = entries.flatMap((entry) => (entry.kind === 'address' ? [entry.address] : [])).join(' ')
      if (now !== kept) host.lookAgain()
      kept = now
    })
    lifecycle.run('rules of others', (stop) => obstacles.run(reconciler.passes, stop))
    const onStatus = () => {
      planning.onStatus()
      this.#change.look()
      this.#changed()
    }
    const isInService = (generation: number) => planning.isInService(generation)
    const told = { ...this.#needs, reconciler, isInService, onStatus }
    lifecycle.run('reconciler status', (stop) => followReconciler(told, stop))
  }

  #follow<T>(source: Source<T>, take: (value: T) => void): void {
    this.#needs.lifecycle.run(source.name, async (stop) => {
      for await (const value of source.watch(stop)) take(value)
    })
  }

  #changed(): void {
    this.#count += 1
    this.changes.set(this.#count)
  }
}
