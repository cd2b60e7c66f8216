import type { ObjectKind, Route } from '../../kernel/objects.ts'
import { BOOT_PROTOCOL, defaultMetric, keyOf } from '../../kernel/objects.ts'
import { type Cidr, FAMILIES, familyOf, type IpAddr, networkAddress } from '../../lib/address.ts'
import type { Damage, Step } from './history.ts'
import { FLANNEL, type SimulatedHost, UPLINK } from './host.ts'
import type { Invariants } from './invariants.ts'
import type { SimulatedNode } from './node.ts'
import { needsLooseUplink } from './scenario.ts'
import { RACK, STRANGE_LEASES, subnetOf } from './strange-leases.ts'
import type { World } from './world.ts'

const STATIC_PROTOCOL = 4
const OTHERS = 'others'
const VPN_METRIC = 50
/** A worker whose device is gone ends, and the next one begins with the new device. */
const WITHOUT_DEVICE_MS = 50

/** Makes happen what a history says, and what it says takes its time. */
export class Events {
  readonly #world: World
  readonly #invariants: Invariants

  constructor(needs: { world: World; invariants: Invariants }) {
    this.#world = needs.world
    this.#invariants = needs.invariants
  }

  async happen(step: Step): Promise<void> {
    switch (step.do) {
      case 'wait':
        return await this.#invariants.pass(step.ms)
      case 'strange lease':
        return this.#putStrangeLease(step.lease)
      case 'rack':
        return this.#rack(step.what)
      case 'config':
        return this.#world.configure(step.text)
      default:
        return await this.#happenTo(this.#world.node(step.node), step)
    }
  }

  /** On the first host flannel has left a device, routes to nodes that are gone, and one by a gateway. */
  leaveFlannel(): void {
    const host = this.#world.hosts[0]
    const local = host?.addresses.find((address) => familyOf(address) === 4)
    if (host === undefined || local === undefined) return
    const driver = { type: 'vxlan', vni: 1, underlay: UPLINK, port: 8472, learning: false, gbp: false, local } as const
    const device = 'flannel.1'
    const mac = '02:ff:00:00:00:01' as never
    host.kernel.addDevice(device, { mtu: 1450, mac, driver })
    for (const link of host.links()) if (link.name === device) host.kernel.makers.give(link, FLANNEL)
    const address = '10.64.77.0' as IpAddr
    host.put({ kind: 'address', family: 4, device, address, length: 32 }, FLANNEL)
    for (const [dst, via] of [
      ['10.64.5.0/24', '10.64.5.0'],
      ['10.64.6.0/24', '10.64.6.0'],
    ] as const)
      host.put(route(dst as Cidr, { via: via as IpAddr, device, onLink: true, protocol: BOOT_PROTOCOL }), FLANNEL)
    const dst = '10.64.7.0/24' as Cidr
    host.put(route(dst, { via: host.addressOf(4, 200), device: UPLINK, protocol: BOOT_PROTOCOL }), FLANNEL)
  }

  async #happenTo(node: SimulatedNode, step: Extract<Step, { node: number }>): Promise<void> {
    const { host } = node
    switch (step.do) {
      case 'start':
        return node.start()
      case 'kill':
        return node.kill()
      case 'kill at':
        return node.killAt(step.call, step.isAnswerLost)
      case 'stop':
        return await node.stop()
      case 'worker dies':
        return host.proxies.die(step.ms)
      case 'damage':
        this.#invariants.disturb(host)
        return damage(node, step.what)
      case 'move':
        return await this.#move(host, step)
      case 'uplink':
        return await this.#unplug(host, step)
      case 'floating address':
        return host.addAddress(this.#world.newAddress(host, 4), 32)
      case 'wide prefix':
        return host.addVpn()
      case 'connection': {
        const { lagMs, delayMs, failOneOf } = step
        Object.assign(node.connection, { lagMs, delayMs, failOneOf })
        return
      }
      case 'cut':
      case 'heal':
        node.connection.cut = step.do === 'cut'
        return
      case 'kernel refuses':
        host.kernel.fault = ({ index }) => (index % step.oneOf === 0 ? { code: 'EBUSY', done: step.done } : undefined)
        return
      case 'kernel is slow':
        host.kernelDelayMs = step.ms
        return
      case 'disk':
        this.#forgetStrictPaths(host, step)
        // What a start has made for another backend must be on record, as for a change (`World.configure`): decision 0055.
        Object.assign(node.disk, { full: step.full && !this.#world.mayHaveOthers, delayMs: step.delayMs })
        return
      case 'lease deleted':
        return this.#deleteLease(node)
      case 'rack is elsewhere':
        return moveRack(host, step.isElsewhere)
      case 'foreign route':
        return this.#foreignRoutes(node, this.#world.node(step.peer), step)
    }
  }

  // A strict filter that cannot be written down stays strict. A peer that finds its direct path first loses what it sends by it
  // until this one has found it, too.
  #forgetStrictPaths(host: SimulatedHost, { full, delayMs }: Extract<Step, { do: 'disk' }>): void {
    const { scenario } = this.#world
    if (needsLooseUplink(scenario) && scenario.reversePath === '1' && (full || delayMs > 0))
      this.#invariants.disturb(host)
  }

  async #move(host: SimulatedHost, step: Extract<Step, { do: 'move' }>): Promise<void> {
    this.#invariants.disturb(host)
    const families = FAMILIES.filter((family) => host.addresses.some((address) => familyOf(address) === family))
    const first = families.flatMap((family) => host.addresses.find((address) => familyOf(address) === family) ?? [])
    for (let time = 1; time <= step.times; time += 1) {
      for (const family of families) host.removeAddresses(family)
      await this.#invariants.pass(step.afterMs)
      const isBack = step.isBack && time > 1 && time === step.times
      const next = isBack ? first : families.map((family) => this.#world.newAddress(host, family))
      for (const address of next) host.addAddress(address)
      await this.#invariants.pass(step.pauseMs)
    }
  }

  async #unplug(host: SimulatedHost, { how, ms }: Extract<Step, { do: 'uplink' }>): Promise<void> {
    this.#invariants.disturb(host)
    if (how === 'down') host.setUplink(false)
    else host.removeUplink()
    await this.#invariants.pass(ms)
    host.restoreUplink()
  }

