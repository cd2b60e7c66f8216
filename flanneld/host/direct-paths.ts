import type { Reach } from '../../backends/backend.ts'
import type { HostKernel, NeighbourState } from '../../kernel/host.ts'
import type { IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { Latest } from '../../lib/latest.ts'
import { changesBetween, PersistentMap } from '../../lib/persistent-map.ts'
import { untilFirst } from '../../lib/signals.ts'
import type { Lease } from '../../subnet/types.ts'

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
  /** Those that are to be asked, or watched because they have failed: few of them, and of the others there are thousands. */
  readonly #pending = new Map<IpAddr, Target>()
  /** How many of the peers have an address: more than one while a difference is taken in, or where they say nothing of a family. */
  readonly #holders = new Map<IpAddr, number>()
  #peers: ReadonlyMap<string, Lease> = new Map()
  /** Devices on whose link targets are or were; of those in `known` the kernel's own neighbours were read. */
  readonly #links = new Set<string>()
  readonly #known = new Set<string>()
  /** What `resolve` has answered last, and the addresses of which something else is to be told since. */
  #reach = PersistentMap.from<Reach>([])
  readonly #news = new Set<IpAddr>()
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

  /** The public addresses of these peers. Looks up what is new (all of it after `routesChanged`); shares the rest with the last answer. */
  async resolve(peers: ReadonlyMap<string, Lease>, probe: boolean): Promise<PersistentMap<Reach>> {
    const fresh = this.#follow(peers)
    const wanted = this.#stale ? [...this.#holders.keys()] : fresh
    this.#stale = false
    if (wanted.length > 0) {
      const routes = await this.#port.routesTo(wanted)
      wanted.forEach((address, index) => {
        const route = routes[index]
        this.#lookedUp(address, route?.gateway === undefined ? route?.device : undefined)
      })
    }
    if (probe) await this.#readNeighbours()
    if (wanted.length > 0 && this.#pending.size > 0) this.#wake.abort()
    return this.#tell()
  }

  onNeighbourState(event: Pick<NeighbourState, 'device' | 'address' | 'state'>): void {
    const target = this.#targets.get(event.address)
    if (target === undefined || target.onLink !== event.device) return
    if (event.state === 'answered') {
      target.failedSince = undefined
      target.asked = 0
      target.openUntil = 0
      this.#pending.delete(event.address)
      if (target.answered) return
      target.answered = true
      this.#wake.abort()
      this.#changed(event.address)
    } else if (event.state === 'failed') {
      target.failedSince ??= this.#clock.now()
      this.#pending.set(event.address, target)
      this.#wake.abort()
    }
  }

  /** Addresses that are on-link and have not answered for ten seconds. */
  silent(): readonly IpAddr[] {
    const before = this.#clock.now() - SILENT_MS
    return [...this.#pending]
      .filter(([, target]) => !target.answered && (target.firstAsked ?? Infinity) <= before)
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
    for (const [address, target] of this.#pending) {
      if (this.#failedForLong(address, target, now)) continue
      if (target.nextAsk <= now) due.push([address, target])
      else next = Math.min(next, target.nextAsk - now)
      if (target.openUntil > now) open += 1
      if (target.answered && target.failedSince !== undefined)
        next = Math.min(next, target.failedSince + FAILED_MS - now)
    }
    for (const [address, target] of due.slice(0, Math.max(0, MOST_OPEN - open))) this.#ask(address, target, now)
    return due.length > 0 ? Math.min(next, ASK_TIMEOUT_MS) : next
  }

  #failedForLong(address: IpAddr, target: Target, now: number): boolean {
    if (!target.answered || target.failedSince === undefined || now - target.failedSince < FAILED_MS) return false
    target.answered = false
    target.firstAsked = target.failedSince
    this.#changed(address)
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

  /** Forgets addresses that nobody has any more; returns those that nobody had before. */
  #follow(peers: ReadonlyMap<string, Lease>): readonly IpAddr[] {
    const touched = new Set<IpAddr>()
    const count = (lease: Lease | undefined, more: 1 | -1) => {
      for (const { publicIp } of lease?.families.values() ?? []) {
        touched.add(publicIp)
        this.#holders.set(publicIp, (this.#holders.get(publicIp) ?? 0) + more)
      }
    }
    for (const { before, after } of changesBetween(this.#peers, peers)) {
      count(before, -1)
      count(after, 1)
    }
    this.#peers = peers
    for (const address of touched) {
      if (this.#holders.get(address) !== 0) continue
      this.#holders.delete(address)
      this.#pending.delete(address)
      if (this.#targets.delete(address)) this.#news.add(address)
    }
    return [...touched].filter((address) => this.#holders.has(address) && !this.#targets.has(address))
  }

  #tell(): PersistentMap<Reach> {
    const gone: IpAddr[] = []
    const told: [IpAddr, Reach][] = []
    for (const address of this.#news) {
      const target = this.#targets.get(address)
      if (target === undefined) gone.push(address)
      else told.push([address, { onLink: target.onLink, answered: target.answered }])
    }
    this.#news.clear()
    this.#reach = this.#reach.patched(gone, told)
    return this.#reach
  }

  #lookedUp(address: IpAddr, onLink: string | undefined): void {
    const before = this.#targets.get(address)
    if (before !== undefined && before.onLink === onLink) return
    const target: Target = {
      onLink,
      answered: false,
      failedSince: undefined,
      asked: 0,
      nextAsk: 0,
      openUntil: 0,
      firstAsked: undefined,
    }
    this.#targets.set(address, target)
    this.#pending.delete(address)
    this.#news.add(address)
    if (onLink === undefined) return
    this.#pending.set(address, target)
    this.#links.add(onLink)
    this.#known.delete(onLink)
  }

  // What the kernel has resolved already counts as seen: a restart must not send direct traffic through the tunnel.
  async #readNeighbours(): Promise<void> {
    for (const device of this.#links) {
      if (this.#known.has(device)) continue
      this.#known.add(device)
      for (const state of await this.#port.neighbourStates(device)) {
        const target = this.#targets.get(state.address)
        if (target?.onLink !== device || target.answered || state.state !== 'answered') continue
        target.answered = true
        target.failedSince = undefined
        this.#pending.delete(state.address)
        this.#news.add(state.address)
      }
    }
  }

  #changed(address: IpAddr): void {
    this.#news.add(address)
    this.#count += 1
    this.changes.set(this.#count)
  }
}
