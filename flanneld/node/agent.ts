import type { OwnershipScope } from '../../kernel/desired.ts'
import { originalsOf, scopeOf, scopeWith } from '../../kernel/reconciler/journal.ts'
import { Reconciler } from '../../kernel/reconciler/reconciler.ts'
import { watchTables } from '../../kernel/reconciler/watch-tables.ts'
import type { Cidr } from '../../lib/address.ts'
import { Alarm } from '../../lib/alarm.ts'
import { workAndRest } from '../../lib/clock.ts'
import { Latest, type Source } from '../../lib/latest.ts'
import { aborted } from '../../lib/signals.ts'
import { emptySurroundings, type Surroundings } from '../../subnet/surroundings.ts'
import { heldLease } from '../leases/lease-attrs.ts'
import { LeaseKeeper, OWN_LEASE } from '../leases/lease-keeper.ts'
import { PeerView } from '../leases/peer-view.ts'
import { keepLastSubnets, lastSubnets } from '../state/own-subnet.ts'
import type { Check } from '../status/health.ts'
import {
  datastoreConditions,
  leaseConditions,
  noticeConditions,
  peerConditions,
  readinessChecks,
} from '../status/node-conditions.ts'
import type { AgentNeeds, AgentOptions, AgentView } from './agent-needs.ts'
import { fold } from './fold.ts'
import { kernelListener } from './kernel-events.ts'
import { followReconciler } from './kernel-status.ts'
import { LevelSet } from './levels.ts'
import { footprintOf, subnetsOf } from './node-setup.ts'
import { ObstacleWatch } from './obstacle-watch.ts'
import { Planner } from './planner.ts'
import { releaseHeld } from './release-held.ts'
import { followSources } from './sources.ts'
import { oneWay } from './ways.ts'

const LONGEST_SETTLING_MS = 500

/**
 * Folds what is known into what is wanted: levels -> ways, own lease, desired objects. Every change of any level makes a new whole
 * plan, which shares with the last one what has not changed; the reconciler applies the difference.
 */
export class Agent {
  /** Counts changes of what `view` and `notReady` say. */
  readonly changes = new Latest<number>('agent')
  readonly reconciler: Reconciler
  readonly #needs: AgentNeeds
  readonly #options: AgentOptions
  readonly #levels = new LevelSet()
  readonly #keeper: LeaseKeeper
  readonly #peers: PeerView
  readonly #planner = new Planner()
  readonly #settling: Alarm
  #view: Pick<AgentView, 'store' | 'verdicts' | 'plan'> = {}
  #firstGeneration = Number.POSITIVE_INFINITY
  #lastGeneration = 0
  #count = 0

