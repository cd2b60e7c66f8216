import { type KernelObject, keyOf, type Link, type Route } from '../../kernel/objects.ts'
import type { KernelEvent } from '../../kernel/table.ts'
import {
  type Cidr,
  cidrOf,
  contains,
  FAMILIES,
  type Family,
  familyOf,
  type IpAddr,
  prefixLength,
} from '../../lib/address.ts'
import { FakeKernel } from '../fakes/kernel.ts'
import { SimulatedDisk } from './disk.ts'
import { SimulatedProxies } from './proxies.ts'

export const UPLINK = 'eth0'
const VPN = 'tun9'
const KERNEL_PROTOCOL = 2
const DHCP_PROTOCOL = 16
/** The maker of what flannel left on a host: ours may take it over. */
export const FLANNEL = 'flannel'

/** Where the hosts live: the first parts of their addresses, by family, and the gateway to the world. */
export interface Underlay {
  readonly prefixes: ReadonlyMap<Family, string>
  /** rp_filter that devices are born with, '0' where nothing is said. */
  readonly reversePath?: '0' | '1'
}

export const PREFIX_BITS: Readonly<Record<Family, number>> = { 4: 24, 6: 64 }

/** A host of the simulation: a kernel in memory with an uplink, an address of each family on it, and default routes. */
export class SimulatedHost {
  readonly kernel = new FakeKernel()
  readonly disk = new SimulatedDisk()
  readonly proxies = new SimulatedProxies({
    hasAddress: (address) => this.addresses.includes(address),
    onChange: () => {
      this.kernel.version += 1
    },
  })
  /** What a call into the kernel takes, each way. */
  kernelDelayMs = 0
  /** Whether its kernel takes packets out of UDP. */
  hasFou = true
  /** Whether its kernel is younger than Linux 5.3. */
  readonly hasNexthops: boolean
  readonly bootMark: string
  readonly #underlay: Underlay
  readonly #indexes = new Map<string, number>()
  readonly #listeners = new Set<(events: readonly KernelEvent[]) => void>()
  #lastIndex = 0
  /** What the network configuration of the host wants on the uplink. */
  #configured: readonly IpAddr[] = []

