import type { OwnershipScope } from '../../kernel/desired.ts'
import { originalsOf, scopeOf, scopeWith } from '../../kernel/reconciler/journal.ts'
import { Reconciler } from '../../kernel/reconciler/reconciler.ts'
import { watchTables } from '../../kernel/reconciler/watch-tables.ts'
import type { KernelEvent } from '../../kernel/table.ts'
import type { Cidr } from '../../lib/address.ts'
import { Alarm } from '../../lib/alarm.ts'
import { workAndRest } from '../../lib/clock.ts'
import { Latest, type Source } from '../../lib/latest.ts'
import { aborted } from '../../lib/signals.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { LeaseSnapshot } from '../../subnet/types.ts'
import { followHost } from '../host/follow-host.ts'
import type { HostView } from '../host/host-view.ts'
import { RouteEvents } from '../host/route-events.ts'
import { StoreAddresses } from '../host/store-addresses.ts'
import { heldLease, leaseAttrs } from '../leases/lease-attrs.ts'
import { PeerView } from '../leases/peer-view.ts'
import type { Check } from '../status/health.ts'
import {
  datastoreConditions,
  kernelConditions,
  leaseConditions,
  missingRequirement,
  noticeConditions,
  peerConditions,
  readinessChecks,
} from '../status/node-conditions.ts'
import type { AgentNeeds, AgentOptions, AgentView } from './agent-needs.ts'
import { ConfigWatch } from './config-watch.ts'
import type { Configuration } from './configuration.ts'
import { footprintOf, planAll, subnetsOf } from './node-setup.ts'
import { Planner } from './planner.ts'
import { startNode } from './start-node.ts'
import { startTraffic, undecided, withoutRules } from './traffic.ts'
import type { TrafficOptions } from './traffic-rules.ts'

const LONGEST_SETTLING_MS = 500
const NO_LEASES: LeaseSnapshot['leases'] = new Map()

/**
 * Joins the parts: configuration, host, leases -> planner -> reconciler. Every change of any input makes a new whole plan,
 * which shares with the last one what has not changed; the reconciler applies the difference.
 */
export class Agent {
  /** Counts changes of what `view` and `notReady` say. */
  readonly changes = new Latest<number>('agent')
  readonly reconciler: Reconciler
  readonly #needs: AgentNeeds
  readonly #options: AgentOptions
  readonly #dirty = new Latest<number>('inputs of the plan')
  readonly #config: ConfigWatch
  readonly #peers: PeerView
  readonly #planner = new Planner()
  readonly #routeEvents = new RouteEvents()
  readonly #storeAddresses: StoreAddresses
  readonly #settling: Alarm
  #view: AgentView = {}
  readonly #undecided: TrafficOptions
  #traffic: TrafficOptions | undefined
  #firstGeneration = Number.POSITIVE_INFINITY
  #lastGeneration = 0
  #count = 0

  constructor(needs: AgentNeeds, options: AgentOptions) {
    this.#needs = needs
    this.#options = options
    this.#undecided = undecided(options.traffic)
    const onFirst = async (first: Configuration) => {
      await needs.claim(footprintOf(first))
    }
    this.#config = new ConfigWatch({ ...needs, source: needs.configSource, onFirst })
    this.#peers = new PeerView(needs, options)
    this.#storeAddresses = new StoreAddresses(needs, { endpoints: options.storeEndpoints })
    this.#settling = new Alarm(needs)
    const { journal } = needs.state
    this.reconciler = new Reconciler({ ...needs, journal, tables: needs.kernel.tables, onFault: needs.onPassFault })
  }

  get view(): AgentView {
    return this.#view
  }

