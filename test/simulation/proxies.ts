import { EngineFailure, type EngineOptions, type EngineState, type ProxyTable } from '../../backends/udp/engine.ts'
import { ProxyMemory } from '../../backends/udp/proxy-memory.ts'
import { type MakeEngine, type ProxyEngine, ProxyTables } from '../../backends/udp/proxy-tables.ts'
import type { ObjectTable } from '../../kernel/table.ts'
import type { IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { silentLogger } from '../../lib/log.ts'
import type { Cluster } from './node.ts'

/** Of a host: what carries packets in its processes, in the place of the workers of `UdpEngine`. */
export class SimulatedProxies {
  readonly #engines = new Set<SimulatedEngine>()
  readonly #needs: Pick<EngineNeeds, 'hasAddress' | 'onChange'>

  constructor(needs: Pick<EngineNeeds, 'hasAddress' | 'onChange'>) {
    this.#needs = needs
  }

  /** Tables of a process, which are the product's own; `end` is called when it is dead. */
  of({ clock, random }: Cluster): { tables: readonly ObjectTable[]; end: () => void } {
    const engines = new Set<SimulatedEngine>()
    const make: MakeEngine = ({ table, onState }, options) => {
      const engine = new SimulatedEngine({ ...this.#needs, clock, table, options, onState })
      this.#engines.add(engine)
      engines.add(engine)
      return engine
    }
    const holder = () => 'somebody'
    const ports = { clock, random, log: silentLogger, portHolder: holder, tunHolder: holder }
    const end = () => {
      for (const engine of engines) void engine.stop()
    }
    return { tables: new ProxyTables(ports, make).tables, end }
  }

  /** What reads and writes this device; undefined: nobody does now. */
  at(device: string): SimulatedEngine | undefined {
    return this.#running.find(({ options }) => options.device === device)
  }

  /** Who receives what is sent there. */
  listeningAt(address: IpAddr, port: number): SimulatedEngine | undefined {
    return this.#running.find(({ options }) => options.local === address && options.port === port)
  }

  /** All workers of this host end, and carry packets again after so long. */
  die(ms: number): void {
    for (const engine of this.#running) engine.die(ms)
  }

  get #running(): readonly SimulatedEngine[] {
    return [...this.#engines].filter(({ state }) => state.at === 'running')
  }
}

interface EngineNeeds {
  readonly clock: Clock
  readonly table: ProxyTable
  readonly options: EngineOptions
  readonly onState: (state: EngineState) => void
  /** Whether the host has the address now. */
  readonly hasAddress: (address: IpAddr) => boolean
  /** Packets may go other ways than before. */
  readonly onChange: () => void
}

class SimulatedEngine implements ProxyEngine {
  state: EngineState = { at: 'stopped' }
  deaths = 0
  table: ProxyTable
  readonly options: EngineOptions
  readonly #needs: EngineNeeds
  readonly #stop = new AbortController()

  constructor(needs: EngineNeeds) {
    this.#needs = needs
    this.options = needs.options
    this.table = needs.table
  }

  async start(): Promise<void> {
    this.#launch()
  }

  replaceTable(table: ProxyTable): void {
    this.table = table
    this.#needs.onChange()
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    this.#set({ at: 'stopped' })
  }

  counters(): ReturnType<ProxyEngine['counters']> {
    return new ProxyMemory().read()
  }

  die(ms: number): void {
    this.deaths += 1
    this.#set({ at: 'failed', error: new Error('the worker ended') })
    this.#again(ms)
  }

  #launch(): void {
    if (this.#needs.hasAddress(this.options.local)) {
      this.#set({ at: 'running' })
      return
    }
    this.#set({ at: 'failed', error: new EngineFailure({ type: 'failed', what: 'socket', errno: -EADDRNOTAVAIL }) })
    this.#again(LATER_MS)
  }

  #again(ms: number): void {
    this.#needs.clock.sleep(ms, this.#stop.signal).then(
      () => this.#launch(),
      () => {},
    )
  }

  #set(state: EngineState): void {
    this.state = state
    this.#needs.onChange()
    this.#needs.onState(state)
  }
}

const EADDRNOTAVAIL = 99
/** Until the next try of a worker that could not start. */
const LATER_MS = 1_000
