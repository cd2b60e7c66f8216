import type { HostInterface, HostKernel, NeighbourState, Path } from '../../kernel/host.ts'
import { type Link, ROUTE_PROTOCOL, type Route } from '../../kernel/objects.ts'
import { type Cidr, contains, type Family, familyOf, type IpAddr, prefixLength } from '../../lib/address.ts'
import type { SimulatedHost } from './host.ts'
import type { SimulatedProcess } from './process.ts'

/** Of linux/rtnetlink.h. */
const RTN_UNICAST = 1
const RTN_BLACKHOLE = 6

type Reader = Pick<
  HostKernel,
  | 'hasFou'
  | 'hasNexthops'
  | 'listInterfaces'
  | 'defaultRouteDevices'
  | 'routeTo'
  | 'routesTo'
  | 'routesNear'
  | 'askNeighbour'
  | 'neighbourStates'
  | 'sysctl'
>

/** How one process looks at its host: as the real `HostKernel`. */
export function hostReader(
  host: SimulatedHost,
  process: SimulatedProcess,
  neighbours: { ask: (device: string, address: IpAddr) => void; states: (device: string) => readonly NeighbourState[] },
): HostKernel {
  const reader: Reader = {
    hasFou: async () => host.hasFou,
    // Of the hosts of one network some run an old kernel.
    hasNexthops: async () => host.hasNexthops,
    listInterfaces: () => process.call(() => host.links().map((link) => interfaceOf(host, link))),
    defaultRouteDevices: (family) => process.call(() => defaultDevices(host, family)),
    routeTo: (address) => process.call(() => pathTo(host, address)),
    routesTo: (addresses) => process.call(() => addresses.map((address) => pathTo(host, address))),
    routesNear: (networks) => process.call(() => routesNear(host, networks)),
    askNeighbour: (device, address) => {
      if (process.alive) neighbours.ask(device, address)
    },
    sysctl: (path) => {
      const setting = host.kernel.get(`sysctl ${path}`)
      return setting?.kind === 'sysctl' ? setting.value : undefined
    },
    neighbourStates: (device) => process.call(() => neighbours.states(device)),
  }
  return reader as HostKernel
}

function defaultDevices(host: SimulatedHost, family: Family): readonly string[] {
  return host.routes().flatMap(({ family: of, dst, device }) => {
    return of === family && prefixLength(dst) === 0 && device !== undefined ? [device] : []
  })
}

function routesNear(host: SimulatedHost, networks: readonly Cidr[]) {
  const others = host.routes().filter(({ protocol }) => protocol !== ROUTE_PROTOCOL)
  const isNear = ({ dst }: Route) =>
    prefixLength(dst) > 0 && networks.some((network) => contains(network, dst) || contains(dst, network))
  return {
    routes: others.filter(isNear).map(({ dst, metric, type, device, via, protocol }) => ({
      dst,
      metric,
      protocol,
      type: type === 'unicast' ? RTN_UNICAST : RTN_BLACKHOLE,
      ...(device === undefined ? {} : { device }),
      ...(via === undefined ? {} : { via }),
    })),
    gateways: others.flatMap(({ via, device }) =>
      via !== undefined && networks.some((network) => contains(network, via)) ? [{ address: via, device }] : [],
    ),
  }
}

function pathTo(host: SimulatedHost, address: IpAddr): Path | undefined {
  const route = host.routeFor(address)
  if (route?.device === undefined) return undefined
  const source = host.addressesOn(route.device).find((own) => familyOf(own) === familyOf(address))
  if (source === undefined) return undefined
  return { device: route.device, source, ...(route.via === undefined ? {} : { gateway: route.via }) }
}

function interfaceOf(host: SimulatedHost, { name, mtu, up, mac, driver }: Link): HostInterface {
  const addresses = host.kernel.all('address').flatMap((one) => {
    if (one.kind !== 'address' || one.device !== name) return []
    const { family, address, length } = one
    return [{ family, address, length }]
  })
  return {
    name,
    index: host.indexOf(name),
    mtu,
    up,
    running: up,
    loopback: false,
    mac,
    kind: driver.type === 'other' ? (driver.name ?? '') : driver.type,
    ...(driver.type !== 'other' && { driver }),
    master: 0,
    addresses: addresses.map((one) => ({
      ...one,
      scope: 'global',
      deprecated: false,
      temporary: false,
      permanent: true,
      tentative: false,
      duplicate: false,
    })),
  }
}
