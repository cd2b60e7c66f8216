import { setMaxListeners } from 'node:events'
import type { NeighbourState } from '../../kernel/host.ts'
import type { NeighbourListener } from '../../kernel/monitor.ts'
import type { IpAddr, MacAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { type SimulatedHost, UPLINK } from './host.ts'
import { type Answering, SimulatedProbes } from './probes.ts'

/** An answer comes at once, else the kernel gives up after three tries. */
const ANSWER_MS = 1
const GIVE_UP_MS = 3_000
const neverAborted = new AbortController().signal
setMaxListeners(0, neverAborted)

/** The link that all hosts are on: whose hardware address an address has, as ARP and ND find out. */
export class Neighbourhood {
  readonly #clock: Clock
  readonly #hosts: () => readonly SimulatedHost[]
  readonly #states = new Map<SimulatedHost, Map<IpAddr, NeighbourState>>()
  readonly #answering: Answering = new Map()
  readonly #listeners = new Map<SimulatedHost, Set<NeighbourListener>>()

  constructor(needs: { clock: Clock; hosts: () => readonly SimulatedHost[] }) {
    this.#clock = needs.clock
    this.#hosts = needs.hosts
  }

  /** Of one process on the host. */
  probesOf(host: SimulatedHost): SimulatedProbes {
    return new SimulatedProbes({ clock: this.#clock, answering: this.#answering, host, hosts: this.#hosts })
  }

  /** As one host sees it. */
  of(host: SimulatedHost) {
    const listeners = this.#listeners.get(host) ?? new Set()
    this.#listeners.set(host, listeners)
    return {
      ask: (device: string, address: IpAddr) => void this.#ask(host, device, address),
      states: (device: string) =>
        [...(this.#states.get(host)?.values() ?? [])].filter((state) => state.device === device),
      hear: (listener: NeighbourListener) => {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
    }
  }

  async #ask(host: SimulatedHost, device: string, address: IpAddr): Promise<void> {
    await this.#clock.sleep(this.#has(host, address) ? ANSWER_MS : GIVE_UP_MS, neverAborted)
    const isThere = this.#has(host, address)
    const mac = isThere ? ('02:00:00:00:00:01' as MacAddr) : undefined
    const state: NeighbourState = { device, address, state: isThere ? 'answered' : 'failed', mac }
    const known = this.#states.get(host) ?? new Map<IpAddr, NeighbourState>()
    this.#states.set(host, known.set(address, state))
    for (const listener of this.#listeners.get(host) ?? []) listener(state)
  }

  /** Whether somebody on the link answers. */
  #has(asker: SimulatedHost, address: IpAddr): boolean {
    const isUp = (host: SimulatedHost) => {
      const link = host.kernel.get(`link ${UPLINK}`)
      return link?.kind === 'link' && link.up
    }
    return isUp(asker) && this.#hosts().some((host) => host.addresses.includes(address) && isUp(host))
  }
}