  /** What a ready node fulfils, and what this one does not. */
  readiness(): readonly Check[] {
    const status = this.reconciler.status.current
    const tried = status !== undefined && status.generation >= this.#firstGeneration
    const lease = this.#view.keeper?.state.current
    return readinessChecks(lease, tried, this.reconciler.failures(), this.#needs.conditions.list())
  }

  /** Reasons why the node is not ready, a line each; empty: it is. */
  notReady(): readonly string[] {
    return this.readiness().flatMap(({ ok, text }) => (ok ? [] : [text]))
  }

  /** Starts everything and keeps planning until the signal is aborted. Throws what makes a start impossible. */
  async run(signal: AbortSignal): Promise<void> {
    const { kernel, lifecycle, conditions, state } = this.#needs
    this.#followHealth()
    watchTables({ lifecycle, reconciler: this.reconciler }, kernel.tables)
    const hooks = {
      see: (more: AgentView) => this.#see(more),
      overlay: () => this.#overlay(),
      surroundings: (host: HostView) => host.surroundings(this.#beyondHost()),
      storeKnown: this.#storeAddresses.first(signal),
      hostOpened: (host: HostView) =>
        kernel.monitor.start(
          (events) => this.#onEvents(events, host),
          (event) => host.paths.onNeighbourState(event),
        ),
      configured: (network: NetworkConfig) => {
        // The programs that are asked answer while the leases are read and the own one is acquired.
        lifecycle.run('traffic rules', async () => {
          const packetPaths = () => this.#view.plan?.packetPaths ?? []
          const needs = { ...this.#needs, reconciler: this.reconciler, packetPaths }
          this.#traffic = await startTraffic(needs, this.#options, network)
          this.#touch()
        })
      },
    }
    lifecycle.run('configuration', (stop) => this.#config.run(stop))
    const { host, store, keeper } = await startNode(this.#needs, this.#options, this.#config, hooks, signal)
    this.#follow(this.#config.changes, ({ network, backend, config }) => {
      const { ways } = this.#view
      if (ways !== undefined) this.#see({ network, ways: ways.map((way) => ({ ...way, backend, config })) })
    })
    lifecycle.run('host facts', (stop) => followHost(this.#needs, host, stop))
    lifecycle.run('direct paths', (stop) => host.paths.run(stop))
    this.#follow(host.changes, () => {})
    this.#follow(host.paths.changes, () => {})
    // A host's own setting that could not be written down can be changed now.
    this.#follow(state.changes, () => this.reconciler.invalidate(['sysctl'], 'the disk takes what it refused'))
    this.#follow(this.#storeAddresses.changes, () => {})
    lifecycle.run('addresses of the store', (stop) => this.#storeAddresses.run(stop))
    this.#follow(store, (latest) => this.#see({ snapshot: latest }))
    this.#follow(keeper.state, (state) => conditions.replace('lease', leaseConditions(state)))
    this.#watchReconciler()
    lifecycle.run('held peers', (stop) => this.#releaseHeld(stop))
    lifecycle.run('planner', (stop) => this.#keepPlanning(stop))
    await aborted(signal)
  }

  // A burst (a rack gets power) costs a few plans and leaves most of the time to others; a single change waits for nothing.
  async #keepPlanning(signal: AbortSignal): Promise<void> {
    const apply = async () => {
      await this.#replan()
      await this.#settle(signal)
    }
    signal.addEventListener('abort', () => this.#settling.stop(), { once: true })
    for await (const _ of this.#dirty.watch(signal))
      await workAndRest(this.#needs.clock, apply, { rest: 2, longestMs: 200 }, signal)
  }

  // From the first try on: who waits for the configuration must be told why, too.
  #followHealth(): void {
    const { lifecycle, conditions, storeHealth } = this.#needs
    lifecycle.run('store health', async (stop) => {
      for await (const health of storeHealth.watch(stop)) {
        this.#see({ store: health })
        conditions.replace('datastore', datastoreConditions(health))
        this.#changed()
      }
    })
  }

  async #replan(): Promise<void> {
    const { network, ways, host, keeper, snapshot } = this.#view
    const path = ways?.[0]?.path
    const own = heldLease(keeper?.state.current)
    const traffic = this.#traffic
    if (!network || !ways || !path || !host || !keeper || !snapshot || own === undefined) return
    const attrs = leaseAttrs(this.#options.nodeId, path, await host.facts(new Map(), 'unused'))
    keeper.setWant({ attrs, network, previous: new Map() })
    const sources = { network, ways, host, own: own.lease, snapshot, ...this.#beyondHost() }
    const memory = { peers: this.#peers, planner: this.#planner }
    const planned = await planAll(sources, memory, { ...this.#options, traffic: traffic ?? this.#undecided })
    const { verdicts } = planned
    const plan = traffic === undefined ? withoutRules(planned.plan, this.#options.subnetFile) : planned.plan
    this.#see({ verdicts, plan })
    this.#needs.conditions.replace('peers', peerConditions(verdicts, plan.skipped))
    this.#needs.conditions.replace('notices', noticeConditions(plan.notices))
    this.#peers.skipped(plan.skipped)
    const generation = this.reconciler.setDesired(plan.desired)
    if (traffic !== undefined) this.#firstGeneration = Math.min(this.#firstGeneration, generation)
    this.#lastGeneration = generation
  }

  #beyondHost() {
    const planned = this.#view.plan?.desired.objects
    return {
      ours: this.#owned().devices,
      originals: originalsOf(this.#needs.state.journal.entries),
      storeAddresses: this.#storeAddresses.current,
      isPlanned: (key: string) => planned?.has(key) === true,
    }
  }

  /** What is ours in the kernel, or is going to be. */
  #owned(): OwnershipScope {
    const { entries } = this.#needs.state.journal
    const configuration = this.#config.changes.current
    return configuration === undefined ? scopeOf(entries) : scopeWith(footprintOf(configuration), entries)
  }

  /** For a while: a program that hangs must not hold up the next plan. */
  async #settle(signal: AbortSignal): Promise<void> {
    const until = this.#needs.clock.now() + LONGEST_SETTLING_MS
    const isSettled = () => (this.reconciler.status.current?.generation ?? 0) >= this.#lastGeneration
    while (!isSettled() && !signal.aborted && this.#needs.clock.now() < until) await this.#settling.until(until)
    // Else the reconciler's status has told of it: whoever hears of a plan any sooner takes time from it.
    if (!isSettled()) this.#changed()
  }

  async #releaseHeld(stop: AbortSignal): Promise<void> {
    const { clock } = this.#needs
    for await (const _ of this.changes.watch(stop)) {
      const release = this.#peers.nextRelease()
      if (release === undefined) continue
      await clock.sleep(Math.max(0, release - clock.now()), stop).catch(() => {})
      this.#touch()
    }
  }

  #onEvents(events: readonly KernelEvent[], host: HostView): void {
    try {
      this.reconciler.onEvents(events)
      const { devices, networks } = this.#owned()
      const interests = {
        networks: networks.map(({ network }) => network),
        leases: this.#view.snapshot?.leases ?? NO_LEASES,
        target: this.#options.wish.ifaceCanReach,
      }
      host.onEvents(this.#routeEvents.concerning(events, interests), devices)
    } catch (cause) {
      // Thrown at the monitor it would end the hearing of events.
      this.#needs.lifecycle.fault('kernel events', cause)
      this.reconciler.invalidate('all', 'an event was not digested')
    }
  }

  #overlay(): readonly Cidr[] | undefined {
    const { keeper, verdicts } = this.#view
    const own = heldLease(keeper?.state.current)
    if (own === undefined || verdicts === undefined) return undefined
    return [own.lease, ...verdicts.planned.values()].flatMap(subnetsOf)
  }

  #watchReconciler(): void {
    let first = true
    this.#needs.lifecycle.run('reconciler status', async (stop) => {
      for await (const status of this.reconciler.status.watch(stop)) {
        const { generation, failures } = status
        this.#settling.ring()
        const missing = first ? missingRequirement(failures) : undefined
        if (missing !== undefined) throw missing
        first &&= generation < this.#firstGeneration
        this.#needs.conditions.replace('kernel', kernelConditions(status))
        this.#changed()
      }
    })
  }

  #follow<T>(source: Source<T>, take: (value: T) => void): void {
    this.#needs.lifecycle.run(source.name, async (stop) => {
      for await (const value of source.watch(stop)) {
        take(value)
        this.#touch()
      }
    })
  }

  #touch(): void {
    this.#count += 1
    this.#dirty.set(this.#count)
  }

  #see(more: AgentView): void {
    this.#view = { ...this.#view, ...more }
  }

  #changed(): void {
    this.#count += 1
    this.changes.set(this.#count)
  }
}
