import type { UdpPeer, UdpProxy } from '../../kernel/objects.ts'
import { compare } from '../../kernel/objects.ts'
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
 * The proxy and its peers as two kinds of objects over one engine. The engine alone starts workers: while none carries packets the proxy
 * is not in the dump, and creating it is refused with why.
 */
export class ProxyTables implements BackendTables {
  readonly tables: readonly ObjectTable[]
  readonly #ports: Ports
  readonly #makeEngine: MakeEngine
  readonly #peers = new Map<string, UdpPeer>()
  #onChange = () => {}
  #running: Running | undefined
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
      dump: async () => (this.#running?.engine.state.at === 'running' ? [this.#running.proxy] : []),
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
    return this.#running === undefined ? this.#before : addCounts(this.#before, countsOf(this.#running.engine))
  }

  async stop(): Promise<void> {
    const { engine } = this.#running ?? {}
    this.#before = this.counts()
    this.#running = undefined
    await engine?.stop()
  }

  // All at once: the engine takes a whole table, between two packets.
  #applyPeers(ops: readonly Op<UdpPeer>[]): readonly OpResult[] {
    for (const { verb, object } of ops) {
      if (verb === 'remove') this.#peers.delete(object.subnet)
      else this.#peers.set(object.subnet, object)
    }
    if (this.#running !== undefined) this.#running.engine.replaceTable(this.#tableOf(this.#running.proxy))
    return ops.map(() => ({ ok: true }))
  }

  async #applyProxy(op: Op<UdpProxy>): Promise<OpError | undefined> {
    const running = this.#running
    const isSame = running?.proxy.device === op.object.device
    switch (op.verb) {
      case 'remove':
        if (!isSame) return { code: 'ENOENT', message: 'the udp proxy does not run' }
        await this.stop()
        return undefined
      case 'update':
      case 'create':
      case 'recreate':
        if (isSame && compare(running.proxy, op.object) !== 'recreate') {
          this.#running = { ...running, proxy: op.object }
          running.engine.replaceTable(this.#tableOf(op.object))
          return this.#stateError(running.engine.state, op.object)
        }
        await this.stop()
        return await this.#start(op.object)
    }
  }

  async #start(proxy: UdpProxy): Promise<OpError | undefined> {
    const { clock, log, random } = this.#ports
    const { device, local, port } = proxy
    // What it says before it is ours is the answer to this very call.
    const onState = () => {
      if (this.#running?.engine === engine) this.#onChange()
    }
    const engine = this.#makeEngine(
      { clock, log, random, table: this.#tableOf(proxy), onState },
      { device, local, port },
    )
    await engine.start()
    this.#running = { proxy, engine }
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

  #tableOf({ own }: UdpProxy): ProxyTable {
    return { own, peers: [...this.#peers.values()] }
  }
}

function resultOf(error: OpError | undefined): OpResult {
  return error === undefined ? { ok: true } : { ok: false, error }
}
