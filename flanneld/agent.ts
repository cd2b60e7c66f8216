import type { Prepared } from '../backends/backend.ts'
import type { Failure } from '../kernel/desired.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { type DesiredObject, keyOf } from '../kernel/objects.ts'
import { Reconciler } from '../kernel/reconciler.ts'
import type { KernelEvent } from '../kernel/table.ts'
import type { Cidr, Family, IpAddr } from '../lib/address.ts'
import type { Clock } from '../lib/clock.ts'
import { firstOf, Latest, type Source } from '../lib/latest.ts'
import type { Lifecycle } from '../lib/lifecycle.ts'
import type { Logger } from '../lib/log.ts'
import type { NetworkConfig } from '../subnet/network-config.ts'
import type { ConfigText, LeaseSnapshot, LeaseStore, StoreHealth } from '../subnet/types.ts'
import { ConfigWatch, checkBackend } from './config-watch.ts'
import type { InterfaceWish } from './host/external-interface.ts'
import type { HostView } from './host/host-view.ts'
import type { TrafficWish } from './host/traffic-choice.ts'
import { heldLease, leaseAttrs } from './leases/lease-attrs.ts'
import { LeaseKeeper } from './leases/lease-keeper.ts'
import { type PeerVerdicts, PeerView } from './leases/peer-view.ts'
import { activate, footprintOf, planAll, prepareBackend, previousLease, readHost } from './node-setup.ts'
import type { ActiveBackend, NodePlan } from './planner.ts'
import { watchFile } from './state/file-watch.ts'
import type { StateDir } from './state/state-dir.ts'
import type { Check } from './status/health.ts'
import {
  datastoreConditions,
  hostConditions,
  kernelConditions,
  leaseConditions,
  missingRequirement,
  noticeConditions,
  peerConditions,
  readinessChecks,
} from './status/node-conditions.ts'
import type { ConditionSet } from './status/status.ts'
import { startTraffic } from './traffic.ts'
import type { TrafficOptions } from './traffic-rules.ts'

export interface AgentNeeds {
  readonly kernel: Kernel
  readonly configSource: Source<ConfigText>
  /** Of the connection that configuration and leases share. */
  readonly storeHealth: Source<StoreHealth>
  /** The store needs the network to choose a subnet, so it is made when that is known. */
  readonly openStore: (network: NetworkConfig) => LeaseStore
  readonly state: StateDir
  /** Says what will be used, to this state directory and to other instances; throws ConfigError naming one that uses it. */
  readonly record: StateDir['record']
  readonly conditions: ConditionSet
  readonly lifecycle: Lifecycle
  readonly clock: Clock
  readonly log: Logger
  readonly randomBytes: (count: number) => Uint8Array
  /** Hears the duration of every pass of the reconciler, in seconds. */
  readonly onPass: (seconds: number) => void
}

export interface AgentOptions {
  readonly nodeId: string
  readonly wish: InterfaceWish
  readonly subnetFile: string
  /** Subnets that the last run wrote to subnet.env. */
  readonly previousSubnets: ReadonlyMap<Family, Cidr>
  readonly ipMasq: boolean
  readonly traffic: TrafficWish
  /** How often rules are read that nobody tells of when they change. */
  readonly resyncMs: number
  readonly blackholeRoute: boolean
  readonly protectedRanges: readonly Cidr[]
  readonly renewMarginMs: number
  /** How long peers that vanished together are kept. */
  readonly holdMs: number
}

/** What the agent has in hands now; every part appears when it is known. */
export interface AgentView {
  readonly network?: NetworkConfig
  readonly active?: ActiveBackend
  readonly host?: HostView
  readonly keeper?: LeaseKeeper
  readonly snapshot?: LeaseSnapshot
  readonly store?: StoreHealth
  readonly verdicts?: PeerVerdicts
  readonly plan?: NodePlan
}

/**
 * Joins the parts: configuration, host, leases -> planner -> reconciler. Every change of any input plans everything anew;
 * the reconciler applies the difference.
 */
export class Agent {
  /** Counts changes of what `view` and `notReady` say. */
  readonly changes = new Latest<number>('agent')
  readonly reconciler: Reconciler
  readonly #needs: AgentNeeds
  readonly #options: AgentOptions
  readonly #dirty = new Latest<number>('inputs of the plan')
  readonly #peers: PeerView
  #view: AgentView = {}
  #firstGeneration = Number.POSITIVE_INFINITY
  #lastGeneration = 0
  #count = 0

