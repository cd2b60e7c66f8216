import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Route } from '../../kernel/objects.ts'
import type { Cidr, IpAddr } from '../../lib/address.ts'
import { Latest } from '../../lib/latest.ts'
import type { ConfigText } from '../../subnet/types.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { FakeLeaseTable } from '../fakes/lease-store.ts'
import { send } from './fabric.ts'
import { type Damage, STRANGE_LEASES, type Step } from './history.ts'
import { UPLINK } from './host.ts'
import { SimulatedNode } from './node.ts'

const STRANGERS: readonly Cidr[] = STRANGE_LEASES.map(([id]) => id.replace('-', '/') as Cidr)
const STATIC_PROTOCOL = 4
const OUR_PROTOCOL = 102
/** Between two looks at who reaches whom while time passes. */
const LOOK_MS = 100
/** Renewals, audits and what else comes slowly have happened by then. */
const REST_MS = 180_000

/** Nodes, a store and a virtual clock; runs one history and says what was broken on the way and at rest. */
export class Simulation {
  readonly #clock = new VirtualClock()
  readonly #table = new FakeLeaseTable({ clock: this.#clock })
  readonly #config = new Latest<ConfigText>('configuration')
  readonly #folder = mkdtempSync(join(tmpdir(), 'flanneld-simulation-'))
  readonly #nodes: readonly SimulatedNode[]
  /** Pairs that reached each other and to which nothing has happened since that may part them: `from to`. */
  readonly #connected = new Set<string>()
  /** Places of nodes to which something has happened that may part them from others until all is at rest. */
  readonly #disturbed = new Set<string>()
  #foreign: readonly { readonly node: SimulatedNode; readonly route: Route }[] = []
  #addresses = 100

