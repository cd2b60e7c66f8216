import { NoInterfaceError } from '../../flanneld/host/external-interface.ts'
import { Agent } from '../../flanneld/node/agent.ts'
import type { AgentNeeds } from '../../flanneld/node/agent-needs.ts'
import { type Footprint, NO_FOOTPRINT } from '../../flanneld/state/footprint.ts'
import { OwnFootprint } from '../../flanneld/state/own-footprint.ts'
import { ConditionSet } from '../../flanneld/status/status.ts'
import type { Cidr, IpAddr } from '../../lib/address.ts'
import { Latest } from '../../lib/latest.ts'
import { Lifecycle } from '../../lib/lifecycle.ts'
import { silentLogger } from '../../lib/log.ts'
import type { ConfigText, StoreHealth } from '../../subnet/types.ts'
import type { VirtualClock } from '../fakes/clock.ts'
import type { FakeLeaseTable } from '../fakes/lease-store.ts'
import { SimulatedHost } from './host.ts'
import { ConnectedStore, type Connection, goodConnection } from './store.ts'

export interface World {
  readonly clock: VirtualClock
  readonly table: FakeLeaseTable
  readonly config: Latest<ConfigText>
  /** From 0 to below 1. */
  readonly random: () => number
  /** Where the directory of subnet.env is watched; the file itself is in the kernel of the simulation. */
  readonly folder: string
}

/** What outlives a process: the state directory. */
interface Disk {
  footprint: Footprint
  readonly files: Map<string, string>
}

interface Process {
  readonly agent: Agent
  readonly conditions: ConditionSet
  readonly end: () => Promise<void>
  readonly kill: () => void
}

/** A host with a daemon that may run, be stopped or be killed. */
export class SimulatedNode {
  readonly host: SimulatedHost
  readonly connection: Connection = goodConnection()
  /** What ended a process although nobody had asked for it. */
  readonly faults: unknown[] = []
  readonly #world: World
  readonly #nodeId: string
  readonly #disk: Disk = { footprint: NO_FOOTPRINT, files: new Map() }
  #process: Process | undefined

  constructor(world: World, { number, address }: { number: number; address: IpAddr }) {
    this.#world = world
    this.#nodeId = String(number).repeat(32).slice(0, 32)
    this.host = new SimulatedHost(address)
  }

  get running(): boolean {
    return this.#process !== undefined
  }

  get conditions(): readonly string[] {
    return this.#process?.conditions.list().map(({ text }) => text) ?? []
  }

  get notReady(): readonly string[] {
    return this.#process?.agent.notReady() ?? ['it does not run']
  }

  /** The subnet that the daemon has told the containers: what stands in subnet.env. */
  get subnet(): Cidr | undefined {
    const file = this.host.kernel.all('file')[0]
    const line = file?.kind === 'file' ? /^FLANNEL_SUBNET=(.*)$/m.exec(file.content)?.[1] : undefined
    return line?.replace(/\.1\//, '.0/') as Cidr | undefined
  }

  start(): void {
    if (this.#process !== undefined) return
    const { clock } = this.#world
    const handle = this.host.openProcess()
    const stop = new AbortController()
    const lifecycle = new Lifecycle({
      clock,
      onFault: (task, cause) => {
        this.faults.push([task, cause])
        return 'ended'
      },
    })
    const conditions = new ConditionSet({ clock })
    const agent = new Agent(this.#needs({ tables: handle.tables, lifecycle, conditions }), {
      nodeId: this.#nodeId,
      wish: { iface: [], ifaceRegex: [], ifaceCanReach: undefined, publicIp: undefined, publicIpv6: undefined },
      subnetFile: `${this.#world.folder}/subnet.env`,
      previousSubnets: this.subnet === undefined ? new Map() : new Map([[4, this.subnet]]),
      ipMasq: false,
      traffic: { masquerade: false, randomFully: false, exempt: [], forward: false, instance: '' },
      guard: undefined,
      resyncMs: 5_000,
      blackholeRoute: false,
      storeEndpoints: [],
      protectedRanges: [],
      renewMarginMs: 3_600_000,
      holdMs: 900_000,
    })
    const ended = agent.run(stop.signal).catch((cause: unknown) => {
      if (stop.signal.aborted) return
      // What may end a start; a service manager tries again.
      if (cause instanceof NoInterfaceError) this.kill()
      else this.faults.push(['agent', cause])
    })
    this.#process = {
      agent,
      conditions,
      kill: () => {
        handle.kill()
        stop.abort(new Error('killed'))
        void lifecycle.stop()
        void agent.reconciler.stop()
      },
      end: async () => {
        stop.abort(new Error('stopped'))
        await Promise.all([ended, lifecycle.stop(), agent.reconciler.stop()])
        handle.kill()
      },
    }
  }

  /** As by kill -9: nothing more is done, wherever the process is. */
  kill(): void {
    this.#process?.kill()
    this.#process = undefined
  }

  async stop(): Promise<void> {
    const process = this.#process
    this.#process = undefined
    await process?.end()
  }

  #needs(parts: Pick<AgentNeeds, 'lifecycle' | 'conditions'> & { tables: AgentNeeds['kernel']['tables'] }): AgentNeeds {
    const { clock, table, config, random } = this.#world
    const { host, connection } = this
    const disk = this.#disk
    const kernel = {
      tables: parts.tables,
      host: host.reader(),
      monitor: { start: (listener: Parameters<SimulatedHost['hear']>[0]) => host.hear(listener) },
      rules: { obstacles: { read: async () => [] } },
      fouPorts: { watch: async () => {} },
      close: () => {},
    } as unknown as AgentNeeds['kernel']
    const state = {
      changes: new Latest<number>('simulated disk'),
      files: {
        path: 'the simulated disk',
        read: async (name: string) => disk.files.get(name),
        keep: async (name: string, text: string) => {
          disk.files.set(name, text)
          return true
        },
      },
      get footprint() {
        return disk.footprint
      },
      become: async (footprint: Footprint) => {
        disk.footprint = footprint
      },
      sysctls: { originals: new Map(), borrow: async () => true, returned: async () => {} },
    } as unknown as AgentNeeds['state']
    const footprint = new OwnFootprint({ state, claim: { make: async () => [] }, log: silentLogger })
    return {
      kernel,
      configSource: config,
      storeHealth: new Latest<StoreHealth>('simulated health'),
      store: new ConnectedStore({ table, random, clock }, connection),
      reconnectStore: async () => {},
      state,
      footprint,
      conditions: parts.conditions,
      lifecycle: parts.lifecycle,
      clock,
      log: silentLogger,
      randomBytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(random() * 256)),
      onPass: () => {},
      onPassFault: (cause) => this.faults.push(['a pass', cause]),
    }
  }
}
