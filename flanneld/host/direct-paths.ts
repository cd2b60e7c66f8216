import type { Reach } from '../../backends/backend.ts'
import type { HostKernel, NeighbourState } from '../../kernel/host.ts'
import type { IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { Latest } from '../../lib/latest.ts'
import { untilFirst } from '../../lib/signals.ts'

/** What this file needs of the host: route lookups and the kernel's own neighbour resolution. */
export type NeighbourPort = Pick<HostKernel, 'routesTo' | 'askNeighbour' | 'neighbourStates'>

interface Target {
  onLink: string | undefined
  answered: boolean
  failedSince: number | undefined
  asked: number
  nextAsk: number
  openUntil: number
  firstAsked: number | undefined
}

/** More at once overflow the neighbour table (gc_thresh3, 1,024 by default). */
const MOST_OPEN = 64
const ASK_TIMEOUT_MS = 3_000
const MOST_BACKOFF_MS = 60_000
/** A direct path is left only after its neighbour stayed FAILED for so long. */
const FAILED_MS = 30_000
const SILENT_MS = 10_000

/**
 * How the host reaches its peers' public addresses: the route lookup, and whether a neighbour reply was seen.
 * A reply proves nothing behind proxy ARP.
 */
export class DirectPaths {
  /** Counts changes of what `resolve` would answer. */
  readonly changes = new Latest<number>('direct paths')
  readonly #port: NeighbourPort
  readonly #clock: Clock
  readonly #targets = new Map<IpAddr, Target>()
  readonly #known = new Set<string>()
  #stale = true
  #count = 0
  #wake = new AbortController()

  constructor(needs: { port: NeighbourPort; clock: Clock }) {
    this.#port = needs.port
    this.#clock = needs.clock
  }

  /** The host's routes or addresses have changed: everything is looked up again at the next `resolve`. */
  routesChanged(): void {
    this.#stale = true
  }

  /** Looks up what is new (all of it after `routesChanged`) and forgets what is no longer asked for. */
  async resolve(addresses: ReadonlySet<IpAddr>, probe: boolean): Promise<ReadonlyMap<IpAddr, Reach>> {
    for (const address of this.#targets.keys()) if (!addresses.has(address)) this.#targets.delete(address)
    const wanted = [...addresses].filter((address) => this.#stale || !this.#targets.has(address))
    this.#stale = false
    const routes = await this.#port.routesTo(wanted)
    wanted.forEach((address, index) => {
      const route = routes[index]
      this.#lookedUp(address, route?.gateway === undefined ? route?.device : undefined)
    })
    if (probe) await this.#readNeighbours()
    if (wanted.length > 0) this.#wake.abort()
    return new Map([...this.#targets].map(([address, { onLink, answered }]) => [address, { onLink, answered }]))
  }

  onNeighbourState(event: Pick<NeighbourState, 'device' | 'address' | 'state'>): void {
    const target = this.#targets.get(event.address)
    if (target === undefined || target.onLink !== event.device) return
    if (event.state === 'answered') {
      target.failedSince = undefined
      target.asked = 0
      target.openUntil = 0
      if (target.answered) return
      target.answered = true
      this.#wake.abort()
      this.#changed()
    } else if (event.state === 'failed') {
      target.failedSince ??= this.#clock.now()
      this.#wake.abort()
    }
  }

  /** Addresses that are on-link and have not answered for ten seconds. */
  silent(): readonly IpAddr[] {
    const before = this.#clock.now() - SILENT_MS
    return [...this.#targets]
      .filter(
        ([, target]) => target.onLink !== undefined && !target.answered && (target.firstAsked ?? Infinity) <= before,
      )
      .map(([address]) => address)
  }

  /** Asks for replies that are missing, a few at a time, until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const wait = this.#step()
      const wake = this.#wake
      await untilFirst([signal, wake.signal], (stop) => this.#clock.sleep(wait, stop)).catch(() => {})
      if (wake.signal.aborted) this.#wake = new AbortController()
    }
  }

  /** Returns the milliseconds until there is something to do again. */
  #step(): number {
    const now = this.#clock.now()
    const due: [IpAddr, Target][] = []
    let open = 0
    let next = MOST_BACKOFF_MS
    for (const [address, target] of this.#targets) {
      if (target.onLink === undefined || (target.answered && target.failedSince === undefined)) continue
      if (this.#failedForLong(target, now)) continue
      if (target.nextAsk <= now) due.push([address, target])
      else next = Math.min(next, target.nextAsk - now)
      if (target.openUntil > now) open += 1
      if (target.answered && target.failedSince !== undefined)
        next = Math.min(next, target.failedSince + FAILED_MS - now)
    }
    for (const [address, target] of due.slice(0, Math.max(0, MOST_OPEN - open))) this.#ask(address, target, now)
    return due.length > 0 ? Math.min(next, ASK_TIMEOUT_MS) : next
  }

  #failedForLong(target: Target, now: number): boolean {
    if (!target.answered || target.failedSince === undefined || now - target.failedSince < FAILED_MS) return false
    target.answered = false
    target.firstAsked = target.failedSince
    this.#changed()
    return true
  }

  #ask(address: IpAddr, target: Target, now: number): void {
    target.firstAsked ??= now
    target.nextAsk = now + Math.min(MOST_BACKOFF_MS, ASK_TIMEOUT_MS * 2 ** Math.min(target.asked, 10))
    target.openUntil = now + ASK_TIMEOUT_MS
    target.asked += 1
    if (target.answered) target.nextAsk = Math.min(target.nextAsk, now + FAILED_MS / 3)
    this.#port.askNeighbour(target.onLink as string, address)
  }

  #lookedUp(address: IpAddr, onLink: string | undefined): void {
    const before = this.#targets.get(address)
    if (before !== undefined && before.onLink === onLink) return
    this.#targets.set(address, {
      onLink,
      answered: false,
      failedSince: undefined,
      asked: 0,
      nextAsk: 0,
      openUntil: 0,
      firstAsked: undefined,
    })
    if (onLink !== undefined) this.#known.delete(onLink)
  }

  // What the kernel has resolved already counts as seen: a restart must not send direct traffic through the tunnel.
  async #readNeighbours(): Promise<void> {
    const devices = new Set([...this.#targets.values()].map((target) => target.onLink))
    for (const device of devices) {
      if (device === undefined || this.#known.has(device)) continue
      this.#known.add(device)
      for (const state of await this.#port.neighbourStates(device)) {
        const target = this.#targets.get(state.address)
        if (target?.onLink === device && state.state === 'answered') target.answered = true
      }
    }
  }

  #changed(): void {
    this.#count += 1
    this.changes.set(this.#count)
  }
}
