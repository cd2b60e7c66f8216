import assert from 'node:assert/strict'
import type { Link, Route } from '../../kernel/objects.ts'
import { type Cidr, contains, type Family, familyOf, type IpAddr } from '../../lib/address.ts'
import { NO_PROCESS } from './fabric.ts'
import type { SimulatedHost } from './host.ts'
import { masqueradeFault } from './masquerade.ts'
import type { SimulatedNode } from './node.ts'
import { overlayDevices } from './scenario.ts'
import type { World } from './world.ts'

/** Between two looks while time passes. */
const LOOK_MS = 100
/** What the host itself says is heard and acted on within this time, also by a node that has just started. */
const HEARD_MS = 5_000
/** For so long a node may say that it is ready although it is not any more. */
const NOTICED_MS = 10_000
/** So long after the kernel has answered again what it refused is asked anew: until then the node judges by what it read last. */
const ASKED_AGAIN_MS = 30_000

/** Lets time pass and looks again and again whether all is as it must be at any time, whatever has happened. */
export class Invariants {
  readonly #world: World
  /** Pairs that reached each other and to which nothing has happened since that may part them. */
  readonly #connected = new Set<string>()
  /** Hosts to which something has happened that may part them from others until all is at rest. */
  readonly #disturbed = new Set<SimulatedHost>()
  /** By when the nodes on a host have asked its kernel again after it refused them something. */
  readonly #askedAgainAt = new Map<SimulatedHost, number>()
  /** Since when a route is there that must not be. */
  readonly #harmful = new Map<string, number>()
  /** When it was last so that a node may say it is ready. */
  readonly #trueAt = new Map<SimulatedNode, number>()

  /** The version of the world at the last look. */
  #seen = -1
  /** What harms on each host, of the version that was looked at. */
  readonly #harms = new Map<SimulatedHost, { readonly version: number; readonly routes: readonly Harm[] }>()

