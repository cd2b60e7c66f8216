import { setMaxListeners } from 'node:events'
import { join } from 'node:path'
import { NoInterfaceError } from '../../flanneld/host/external-interface.ts'
import { Agent } from '../../flanneld/node/agent.ts'
import type { AgentNeeds } from '../../flanneld/node/agent-needs.ts'
import type { WantedWays } from '../../flanneld/node/ways.ts'
import { claimFootprint } from '../../flanneld/state/claim-footprint.ts'
import { DiskWrites } from '../../flanneld/state/disk-writes.ts'
import { parseScope } from '../../flanneld/state/journal-files.ts'
import { StateDir } from '../../flanneld/state/state-dir.ts'
import { ConditionSet } from '../../flanneld/status/status.ts'
import type { OwnershipScope } from '../../kernel/desired.ts'
import { NO_ENTRIES, scopeOf } from '../../kernel/reconciler/journal.ts'
import { type Cidr, cidrOf, type Family, parseInterfaceCidr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { Latest } from '../../lib/latest.ts'
import { Lifecycle } from '../../lib/lifecycle.ts'
import { silentLogger } from '../../lib/log.ts'
import { aborted } from '../../lib/signals.ts'
import type { ConfigText, StoreHealth } from '../../subnet/types.ts'
import { type Connection, FakeLeaseStore, goodConnection } from '../fakes/lease-store.ts'
import type { FakeLeaseTable } from '../fakes/lease-table.ts'
import { SimulatedDisk } from './disk.ts'
import type { SimulatedHost } from './host.ts'
import { hostReader } from './host-reader.ts'
import type { Neighbourhood } from './neighbourhood.ts'
import { SimulatedProcess } from './process.ts'

/** One etcd prefix, with all nodes of one network. */
export interface Cluster {
  readonly clock: Clock
  readonly table: FakeLeaseTable
  readonly config: Latest<ConfigText>
  /** From 0 to below 1. */
  readonly random: () => number
  /** Where the directory of subnet.env is watched; the file itself is in the kernel of the simulation. */
  readonly folder: string
  /** Stands in the names of chains and tables; empty of the default instance. */
  readonly instance: string
  readonly guard: boolean
  readonly masquerade: boolean
  readonly neighbourhood: Neighbourhood
  /** Absent: that of the configuration. */
  readonly wantedWays?: WantedWays
}

interface Daemon {
  readonly process: SimulatedProcess
  readonly conditions: ConditionSet
  /** Until it is there, the daemon reads its state directory. */
  agent?: Agent
  readonly end: () => Promise<void>
}

/** Before its end a lease is renewed. */
const RENEW_MARGIN_MS = 60_000
/** For so long peers that vanished together are kept. */
export const HOLD_MS = 60_000

/** A host's place in a network: a daemon that may run, be stopped or be killed, and what outlives it. The one place that knows how an Agent is made. */
export class SimulatedNode {
  readonly host: SimulatedHost
  readonly cluster: Cluster
  readonly disk = new SimulatedDisk()
  readonly connection: Connection = { ...goodConnection(), delayMs: 1 }
  /** Who made what in the kernel bears this name. */
  readonly maker: string
  /** What ended a process although nobody had asked for it. */
  readonly faults: unknown[] = []
  readonly #claims: Map<string, OwnershipScope>
  #daemon: Daemon | undefined
  #told: { readonly text: string; readonly subnets: ReadonlyMap<Family, Cidr> } = { text: '', subnets: new Map() }
  startedAt = 0

  /** `claims`: of the instances that run on this host. */
  constructor(cluster: Cluster, { host, claims }: { host: SimulatedHost; claims: Map<string, OwnershipScope> }) {
    this.cluster = cluster
    this.host = host
    this.#claims = claims
    this.maker = `instance '${cluster.instance}'`
  }

  get running(): boolean {
    return this.#daemon !== undefined
  }

  get conditions(): readonly string[] {
    return this.#daemon?.conditions.list().map(({ text }) => text) ?? []
  }

  get notReady(): readonly string[] {
    return this.#daemon?.agent?.notReady() ?? ['it does not run']
  }

  /** What a start would find on record of itself. */
  get nodeId(): string | undefined {
    return this.disk.text('node-id')?.trim()
  }

  get recorded(): OwnershipScope {
    const text = this.disk.text('footprint.json')
    return text === undefined ? scopeOf(NO_ENTRIES) : parseScope(text)
  }

  /** Settings of the host that are changed for a while, with the host's own values. */
  get borrowed(): Readonly<Record<string, string>> {
    return JSON.parse(this.disk.text('sysctls.json') ?? '{}')
  }

  /** The subnets that the daemon has told the containers: what stands in subnet.env. */
  get subnets(): ReadonlyMap<Family, Cidr> {
    const file = this.host.kernel.get(`file ${this.#subnetFile}`)
    const text = file?.kind === 'file' ? file.content : ''
    if (text !== this.#told.text) this.#told = { text, subnets: subnetsIn(text) }
    return this.#told.subnets
  }

  start(): void {
    if (this.#daemon !== undefined) return
    const { clock } = this.cluster
    const stop = new AbortController()
    setMaxListeners(0, stop.signal)
    const lifecycle = new Lifecycle({
      clock,
      onFault: (task, cause) => {
        this.#ended(task, cause)
        return 'ended'
      },
    })
    const conditions = new ConditionSet({ clock })
    const heard: (() => void)[] = []
    const process = new SimulatedProcess({
      clock,
      onDeath: () => {
        for (const end of heard) end()
        stop.abort(new Error('killed'))
        void lifecycle.stop()
        void daemon.agent?.reconciler.stop()
        this.#claims.delete(this.maker)
        if (this.#daemon === daemon) this.#daemon = undefined
      },
    })
    const run = async () => {
      const needs = await this.#needs({ process, lifecycle, conditions, heard })
      const agent = new Agent(needs, this.#options(await needs.state.nodeId()))
      daemon.agent = agent
      await agent.run(stop.signal)
    }
    const ended = run().catch((cause: unknown) => {
      if (!stop.signal.aborted) this.#ended('agent', cause)
    })
    const daemon: Daemon = {
      process,
      conditions,
      end: async () => {
        stop.abort(new Error('stopped'))
        await Promise.all([ended, lifecycle.stop(), daemon.agent?.reconciler.stop()])
        process.kill()
      },
    }
    this.#daemon = daemon
    this.startedAt = clock.now()
  }

  /** The operator's order. */
  finishChange(): string | undefined {
    return this.#daemon?.agent?.finishChange()
  }

  /** The operator's `flanneld switch`. */
  useConfiguration(): void {
    this.#daemon?.agent?.useWaitingConfiguration()
  }

  /** As by kill -9: nothing more is done, wherever the process is. */
  kill(): void {
    this.#daemon?.process.kill()
  }

  /** As `kill`, at one of the next calls of the kernel, the disk or the store. */
  killAt(call: number, isAnswerLost: boolean): void {
    this.#daemon?.process.killAt(call, isAnswerLost)
  }

  /** A stop that hangs is killed. */
  async stop(): Promise<void> {
    const daemon = this.#daemon
    this.#daemon = undefined
    if (daemon === undefined) return
    let hangs = true
    void daemon.end().finally(() => {
      hangs = false
    })
    for (let turn = 0; turn < 100 && hangs; turn += 1) await new Promise((resolve) => setImmediate(resolve))
    daemon.process.kill()
  }

  get #subnetFile(): string {
    return `${this.cluster.folder}/${this.cluster.instance}subnet.env`
  }

  /** What may end a process; a service manager starts it again. */
  #ended(task: string, cause: unknown): void {
    if (cause instanceof NoInterfaceError || cause instanceof ConfigError) this.kill()
    else this.faults.push([task, cause])
  }

  async #needs(parts: {
    process: SimulatedProcess
    lifecycle: Lifecycle
    conditions: ConditionSet
    heard: (() => void)[]
  }): Promise<AgentNeeds> {
    const { clock, table, config, random, neighbourhood } = this.cluster
    const { host, connection } = this
    const { process, lifecycle, conditions } = parts
    const randomBytes = (count: number) => Uint8Array.from({ length: count }, () => Math.floor(random() * 256))
    const writes = new DiskWrites({ conditions, clock, isStarting: () => false })
    lifecycle.run('disk writes', (stop) => writes.run(stop))
    const openFiles = async (path: string) => this.disk.portOf(process, path)
    const bootMark = async () => host.bootMark
    const needs = { log: silentLogger, writes, randomBytes, bootMark, uid: 0, openFiles }
    const state = await StateDir.open(needs, join('/var/lib/flannel', this.cluster.instance))
    const nodeId = await state.nodeId()
    const first = hearsOwnFirst(nodeId) ? { nodeId } : {}
    const make = async (footprint: OwnershipScope) => {
      this.#claims.set(this.maker, footprint)
      return [...this.#claims].flatMap(([maker, other]) => (maker === this.maker ? [] : [other]))
    }
    const neighbours = neighbourhood.of(host)
    const probes = neighbourhood.probesOf(host)
    const proxies = host.proxies.of(this.cluster)
    parts.heard.push(() => probes.close(), proxies.end)
    const inKernel = host.kernel.tablesOf(this.maker).filter(({ kind }) => kind !== 'udp-proxy' && kind !== 'udp-peer')
    type Start = AgentNeeds['kernel']['monitor']['start']
    const monitor: { start: Start } = {
      start: (onEvents, onNeighbourState) => {
        parts.heard.push(host.hear(onEvents))
        if (onNeighbourState !== undefined) parts.heard.push(neighbours.hear(onNeighbourState))
      },
    }
    return {
      kernel: {
        tables: process.tables([...inKernel, ...proxies.tables], () => host.kernelDelayMs),
        host: hostReader(host, process, neighbours),
        sockets: { countAt: async () => 0 },
        monitor,
        rules: {
          sets: {
            chooseIptables: () => process.call(() => ({ world: 'nft', reason: '', mixed: false, randomFully: true })),
            legacyChanged: () => process.call(() => false),
          },
          obstacles: { read: async () => [] },
          connections: { count: async () => 0 },
          monitor: { watch: (_kind: unknown, _onChange: unknown, stop: AbortSignal) => aborted(stop) },
        },
        close: () => {},
      } as unknown as AgentNeeds['kernel'],
      configSource: config,
      storeHealth: new Latest<StoreHealth>('simulated health'),
      store: new FakeLeaseStore({ table, random, call: (work) => process.call(work) }, { connection, ...first }),
      reconnectStore: async () => {},
      identity: { kind: 'etcd', prefix: '/', marks: ['simulation'] },
      moment: () => ({ wall: clock.wall(), bootId: 'simulated', uptimeMs: clock.now() }),
      state,
      claim: (footprint) => claimFootprint({ claim: { make }, journal: state.journal }, footprint),
      conditions,
      lifecycle,
      clock,
      log: silentLogger,
      randomBytes,
      random,
      probes,
      onPass: () => {},
      onFlannelsRoute: () => {},
      onPassFault: (cause) => this.faults.push(['a pass', cause]),
    }
  }

  #options(nodeId: string): ConstructorParameters<typeof Agent>[1] {
    const { instance, guard, masquerade, wantedWays } = this.cluster
    return {
      ...(wantedWays && { wantedWays }),
      nodeId,
      interfaceOptions: {
        iface: [],
        ifaceRegex: [],
        ifaceCanReach: undefined,
        publicIp: undefined,
        publicIpv6: undefined,
      },
      subnetFile: this.#subnetFile,
      cni: undefined,
      previousSubnets: this.subnets,
      ipMasq: masquerade,
      traffic: { masquerade, randomFully: false, exempt: [], forward: false, instance },
      guard: guard ? { mode: 'on', allow: [], instance } : undefined,
      resyncMs: 5_000,
      blackholeRoute: false,
      storeEndpoints: [],
      protectedRanges: [],
      renewMarginMs: RENEW_MARGIN_MS,
      drainMs: 600_000,
      holdMs: HOLD_MS,
    }
  }
}

/** Half of the nodes hear of their own lease first, as from Kubernetes. */
export function hearsOwnFirst(nodeId: string): boolean {
  return Number.parseInt(nodeId[0] ?? '', 16) % 2 === 0
}

/** Of subnet.env. */
function subnetsIn(text: string): ReadonlyMap<Family, Cidr> {
  const subnets = new Map<Family, Cidr>()
  for (const [family, name] of [
    [4, 'FLANNEL_SUBNET'],
    [6, 'FLANNEL_IPV6_SUBNET'],
  ] as const) {
    const first = parseInterfaceCidr(new RegExp(`^${name}=(.*)$`, 'm').exec(text)?.[1] ?? '')
    if (first !== undefined) subnets.set(family, cidrOf(first.address, first.length))
  }
  return subnets
}
