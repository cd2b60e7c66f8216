import type { HostInterface, HostKernel, Path } from '../../kernel/host.ts'
import { type Address, type Link, ROUTE_PROTOCOL, type Route } from '../../kernel/objects.ts'
import type { KernelEvent, ObjectTable } from '../../kernel/table.ts'
import { type Cidr, contains, type Family, familyOf, type IpAddr, prefixLength } from '../../lib/address.ts'
import { FakeKernel } from '../fakes/kernel.ts'

export const UPLINK = 'eth0'
/** Of linux/rtnetlink.h. */
const RTN_UNICAST = 1
const RTN_BLACKHOLE = 6
const VPN = 'tun9'
const DHCP_PROTOCOL = 16

/** A host of the simulation: a kernel in memory with an uplink, an address on it and a default route. */
export class SimulatedHost {
  readonly kernel = new FakeKernel()
  readonly #indexes = new Map<string, number>()
  #process = 0

  constructor(address: IpAddr) {
    this.kernel.addDevice(UPLINK)
    this.addAddress(address)
  }

  /** The first address of the uplink: where packets from the wire arrive. */
  get addresses(): readonly IpAddr[] {
    return this.#addressesOf(UPLINK).map(({ address }) => address)
  }

  addAddress(address: IpAddr, length = 24): void {
    this.kernel.change({
      verb: 'create',
      object: { kind: 'address', family: familyOf(address), device: UPLINK, address, length },
    })
    this.#routeToTheWorld()
  }

  addVpn(): void {
    if (this.kernel.get(`link ${VPN}`) !== undefined) return
    this.kernel.addDevice(VPN)
    const address = '10.8.0.5' as IpAddr
    this.kernel.change({ verb: 'create', object: { kind: 'address', family: 4, device: VPN, address, length: 8 } })
  }

  removeAddresses(): void {
    for (const { address, length } of this.#addressesOf(UPLINK))
      this.kernel.delete(`address ${UPLINK} ${address}/${length}`)
  }

  /**
   * What a process on this host holds of the kernel. Once it is killed, none of its calls does anything or comes back, also those
   * that are under way.
   */
  openProcess(): { readonly tables: readonly ObjectTable[]; readonly kill: () => void } {
    this.#process += 1
    const number = this.#process
    const isAlive = () => this.#process === number
    const never = new Promise<never>(() => {})
    const tables = this.kernel.tables.map(
      (table): ObjectTable => ({
        kind: table.kind,
        dump: async (wanted) => {
          const objects = isAlive() ? await table.dump(wanted) : await never
          return isAlive() ? objects : await never
        },
        unchanged: async () => {
          const same = isAlive() ? await (table.unchanged?.() ?? false) : await never
          return isAlive() ? same : await never
        },
        apply: async (ops) => {
          // One op after another, so that a kill can fall between two of them.
          const results = []
          for (const op of ops) results.push(...(isAlive() ? await table.apply([op]) : await never))
          return isAlive() ? results : await never
        },
      }),
    )
    const kill = () => {
      if (isAlive()) this.#process += 1
      this.kernel.onEvents = undefined
    }
    return { tables, kill }
  }

  hear(listener: (events: readonly KernelEvent[]) => void): void {
    this.kernel.onEvents = listener
  }

  /** As the real one reads it. */
  reader(): HostKernel {
    const reader: Pick<
      HostKernel,
      | 'hasFou'
      | 'listInterfaces'
      | 'defaultRouteDevices'
      | 'routeTo'
      | 'routesTo'
      | 'routesNear'
      | 'askNeighbour'
      | 'neighbourStates'
    > = {
      hasFou: async () => false,
      listInterfaces: async () => this.#links().map((link) => this.#interfaceOf(link)),
      defaultRouteDevices: async (family) =>
        this.#routes(family).flatMap(({ dst, device }) =>
          prefixLength(dst) === 0 && device !== undefined ? [device] : [],
        ),
      routeTo: async (address) => this.#pathTo(address),
      routesTo: async (addresses) => addresses.map((address) => this.#pathTo(address)),
      routesNear: async (networks) => ({
        routes: [...this.#routes(4), ...this.#routes(6)].flatMap(({ type, scope, ...route }) => {
          const isNear = networks.some((network) => contains(network, route.dst) || contains(route.dst, network))
          if (!isNear || prefixLength(route.dst) === 0 || route.protocol === ROUTE_PROTOCOL) return []
          return [{ ...route, type: type === 'unicast' ? RTN_UNICAST : RTN_BLACKHOLE }]
        }),
        gateways: [],
      }),
      askNeighbour: () => {},
      neighbourStates: async () => [],
    }
    return reader as HostKernel
  }

  /** The route that a packet to this address takes: the longest prefix, then the least metric. */
  routeFor(address: IpAddr): Route | undefined {
    return this.#routes(familyOf(address))
      .filter(({ dst }) => contains(dst, address))
      .sort((a, b) => prefixLength(b.dst) - prefixLength(a.dst) || a.metric - b.metric)[0]
  }

  // Whatever configures the host puts its default route back when an address is there again.
  #routeToTheWorld(): void {
    this.kernel.put({
      kind: 'route',
      family: 4,
      dst: '0.0.0.0/0' as Cidr,
      metric: 0,
      type: 'unicast',
      device: UPLINK,
      via: '192.0.2.254' as IpAddr,
      protocol: DHCP_PROTOCOL,
    })
  }

  #links(): readonly Link[] {
    return this.kernel.all('link').filter((object): object is Link => object.kind === 'link')
  }

  #routes(family: Family): readonly Route[] {
    const all = this.kernel.all('route').filter((object): object is Route => object.kind === 'route')
    return all.filter((route) => route.family === family)
  }

  #addressesOf(device: string): readonly Address[] {
    const all = this.kernel.all('address').filter((object): object is Address => object.kind === 'address')
    return all.filter((address) => address.device === device)
  }

  #pathTo(address: IpAddr): Path | undefined {
    const route = this.routeFor(address)
    const source = route?.device === undefined ? undefined : this.#addressesOf(route.device)[0]?.address
    if (route?.device === undefined || source === undefined) return undefined
    return { device: route.device, source, ...(route.via === undefined ? {} : { gateway: route.via }) }
  }

  #interfaceOf({ name, mtu, up, mac, driver }: Link): HostInterface {
    return {
      name,
      index: this.#indexOf(name),
      mtu,
      up,
      running: up,
      loopback: false,
      mac,
      kind: driver.type === 'other' ? (driver.name ?? '') : driver.type,
      master: 0,
      addresses: this.#addressesOf(name).map(({ family, address, length }) => ({
        family,
        address,
        length,
        scope: 'global',
        deprecated: false,
        temporary: false,
        permanent: true,
        tentative: false,
        duplicate: false,
      })),
    }
  }

  #indexOf(name: string): number {
    const index = this.#indexes.get(name) ?? this.#indexes.size + 1
    this.#indexes.set(name, index)
    return index
  }
}