  constructor(world: World) {
    this.#world = world
  }

  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= LOOK_MS) {
      await this.#world.clock.advance(Math.min(left, LOOK_MS))
      this.look()
    }
  }

  /** What happens to this host now may part it from others. */
  disturb(host: SimulatedHost): void {
    this.#disturbed.add(host)
    const places = this.#world.nodesOn(host).map((node) => String(this.#world.placeOf(node)))
    for (const pair of this.#connected)
      if (pair.split(' ').some((place) => places.includes(place))) this.#connected.delete(pair)
  }

  look(): void {
    this.#endLeases()
    for (const node of this.#world.nodes) {
      assert.deepEqual(node.faults, [], `the daemon of node ${this.#world.placeOf(node)} ended`)
      this.#lookWhetherReady(node)
    }
    for (const host of this.#world.hosts) {
      assert.deepEqual(host.kernel.makers.offences, [], 'an object of somebody else was to be changed')
      this.#lookForHarm(host)
    }
    // Nearly always nothing has happened since the last look.
    const { version } = this.#world
    if (version === this.#seen) return
    this.#seen = version
    for (const [from, to, family] of this.#world.pairs()) this.#lookForPath(from, to, family)
  }

  /** Whoever was away for too long has lost its lease, and may have others on its way. */
  #endLeases(): void {
    for (const { table } of this.#world.clusters) {
      for (const holder of table.endExpired())
        for (const node of this.#world.nodes) if (node.nodeId === holder) this.disturb(node.host)
    }
  }

  #lookForPath(from: SimulatedNode, to: SimulatedNode, family: Family): void {
    const pair = `${this.#world.placeOf(from)} ${this.#world.placeOf(to)} IPv${family}`
    if (!this.#world.isSteady(family)) {
      this.#connected.delete(pair)
      return
    }
    const lost = this.#world.lost(from, to, family)
    if (lost === undefined) {
      if (!this.#disturbed.has(from.host) && !this.#disturbed.has(to.host)) this.#connected.add(pair)
    } else if (lost === NO_PROCESS) this.#connected.delete(pair)
    else if (this.#connected.has(pair)) assert.fail(`${this.#now} ${pair} lost its way: ${lost}`)
  }

  /** A route of ours that takes away what works is gone as soon as the daemon has seen what it takes away. */
  #lookForHarm(host: SimulatedHost): void {
    const now = this.#world.clock.now()
    const before = this.#harms.get(host)
    const { version } = host.kernel
    const routes = before?.version === version ? before.routes : harmsOn(host)
    this.#harms.set(host, { version, routes })
    if (refuses(host)) this.#askedAgainAt.set(host, now + ASKED_AGAIN_MS)
    for (const { route, maker, why } of routes) {
      const node = this.#world.nodesOn(host).find((one) => one.maker === maker)
      if (node === undefined) continue
      const key = `${this.#world.placeOf(node)} ${route.dst} ${route.metric}`
      const heardAt = Math.max(this.#harmful.get(key) ?? now, node.startedAt, this.#askedAgainAt.get(host) ?? 0)
      const since = node.running && !isImpaired(node) ? heardAt : now
      this.#harmful.set(key, since)
      assert.ok(now - since <= HEARD_MS, `${this.#now} the route of node ${key} ${why}`)
    }
    for (const key of this.#harmful.keys()) {
      const node = this.#world.node(Number(key.split(' ')[0]))
      if (node.host !== host) continue
      const isStill = routes.some(
        ({ route, maker }) => maker === node.maker && key.endsWith(` ${route.dst} ${route.metric}`),
      )
      if (!isStill) this.#harmful.delete(key)
    }
  }

  #lookWhetherReady(node: SimulatedNode): void {
    const now = this.#world.clock.now()
    const why = node.running && !isImpaired(node) ? whyNotReady(node, this.#world) : undefined
    if (refuses(node.host)) this.#trueAt.set(node, now + ASKED_AGAIN_MS)
    else if (why === undefined) this.#trueAt.set(node, Math.max(now, this.#trueAt.get(node) ?? 0))
    if (node.notReady.length > 0) return
    const lied = now - Math.max(this.#trueAt.get(node) ?? 0, node.startedAt)
    assert.ok(lied <= NOTICED_MS, `${this.#now} node ${this.#world.placeOf(node)} says that it is ready: ${why}`)
  }

  get #now(): string {
    return `at ${this.#world.clock.now()} ms`
  }
}

/** A port of it does not work as it should now, so it may know less. */
export function isImpaired({ connection, host }: SimulatedNode): boolean {
  const { lagMs, cut, failOneOf, delayMs } = connection
  return lagMs > 0 || delayMs > 100 || cut || failOneOf > 0 || refuses(host) || host.kernelDelayMs > 0
}

function refuses(host: SimulatedHost): boolean {
  return host.kernel.fault({ index: 0, kind: 'route', verb: 'dump' }) !== undefined
}

/** A route of ours that must not be. */
interface Harm {
  readonly route: Route
  readonly maker: string
  readonly why: string
}

/** Source: the harm rule. */
function harmsOn(host: SimulatedHost): readonly Harm[] {
  const { makers } = host.kernel
  const isOurs = (one: Route | Link) => makers.of(one).startsWith('instance')
  const devices = host.links().filter((link) => !isOurs(link) && link.driver.type !== 'vxlan')
  const own = devices.flatMap(({ name }) => host.addressesOn(name))
  const others = host.routes().filter((one) => !isOurs(one))
  const gateways = others.flatMap(({ via }) => via ?? [])
  return host.routes().flatMap((route) => {
    if (!isOurs(route)) return []
    const covers = (address: IpAddr) => familyOf(address) === route.family && contains(route.dst, address)
    const [address, gateway] = [own.find(covers), gateways.find(covers)]
    const why =
      (address && `takes the host's own address ${address} away`) ??
      (gateway && `takes the gateway ${gateway} away`) ??
      (others.some(({ dst }) => dst === route.dst) ? 'stands beside that of another program' : undefined)
    return why === undefined ? [] : [{ route, maker: makers.of(route), why }]
  })
}

/** What a ready node has, seen from outside; undefined: all of it. */
export function whyNotReady(node: SimulatedNode, world: World): string | undefined {
  const { table, instance } = node.cluster
  const lease = [...table.snapshot().leases.values()].find((one) => one.node === node.nodeId)
  if (node.nodeId !== undefined && lease === undefined) return 'the store has no lease of its'
  if (node.subnets.size === 0) return 'subnet.env names no subnet'
  for (const [family, subnet] of node.subnets) {
    if (!world.isSteady(family)) continue
    if (lease !== undefined && lease.families.get(family)?.subnet !== subnet) return `${subnet} is not leased`
    const devices = overlayDevices(world.scenario, world.clusters.indexOf(node.cluster), family)
    const device = devices.find((name) => node.host.kernel.get(`link ${name}`) !== undefined) ?? devices[0]
    if (device === undefined || world.mayHaveOthers) continue
    const link = node.host.kernel.get(`link ${device}`)
    if (link?.kind !== 'link' || !link.up) return `${device} is not up (${instance})`
    if (link.driver.type === 'tun' && node.host.proxies.at(device) === undefined) return `nothing carries for ${device}`
    const keeps = masqueradeFault(node, family, world)
    if (keeps !== undefined) return keeps
    const isFirst = (address: IpAddr) => (subnet as Cidr).startsWith(`${address}/`)
    if (!node.host.addressesOn(device).some(isFirst)) return `${device} has not the first address of ${subnet}`
  }
  return undefined
}