  constructor({ nodes, backend, seed }: { readonly nodes: number; readonly backend: string; readonly seed: number }) {
    const text = JSON.stringify({ Network: '10.64.0.0/12', Backend: { Type: backend } })
    this.#config.set({ text, revision: '1', origin: 'the simulation' })
    let state = seed * 2 + 1
    const random = () => {
      state = (state * 48_271) % 2_147_483_647
      return state / 2_147_483_647
    }
    const world = { clock: this.#clock, table: this.#table, config: this.#config, random, folder: this.#folder }
    this.#nodes = Array.from({ length: nodes }, (_, place) => {
      return new SimulatedNode(world, { number: place + 1, address: `192.0.2.${place + 1}` as IpAddr })
    })
  }

  async run(history: readonly Step[]): Promise<void> {
    try {
      for (const step of history) {
        await this.#do(step)
        await this.#pass(1)
      }
      await this.#rest()
    } finally {
      for (const node of this.#nodes) node.kill()
      rmSync(this.#folder, { recursive: true, force: true })
    }
  }

  async #do(step: Step): Promise<void> {
    if (step.do === 'wait') return await this.#pass(step.ms)
    if (step.do === 'strange lease') return this.#putStrangeLease(step.lease)
    const node = this.#node(step.node)
    switch (step.do) {
      case 'start':
        return node.start()
      case 'kill':
        return node.kill()
      case 'stop':
        return await node.stop()
      case 'damage':
        this.#disturb(node)
        return this.#damage(node, step.what)
      case 'move':
        this.#disturb(node)
        for (let time = 1; time <= step.times; time += 1) {
          await this.#move(node, step.afterMs)
          await this.#pass(step.pauseMs)
        }
        return
      case 'floating address':
        return node.host.addAddress(this.#newAddress(), 32)
      case 'wide prefix':
        return node.host.addVpn()
      case 'connection':
        Object.assign(node.connection, { lagMs: step.lagMs, delayMs: step.delayMs })
        return
      case 'cut':
      case 'heal':
        node.connection.cut = step.do === 'cut'
        return
      case 'kernel refuses':
        node.host.kernel.fault = ({ index }) => (index % step.oneOf === 0 ? { code: 'EBUSY' } : undefined)
        return
      case 'lease deleted':
        // While somebody looks for a subnet it may become theirs, and then stays lost.
        if (this.#nodes.some(({ subnet }) => subnet === undefined)) return
        this.#disturb(node)
        return this.#table.delete(node.subnet?.replace('/', '-') ?? '')
      case 'foreign route':
        return this.#putForeignRoute(node, this.#node(step.peer))
    }
  }

  /** Lets time pass and looks again and again whether everybody who could be reached still can be. */
  async #pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= LOOK_MS) {
      await this.#clock.advance(Math.min(left, LOOK_MS))
      for (const node of this.#nodes) assert.deepEqual(node.faults, [], 'a daemon ended')
      for (const [from, to] of this.#pairs()) this.#look(from, to)
    }
  }

  #look(from: SimulatedNode, to: SimulatedNode): void {
    const pair = `${this.#nodes.indexOf(from)} ${this.#nodes.indexOf(to)}`
    const lost = this.#lost(from, to)
    if (lost === undefined) {
      if (!pair.split(' ').some((place) => this.#disturbed.has(place))) this.#connected.add(pair)
    } else if (this.#connected.has(pair)) assert.fail(`at ${this.#clock.now()} ms ${pair} lost its way: ${lost}`)
  }

  /** Why a packet to the other node's containers does not arrive there; undefined: it does. */
  #lost(from: SimulatedNode, to: SimulatedNode): string | undefined {
    if (to.subnet === undefined) return 'no subnet'
    const fate = send(
      from.host,
      to.subnet,
      this.#nodes.map(({ host }) => host),
    )
    if ('lost' in fate) return fate.lost
    return fate.host === to.host ? undefined : 'it arrives at another host'
  }

  async #rest(): Promise<void> {
    for (const { connection, host } of this.#nodes) {
      Object.assign(connection, { lagMs: 0, delayMs: 1, cut: false })
      host.kernel.fault = () => undefined
    }
    for (const node of this.#nodes) node.start()
    await this.#pass(1)
    await this.#clock.advance(REST_MS)
    this.#assertAtRest()
  }

  #assertAtRest(): void {
    const subnets = this.#nodes.map(({ subnet }) => subnet)
    for (const [place, node] of this.#nodes.entries()) {
      assert.deepEqual(node.faults, [], `node ${place} ended`)
      assert.deepEqual(node.notReady, [], `node ${place} is not ready`)
    }
    assert.equal(new Set(subnets).size, subnets.length, `a subnet is used twice: ${subnets}`)
    for (const [from, to] of this.#pairs()) {
      if (this.#isBlocked(from, to)) continue
      const lost = this.#lost(from, to)
      assert.equal(lost, undefined, `${this.#nodes.indexOf(from)} does not reach ${this.#nodes.indexOf(to)}: ${lost}`)
    }
    this.#assertNothingElse(subnets)
    for (const { node, route } of this.#foreign) {
      const key = `route ${route.dst} metric ${route.metric}`
      assert.deepEqual(node.host.kernel.get(key), route, `${key} of somebody else was changed`)
    }
  }

  /** Of ours there is nothing in a kernel but what leads to the other nodes. */
  #assertNothingElse(subnets: readonly (Cidr | undefined)[]): void {
    for (const node of this.#nodes) {
      const ours = node.host.kernel.all('route').flatMap((route) => {
        return route.kind === 'route' && route.protocol === OUR_PROTOCOL ? [route.dst] : []
      })
      const peers = [...subnets.filter((subnet) => subnet !== node.subnet), ...STRANGERS]
      for (const dst of ours) assert.ok(peers.includes(dst), `the route to ${dst} leads nowhere`)
      for (const kind of ['neighbour', 'fdb'] as const)
        assert.ok(node.host.kernel.all(kind).length <= peers.length, `stale entries of kind ${kind}`)
    }
  }

  #damage({ host: { kernel } }: SimulatedNode, what: Damage): void {
    if (what === 'device') kernel.delete('link flannel.1')
    else if (what === 'device down') kernel.changeDevice('flannel.1', { up: false })
    else if (what === 'address') {
      for (const one of kernel.all('address'))
        if (one.kind === 'address' && one.device === 'flannel.1')
          kernel.delete(`address flannel.1 ${one.address}/${one.length}`)
    } else {
      const kind = ({ routes: 'route', neighbours: 'neighbour', fdb: 'fdb' } as const)[what]
      for (const one of kernel.all(kind)) {
        const isOurs =
          one.kind === 'route' ? one.protocol === OUR_PROTOCOL : 'device' in one && one.device === 'flannel.1'
        if (isOurs) kernel.change({ verb: 'remove', object: one })
      }
    }
  }

  async #move(node: SimulatedNode, afterMs: number): Promise<void> {
    const { host } = node
    // The kernel takes all routes along.
    this.#foreign = this.#foreign.filter((foreign) => foreign.node !== node)
    host.removeAddresses()
    await this.#pass(afterMs)
    host.addAddress(this.#newAddress())
  }

  #newAddress(): IpAddr {
    this.#addresses += 1
    return `192.0.2.${this.#addresses}` as IpAddr
  }

  #putStrangeLease(number: number): void {
    const [id = '', value = ''] = STRANGE_LEASES[number] ?? []
    // Whoever is just looking for a subnet may come second, and then the older lease of its address counts.
    if (this.#nodes.some(({ running, subnet }) => running && subnet === undefined)) return
    if (this.#nodes.some(({ subnet }) => subnet?.replace('/', '-') === id)) return
    this.#table.put(id, value.replace('{ADDRESS}', this.#nodes[0]?.host.addresses[0] ?? ''))
  }

  #putForeignRoute(node: SimulatedNode, peer: SimulatedNode): void {
    const dst = node === peer ? undefined : peer.subnet
    if (dst === undefined || node.host.kernel.get(`route ${dst} metric 0`) !== undefined) return
    const route: Route = {
      kind: 'route',
      family: 4,
      dst,
      metric: 0,
      type: 'unicast',
      device: UPLINK,
      via: '192.0.2.254' as IpAddr,
      protocol: STATIC_PROTOCOL,
    }
    node.host.kernel.put(route)
    this.#foreign = [...this.#foreign, { node, route }]
  }

  #isBlocked(from: SimulatedNode, to: SimulatedNode): boolean {
    return this.#foreign.some(({ node, route }) => node === from && route.dst === to.subnet)
  }

  #disturb(node: SimulatedNode): void {
    const place = String(this.#nodes.indexOf(node))
    for (const pair of this.#connected) if (pair.split(' ').includes(place)) this.#connected.delete(pair)
    this.#disturbed.add(place)
  }

  *#pairs(): Generator<readonly [SimulatedNode, SimulatedNode]> {
    for (const from of this.#nodes) for (const to of this.#nodes) if (from !== to) yield [from, to]
  }

  #node(place: number): SimulatedNode {
    const node = this.#nodes[place]
    if (node === undefined) throw new RangeError(`there is no node ${place}`)
    return node
  }
}
