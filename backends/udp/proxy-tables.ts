import type { UdpPeer, UdpProxy } from '../../kernel/objects.ts'
import { compare, keyOf } from '../../kernel/objects.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../../kernel/table.ts'
import { messageOf } from '../../lib/errors.ts'
import { aborted } from '../../lib/signals.ts'
import type { BackendTables, DataPlaneCounts, Ports } from '../backend.ts'
import { EngineFailure, type EngineOptions, type EngineState, type ProxyTable, UdpEngine } from './engine.ts'
import { addCounts, countsOf } from './proxy-counts.ts'

/** What the tables use of a UdpEngine. */
export type ProxyEngine = Pick<UdpEngine, 'state' | 'deaths' | 'counters' | 'start' | 'replaceTable' | 'stop'>

export type MakeEngine = (
  needs: Pick<Ports, 'clock' | 'log' | 'random'> & {
    readonly table: ProxyTable
    readonly onState: (state: EngineState) => void
  },
  options: EngineOptions,
) => ProxyEngine

interface Running {
  readonly proxy: UdpProxy
  readonly engine: ProxyEngine
}

/**
 * Proxies and their peers as two kinds of objects over an engine each: one, or two while the port changes. An engine alone starts
 * workers: while none carries packets its proxy is not in the dump, and creating it is refused with why.
 */
export class ProxyTables implements BackendTables {
  readonly tables: readonly ObjectTable[]
  readonly #ports: Ports
  readonly #makeEngine: MakeEngine
  readonly #peers = new Map<string, UdpPeer>()
  #onChange = () => {}
  /** By device. */
  readonly #running = new Map<string, Running>()
  /** Of engines that are gone. */
  #before: DataPlaneCounts | undefined

  constructor(ports: Ports, makeEngine: MakeEngine = (needs, options) => new UdpEngine(needs, options)) {
    this.#ports = ports
    this.#makeEngine = makeEngine
    const peers: ObjectTable<UdpPeer> = {
      kind: 'udp-peer',
      dump: async () => [...this.#peers.values()],
      apply: async (ops) => this.#applyPeers(ops),
    }
    const proxy: ObjectTable<UdpProxy> = {
      kind: 'udp-proxy',
      dump: async () =>
        [...this.#running.values()].flatMap(({ proxy, engine }) => (engine.state.at === 'running' ? [proxy] : [])),
      apply: async (ops) => {
        const results: OpResult[] = []
        for (const op of ops) results.push(resultOf(await this.#applyProxy(op)))
        return results
      },
      watch: async (onChange, signal) => {
        this.#onChange = onChange
        await aborted(signal)
        this.#onChange = () => {}
      },
    }
    this.tables = [peers as ObjectTable, proxy as ObjectTable]
  }

  counts(): DataPlaneCounts | undefined {
    let counts = this.#before
    for (const { engine } of this.#running.values()) counts = addCounts(counts, countsOf(engine))
    return counts
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((device) => this.#end(device)))
  }

  async #end(device: string): Promise<void> {
    const running = this.#running.get(device)
    if (running === undefined) return
    this.#before = addCounts(this.#before, countsOf(running.engine))
    this.#running.delete(device)
    await running.engine.stop()
  }

  // All at once: the engine takes a whole table, between two packets.
  #applyPeers(ops: readonly Op<UdpPeer>[]): readonly OpResult[] {
    for (const { verb, object } of ops) {
      if (verb === 'remove') this.#peers.delete(keyOf(object))
      else this.#peers.set(keyOf(object), object)
    }
    const devices = new Set(ops.map(({ object }) => object.device))
    for (const { proxy, engine } of this.#running.values())
      if (devices.has(proxy.device)) engine.replaceTable(this.#tableOf(proxy))
    return ops.map(() => ({ ok: true }))
  }

  async #applyProxy(op: Op<UdpProxy>): Promise<OpError | undefined> {
    const { device } = op.object
    const running = this.#running.get(device)
    switch (op.verb) {
      case 'remove':
        if (running === undefined) return { code: 'ENOENT', message: 'the udp proxy does not run' }
        await this.#end(device)
        return undefined
      case 'update':
      case 'create':
      case 'recreate':
        if (running !== undefined && compare(running.proxy, op.object) !== 'recreate') {
          this.#running.set(device, { ...running, proxy: op.object })
          running.engine.replaceTable(this.#tableOf(op.object))
          return this.#stateError(running.engine.state, op.object)
        }
        await this.#end(device)
        return await this.#start(op.object)
    }
  }

  async #start(proxy: UdpProxy): Promise<OpError | undefined> {
    const { clock, log, random } = this.#ports
    const { device, local, port } = proxy
    // What it says before it is ours is the answer to this very call.
    const onState = () => {
      if (this.#running.get(device)?.engine === engine) this.#onChange()
    }
    const engine = this.#makeEngine(
      { clock, log, random, table: this.#tableOf(proxy), onState },
      { device, local, port },
    )
    await engine.start()
    this.#running.set(device, { proxy, engine })
    return this.#stateError(engine.state, proxy)
  }

  #stateError(state: EngineState, proxy: UdpProxy): OpError | undefined {
    if (state.at === 'running') return undefined
    if (state.at === 'failed') return this.#errorOf(state.error, proxy)
    return { code: 'EAGAIN', message: `the udp proxy is ${state.at}` }
  }

  #errorOf(cause: unknown, { device, local, port }: UdpProxy): OpError {
    const code = (cause instanceof EngineFailure ? cause.code : undefined) ?? 'EIO'
    if (code === 'EADDRINUSE') {
      return { code, message: `UDP port ${port} of ${local} is in use by ${this.#ports.portHolder(port)}` }
    }
    if (code === 'EBUSY') return { code, message: `${this.#ports.tunHolder(device)} holds the device ${device}` }
    return { code, message: messageOf(cause) }
  }

  #tableOf({ device, own }: UdpProxy): ProxyTable {
    return { own, peers: [...this.#peers.values()].filter((peer) => peer.device === device) }
  }
}

function resultOf(error: OpError | undefined): OpResult {
  return error === undefined ? { ok: true } : { ok: false, error }
}