  constructor(needs: AgentNeeds, options: AgentOptions) {
    this.#needs = needs
    this.#options = options
    this.#peers = new PeerView(needs, options)
    this.reconciler = new Reconciler({ ...needs, tables: needs.kernel.tables })
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
    const { kernel, lifecycle, conditions, clock, randomBytes } = this.#needs
    this.#followHealth()
    const { network, active } = await this.#configure(signal)
    const host = await readHost({ kernel: kernel.host, clock }, this.#options.wish, network)
    this.#sayInterface(host)
    this.#see({ network, host })
    kernel.monitor.start(
      (events) => this.#onEvents(events),
      (event) => host.paths.onNeighbourState(event),
    )
    const traffic = await startTraffic({ ...this.#needs, reconciler: this.reconciler }, this.#options, network)
    const store = this.#needs.openStore(network)
    lifecycle.run('lease store', (stop) => store.run(stop))
    const snapshot = await firstOf(store.watch(signal), signal)
    const previous = previousLease(snapshot, this.#options.nodeId, host)?.primary
    const prepared = await prepareBackend(active, { network, previous, randomBytes }, host)
    const backend = { ...active, identity: prepared.identity }
    const keeper = await this.#keepLease(store, prepared, host)
    this.#see({ active: backend, keeper, snapshot })
    lifecycle.run('host facts', (stop) => host.run(stop, (fault) => conditions.replace('host', hostConditions(fault))))
    lifecycle.run('direct paths', (stop) => host.paths.run(stop))
    lifecycle.run('subnet file', (stop) => watchFile(this.#fileWatchNeeds(), this.#options.subnetFile, stop))
    this.#follow(host.changes, () => {})
    this.#follow(host.paths.changes, () => {})
    this.#follow(store, (latest) => this.#see({ snapshot: latest }))
    this.#follow(keeper.state, (state) => conditions.replace('lease', leaseConditions(state)))
    this.#watchReconciler()
    lifecycle.run('held peers', (stop) => this.#releaseHeld(stop))
    for await (const _ of this.#dirty.watch(signal)) await this.#replan(prepared, traffic)
  }

  async #configure(signal: AbortSignal): Promise<{ network: NetworkConfig; active: ActiveBackend }> {
    const { configSource, conditions, log, lifecycle, record } = this.#needs
    const watch = new ConfigWatch({ source: configSource, conditions, check: checkBackend })
    lifecycle.run('configuration', (stop) => watch.run(stop))
    const { network, origin } = await watch.first(signal)
    const active = activate(network, (warning) => log.warn('configuration has an unknown key', { warning }))
    const networks = [...network.families.values()].map((part) => part.network).join(' ')
    log.info('network configuration read', { origin, backend: active.backend.type, networks })
    // Written before anything is made: a crash in between must not leave an orphan.
    await record(footprintOf(active, network))
    return { network, active }
  }

  #sayInterface(host: HostView): void {
    const { name, mtu, publicIps, reason } = host.external
    const publicAddress = [...publicIps.values()].join(' ')
    this.#needs.log.info('external interface chosen', { name, mtu, publicAddress, why: reason })
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

  async #keepLease(store: LeaseStore, prepared: Prepared<unknown>, host: HostView): Promise<LeaseKeeper> {
    const { clock, log, lifecycle } = this.#needs
    const facts = await host.facts(new Set(), 'unused')
    const keeper = new LeaseKeeper(
      { store, clock, log },
      {
        want: leaseAttrs(this.#options.nodeId, prepared.path, facts),
        hints: {
          previous: this.#options.previousSubnets,
          ownsAddress: (address) => ownsAddress(host, address),
        },
        renewMarginMs: this.#options.renewMarginMs,
      },
    )
    lifecycle.run('own lease', (stop) => keeper.run(stop))
    return keeper
  }

  async #replan(prepared: Prepared<unknown>, traffic: TrafficOptions): Promise<void> {
    const { network, active, host, keeper, snapshot } = this.#view
    const own = heldLease(keeper?.state.current)
    if (!network || !active || !host || !keeper || !snapshot || own === undefined) return
    keeper.setAttrs(leaseAttrs(this.#options.nodeId, prepared.path, await host.facts(new Set(), 'unused')))
    const { footprint: scope, sysctls } = this.#needs.state
    const sources = { network, active, host, own: own.lease, snapshot, scope, borrowed: sysctls.originals }
    const { verdicts, plan } = await planAll(sources, this.#peers, { ...this.#options, traffic })
    this.#see({ verdicts, plan })
    this.#needs.conditions.replace('peers', peerConditions(verdicts))
    this.#needs.conditions.replace('notices', noticeConditions(plan.notices))
    this.#peers.skipped(plan.skipped)
    await sysctls.borrow(plan.desired.objects.values())
    const generation = this.reconciler.setDesired(plan.desired)
    this.#firstGeneration = Math.min(this.#firstGeneration, generation)
    this.#lastGeneration = generation
    this.#changed()
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

  #onEvents(events: readonly KernelEvent[]): void {
    this.reconciler.onEvents(events)
    this.#view.host?.onEvents(events, this.#needs.state.footprint.devices)
  }

  #watchReconciler(): void {
    this.#needs.lifecycle.run('reconciler status', async (stop) => {
      let first = true
      for await (const { generation, failures } of this.reconciler.status.watch(stop)) {
        const missing = first ? missingRequirement(failures) : undefined
        if (missing !== undefined) throw missing
        first &&= generation < this.#firstGeneration
        this.#needs.conditions.replace('kernel', kernelConditions(failures))
        await this.#giveBack(generation, failures)
        this.#changed()
      }
    })
  }

  /** Sysctls whose own value is back in place are the operator's again. */
  async #giveBack(generation: number, failures: ReadonlyMap<string, Failure>): Promise<void> {
    const { plan } = this.#view
    const { sysctls } = this.#needs.state
    if (plan === undefined || sysctls.originals.size === 0 || generation < this.#lastGeneration) return
    const isBack = (object: DesiredObject) =>
      object.kind === 'sysctl' && !object.borrowed && !failures.has(keyOf(object))
    await sysctls.returned([...plan.desired.objects.values()].filter(isBack))
  }

  #fileWatchNeeds() {
    const { clock } = this.#needs
    return { clock, onChange: () => this.reconciler.invalidate(['file'], 'the directory of subnet.env has changed') }
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

function ownsAddress(host: HostView, address: IpAddr): boolean {
  return host.interfaces.some(({ addresses }) => addresses.some((own) => own.address === address))
}