  // While somebody looks for a subnet it may become theirs, and then stays lost.
  #deleteLease(node: SimulatedNode): void {
    const { table } = node.cluster
    const lease = [...table.snapshot().leases.values()].find((one) => one.node === node.nodeId)
    if (lease === undefined || this.#isAnyLooking(node)) return
    this.#invariants.disturb(node.host)
    table.delete(lease.id)
  }

  #isAnyLooking({ cluster }: SimulatedNode): boolean {
    return this.#world.nodes.some((node) => node.cluster === cluster && node.subnets.size === 0)
  }

  #putStrangeLease(number: number): void {
    const node = this.#world.node(0)
    // Whoever is just looking for a subnet may come second, and then the older lease of its address counts.
    if (this.#world.nodes.some((one) => one.cluster === node.cluster && one.running && one.subnets.size === 0)) return
    const address = node.host.addresses[0]
    const device = node.host.kernel.get('link flannel.1')
    if (address === undefined) return
    const mac = (device?.kind === 'link' ? device.mac : undefined) ?? '02:bb:00:00:00:ff'
    const lease = STRANGE_LEASES[number]?.({ address, mac, subnets: node.subnets })
    if (lease === undefined || this.#world.nodes.some(({ subnets }) => subnets.get(4) === subnetOf(lease))) return
    node.cluster.table.put(lease.id, lease.value)
  }

  #foreignRoutes(
    { host }: SimulatedNode,
    peer: SimulatedNode,
    { how, isOne }: Extract<Step, { do: 'foreign route' }>,
  ): void {
    if (peer.host === host || host.kernel.get(`link ${UPLINK}`) === undefined) return
    for (const [family, dst] of [...peer.subnets].slice(0, isOne ? 1 : undefined)) {
      const foreign = route(dst, { via: host.addressOf(family, 254), device: UPLINK })
      const there = host.kernel.get(keyOf(foreign))
      const isOthers = there !== undefined && host.kernel.makers.of(there) === OTHERS
      if (how === 'remove' && isOthers) host.kernel.change({ verb: 'remove', object: there })
      if (how === 'remove' || isOthers || (how === 'add' && there !== undefined)) continue
      this.#invariants.disturb(host)
      host.put(foreign, OTHERS)
    }
  }

  #rack(what: 'arrives' | 'leaves'): void {
    const { table } = this.#world.node(0).cluster
    for (const { id, value } of RACK) {
      if (what === 'arrives') table.put(id, value)
      else table.delete(id)
    }
  }
}

function damage({ host, maker }: SimulatedNode, what: Damage): void {
  const { kernel } = host
  const links = host.links().filter((link) => kernel.makers.of(link) === maker)
  if (what === 'device') {
    for (const { name } of links) kernel.delete(`link ${name}`)
    host.proxies.die(WITHOUT_DEVICE_MS)
  } else if (what === 'rules') {
    for (const one of host.madeBy(maker))
      if (one.kind === 'iptables-chain' || one.kind === 'nft-table') kernel.change({ verb: 'remove', object: one })
  } else if (what === 'device down') for (const { name } of links) kernel.changeDevice(name, { up: false })
  else if (what === 'flannel') replaceByFlannel(host, maker)
  else {
    const kinds = { address: 'address', routes: 'route', neighbours: 'neighbour', fdb: 'fdb' } as const
    const kind: ObjectKind = kinds[what]
    for (const one of host.madeBy(maker)) if (one.kind === kind) kernel.change({ verb: 'remove', object: one })
  }
}

/** A flannel that was started beside writes its own routes over those to the peers. */
function replaceByFlannel(host: SimulatedHost, maker: string): void {
  for (const one of host.madeBy(maker)) {
    if (one.kind === 'route' && one.type === 'unicast') host.put({ ...one, protocol: BOOT_PROTOCOL }, FLANNEL)
  }
}

function moveRack(host: SimulatedHost, isElsewhere: boolean): void {
  for (const lease of RACK) {
    const there = { ...route(subnetOf(lease), { via: host.addressOf(4, 254), device: UPLINK }), metric: VPN_METRIC }
    if (isElsewhere && host.kernel.get(`link ${UPLINK}`) !== undefined) host.put(there, OTHERS)
    else host.kernel.change({ verb: 'remove', object: there })
  }
}

function route(dst: Cidr, more: Partial<Route>): Route {
  const family = familyOf(networkAddress(dst))
  return {
    kind: 'route',
    family,
    dst,
    metric: defaultMetric(family),
    type: 'unicast',
    protocol: STATIC_PROTOCOL,
    ...more,
  }
}