  constructor(needs: AgentNeeds, options: AgentOptions) {
    this.#needs = needs
    this.#options = options
    this.#keeper = new LeaseKeeper(needs, {
      ...options,
      // The record is ours alone; subnet.env may be of a run before it, or of another program.
      previous: async (network) =>
        new Map([...options.previousSubnets, ...(await lastSubnets({ ...needs, ...needs.state }, network))]),
      sinceBoot: options.previousSubnets,
      surroundings: () => this.#surroundings(),
    })
    this.#peers = new PeerView(needs, options)
    this.#settling = new Alarm(needs)
    const { journal } = needs.state
    this.reconciler = new Reconciler({ ...needs, journal, tables: needs.kernel.tables, onFault: needs.onPassFault })
  }

  get view(): AgentView {
    return { ...this.#levels.current, ...this.#view, renewals: this.#keeper.renewals }
  }

  /** What a ready node fulfils, and what this one does not. */
  readiness(): readonly Check[] {
    const status = this.reconciler.status.current
    const tried = status !== undefined && status.generation >= this.#firstGeneration
    const lease = this.#levels.current.lease
    return readinessChecks(lease, tried, this.reconciler.failures(), this.#needs.conditions.list())
  }

  /** Reasons why the node is not ready, a line each; empty: it is. */
  notReady(): readonly string[] {
    return this.readiness().flatMap(({ ok, text }) => (ok ? [] : [text]))
  }

  /** Follows everything and keeps planning until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { kernel, lifecycle, conditions, clock, state } = this.#needs
    const { reconciler } = this
    // From the first try on: who waits for the configuration must be told why, too.
    this.#follow(this.#needs.storeHealth, (store) => {
      this.#view = { ...this.#view, store }
      conditions.replace('datastore', datastoreConditions(store))
      this.#changed()
    })
    const obstacles = new ObstacleWatch({
      ...this.#needs,
      reader: kernel.rules.obstacles,
      monitor: kernel.rules.monitor,
      paths: () => this.#view.plan?.packetPaths ?? [],
    })
    const sources = followSources(
      {
        ...this.#needs,
        levels: this.#levels,
        devices: () => this.#owned().devices,
        overlay: () => this.#overlay(),
      },
      this.#options,
    )
    const { host, traffic } = sources
    const target = this.#options.wish.ifaceCanReach
    const owned = () => this.#owned()
    const listener = kernelListener({ reconciler, host, levels: this.#levels, lifecycle, owned }, { target })
    kernel.monitor.start(listener, (event) => host.paths.onNeighbourState(event))
    watchTables({ lifecycle, reconciler }, kernel.tables)
    lifecycle.run('rules of others', (stop) => obstacles.run(reconciler.passes, stop))
    lifecycle.run('iptables resync', (stop) => traffic.resync(stop))
    lifecycle.run(OWN_LEASE, (stop) => this.#keeper.run(stop))
    this.#follow(this.#keeper.state, (lease) => {
      conditions.replace('lease', leaseConditions(lease))
      this.#levels.set({ lease })
    })
    const network = () => this.#levels.current.configuration?.network
    lifecycle.run('own subnet', (stop) => keepLastSubnets(state.files, network, this.#keeper.state, stop))
    this.#follow(state.changes, () => {
      // A host's own setting that could not be written down can be changed now.
      reconciler.invalidate(['sysctl'], 'the disk takes what it refused')
      this.#levels.set({})
    })
    const onStatus = () => {
      this.#settling.ring()
      this.#changed()
    }
    const isWhole = (generation: number) => generation >= this.#firstGeneration
    lifecycle.run('reconciler status', (stop) => followReconciler({ reconciler, conditions, isWhole, onStatus }, stop))
    const held = { peers: this.#peers, clock, changes: this.changes, onRelease: () => this.#levels.set({}) }
    lifecycle.run('held peers', (stop) => releaseHeld(held, stop))
    lifecycle.run('planner', (stop) => this.#keepPlanning({ ...sources, keeper: this.#keeper }, stop))
    await aborted(signal)
  }

  // A burst (a rack gets power) costs a few plans and leaves most of the time to others; a single change waits for nothing.
  async #keepPlanning(
    parts: Pick<Parameters<typeof fold>[1], 'ways' | 'traffic' | 'keeper'>,
    signal: AbortSignal,
  ): Promise<void> {
    const wantedWays = this.#options.wantedWays ?? oneWay
    const needs = { ...parts, peers: this.#peers, planner: this.#planner, wantedWays }
    const apply = async () => {
      if (await this.#plan(needs)) await this.#settle(signal)
    }
    signal.addEventListener('abort', () => this.#settling.stop(), { once: true })
    for await (const _ of this.#levels.changes.watch(signal))
      await workAndRest(this.#needs.clock, apply, { rest: 2, longestMs: 200 }, signal)
  }

  /** True: there was enough for a plan. */
  async #plan(needs: Parameters<typeof fold>[1]): Promise<boolean> {
    const levels = this.#levels.current
    const originals = originalsOf(this.#needs.state.journal.entries)
    const planned = await fold(levels, needs, { ...this.#known(), originals }, this.#options)
    if (planned === undefined) return false
    const { verdicts, plan } = planned
    this.#view = { ...this.#view, verdicts, plan }
    this.#needs.conditions.replace('peers', peerConditions(verdicts, plan.skipped))
    this.#needs.conditions.replace('notices', noticeConditions(plan.notices))
    this.#peers.skipped(plan.skipped)
    this.#lastGeneration = this.reconciler.setDesired(plan.desired)
    if (levels.traffic !== undefined) this.#firstGeneration = Math.min(this.#firstGeneration, this.#lastGeneration)
    return true
  }

  /** What is known of the host by what this process has made. */
  #known() {
    const planned = this.#view.plan?.desired.objects
    return { ours: this.#owned().devices, isPlanned: (key: string) => planned?.has(key) === true }
  }

  #surroundings(): Surroundings {
    const { host, storeAddresses = [] } = this.#levels.current
    return host?.surroundings({ ...this.#known(), storeAddresses }) ?? emptySurroundings
  }

  /** What is ours in the kernel, or is going to be. */
  #owned(): OwnershipScope {
    const { entries } = this.#needs.state.journal
    const { configuration } = this.#levels.current
    return configuration === undefined ? scopeOf(entries) : scopeWith(footprintOf([configuration]), entries)
  }

  /** For a while: a program that hangs must not hold up the next plan. */
  async #settle(signal: AbortSignal): Promise<void> {
    const until = this.#needs.clock.now() + LONGEST_SETTLING_MS
    const isSettled = () => (this.reconciler.status.current?.generation ?? 0) >= this.#lastGeneration
    while (!isSettled() && !signal.aborted && this.#needs.clock.now() < until) await this.#settling.until(until)
    // Else the reconciler's status has told of it: whoever hears of a plan any sooner takes time from it.
    if (!isSettled()) this.#changed()
  }

  #overlay(): readonly Cidr[] | undefined {
    const own = heldLease(this.#levels.current.lease)
    const { verdicts } = this.#view
    if (own === undefined || verdicts === undefined) return undefined
    return [own.lease, ...verdicts.planned.values()].flatMap(subnetsOf)
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
