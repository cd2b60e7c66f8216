import { type Cidr, cidrOf, type IpAddr } from '../../lib/address.ts'
import type { HostRoute, NeededAddress, Surroundings } from '../../subnet/surroundings.ts'

/** Addresses as `10.5.2.1 dev eth0`, routes as `ip route` shows them, with `boot` where they are by hand; bridges as `docker0 10.5.1.1/24`. */
export interface SurroundingsSketch {
  readonly addresses?: readonly string[]
  readonly gateways?: readonly string[]
  readonly store?: readonly string[]
  readonly routes?: readonly string[]
  readonly bridges?: readonly string[]
}

export function surroundingsOf(sketch: SurroundingsSketch): Surroundings {
  const { addresses = [], gateways = [], store = [], routes = [], bridges = [] } = sketch
  const own = addresses.map((text): NeededAddress => {
    const [address, , device = ''] = text.split(' ')
    return { address: address as IpAddr, what: `an address of ${device}`, device }
  })
  return {
    addresses: [
      ...own,
      ...gateways.map((address) => ({ address: address as IpAddr, what: 'a gateway of this host' })),
      ...store.map((address) => ({ address: address as IpAddr, what: 'an endpoint of the lease store' })),
    ],
    routes: routes.map(routeOf),
    ownAddresses: own.map(({ address }) => address),
    containerDevices: bridges.map((text) => {
      const [device = '', prefix = ''] = text.split(' ')
      const [address, length] = prefix.split('/')
      return { device, address: address as IpAddr, prefix: cidrOf(address as IpAddr, Number(length)) }
    }),
  }
}

function routeOf(text: string): HostRoute {
  const words = text.split(' ')
  const type = words[0] === 'blackhole' ? 'blackhole' : words[0] === 'unreachable' ? 'other' : 'unicast'
  const dst = words.find((word) => word.includes('/')) as Cidr
  const boot = words.includes('boot')
  const at = words.indexOf('dev')
  return {
    dst,
    text,
    type,
    boot,
    adoptable: boot && words.includes('via'),
    ...(at < 0 ? {} : { device: words[at + 1] ?? '' }),
  }
}