  constructor(underlay: Underlay, number: number) {
    this.#underlay = underlay
    this.kernel.newDeviceReversePath = underlay.reversePath ?? '0'
    this.hasNexthops = number % 3 !== 0
    this.bootMark = `host ${number}`
    this.kernel.onEvents = (events) => {
      for (const listener of this.#listeners) listener(events)
    }
    this.kernel.makers.leavers.add(FLANNEL)
    this.kernel.makers.mayChange = ({ kind }) => kind === 'sysctl' || kind === 'file'
    this.#addUplink()
    for (const family of underlay.prefixes.keys()) this.addAddress(this.addressOf(family, number))
  }

  addressOf(family: Family, number: number): IpAddr {
    return `${this.#underlay.prefixes.get(family)}${number}` as IpAddr
  }

  /** Of the uplink, in the kernel's order: where packets from the wire arrive. */
  get addresses(): readonly IpAddr[] {
    return this.addressesOn(UPLINK)
  }

  addressesOn(device: string): readonly IpAddr[] {
    return this.kernel.all('address').flatMap((one) => {
      return one.kind === 'address' && one.device === device ? [one.address] : []
    })
  }

  links(): readonly Link[] {
    return this.kernel.all('link').filter((object): object is Link => object.kind === 'link')
  }

  routes(): readonly Route[] {
    return this.kernel.all('route').filter((object): object is Route => object.kind === 'route')
  }

  /** All that is there of what this maker has made. */
  madeBy(maker: string): readonly KernelObject[] {
    const { kernel } = this
    return kernel.tables.flatMap(({ kind }) => kernel.all(kind)).filter((object) => kernel.makers.of(object) === maker)
  }

  addAddress(address: IpAddr, length = PREFIX_BITS[familyOf(address)]): void {
    this.#configured = [...this.#configured, address]
    this.#putAddress(address, length)
  }

  /** Of one family; the kernel takes the routes along. */
  removeAddresses(family: Family): void {
    this.#configured = this.#configured.filter((address) => familyOf(address) !== family)
    for (const one of this.kernel.all('address')) {
      if (one.kind === 'address' && one.device === UPLINK && one.family === family) this.kernel.delete(keyOf(one))
    }
  }

  setUplink(up: boolean): void {
    if (this.kernel.get(`link ${UPLINK}`) === undefined) return
    this.kernel.changeDevice(UPLINK, { up })
    if (up) this.#configure()
  }

  /** The network card is pulled out; when it comes back it is another device with the same name. */
  removeUplink(): void {
    this.kernel.delete(`link ${UPLINK}`)
    this.#indexes.delete(UPLINK)
  }

  restoreUplink(): void {
    if (this.kernel.get(`link ${UPLINK}`) === undefined) this.#addUplink()
    this.kernel.changeDevice(UPLINK, { up: true })
    this.#configure()
  }

  addVpn(): void {
    if (this.kernel.get(`link ${VPN}`) !== undefined) return
    this.kernel.addDevice(VPN)
    const address = '10.8.0.5' as IpAddr
    this.kernel.change({ verb: 'create', object: { kind: 'address', family: 4, device: VPN, address, length: 8 } })
  }

  /** What another program puts there. */
  put(object: KernelObject, maker: string): void {
    this.kernel.put(object)
    this.kernel.makers.give(object, maker)
  }

  /** Returns what ends the hearing. */
  hear(listener: (events: readonly KernelEvent[]) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The route that a packet to this address takes: the longest prefix, then the least metric. */
  routeFor(address: IpAddr): Route | undefined {
    const family = familyOf(address)
    return this.routes()
      .filter((route) => route.family === family && contains(route.dst, address))
      .sort((a, b) => prefixLength(b.dst) - prefixLength(a.dst) || a.metric - b.metric)[0]
  }

  indexOf(device: string): number {
    const known = this.#indexes.get(device)
    if (known !== undefined) return known
    this.#lastIndex += 1
    this.#indexes.set(device, this.#lastIndex)
    return this.#lastIndex
  }

  #addUplink(): void {
    this.kernel.addDevice(UPLINK, { driver: { type: 'other', name: '' } })
  }

  /** Whatever configures the host does so again. */
  #configure(): void {
    for (const address of this.#configured) this.#putAddress(address, PREFIX_BITS[familyOf(address)])
  }

  #putAddress(address: IpAddr, length: number): void {
    if (this.kernel.get(`link ${UPLINK}`) === undefined) return
    const family = familyOf(address)
    const object: KernelObject = { kind: 'address', family, device: UPLINK, address, length }
    if (this.kernel.get(keyOf(object)) === undefined) this.kernel.change({ verb: 'create', object })
    else if (family === 4) this.#putConnected(address, length)
    this.#putDefaultRoutes()
  }

  /** As the kernel does when a link with addresses comes up. */
  #putConnected(address: IpAddr, length: number): void {
    const dst = cidrOf(address, length)
    if (length === 32 || this.kernel.get(`route ${dst} metric 0`) !== undefined) return
    this.kernel.put({
      kind: 'route',
      family: 4,
      dst,
      metric: 0,
      type: 'unicast',
      device: UPLINK,
      scope: 'link',
      protocol: KERNEL_PROTOCOL,
    })
  }

  #putDefaultRoutes(): void {
    for (const family of FAMILIES) {
      if (!this.addresses.some((address) => familyOf(address) === family)) continue
      this.kernel.put({
        kind: 'route',
        family,
        dst: (family === 4 ? '0.0.0.0/0' : '::/0') as Cidr,
        metric: family === 4 ? 0 : 1024,
        type: 'unicast',
        device: UPLINK,
        via: this.addressOf(family, 254),
        protocol: DHCP_PROTOCOL,
      })
    }
  }
}
