import { type Cidr, contains, type Family, type IpAddr, prefixLength } from '../../../lib/address.ts'
import { type AnyObject, joinedKey, type Kind, type OwnershipScope, phrase, type Wanted } from '../kind.ts'
import { nexthop, nexthopId } from '../nexthop/kind.ts'
import { BOOT_PROTOCOL, defaultMetric, ROUTE_PROTOCOL } from './numbers.ts'

/** A route of the main table; key: destination and metric. */
export interface Route {
  readonly kind: 'route'
  readonly family: Family
  readonly dst: Cidr
  /** Kernel priority; for IPv6 1024 stands where IPv4 has 0. */
  readonly metric: number
  readonly type: 'unicast' | 'blackhole'
  readonly device?: string
  readonly via?: IpAddr
  readonly onLink?: boolean
  readonly scope?: 'link'
  /** It goes through a nexthop object: ours of that device and gateway, or another one. */
  readonly nexthop?: 'own' | 'other'
  /** RTPROT_* number; ours is `ROUTE_PROTOCOL`. Of a desired route always that. */
  readonly protocol: number
}

export const route: Kind<Route> = {
  name: 'route',
  events: true,
  removed: true,
  keyedWithoutDevice: true,
  key: ({ dst, metric }) => joinedKey('route', dst, 'metric', metric),
  compare: (actual, desired) => (isSame(actual, desired) ? 'same' : 'update'),
  ownership(actual, wanted, all) {
    const { protocol, device, dst } = actual
    const { scope } = all
    if (protocol === ROUTE_PROTOCOL) {
      if (device !== undefined && scope.devices.has(device)) return 'ours'
      // Another instance has taken over a network that this one had earlier.
      if (device?.startsWith('flannel')) return 'foreign'
      return scope.networks.some(({ network }) => contains(network, dst)) ? 'ours' : 'foreign'
    }
    if (protocol !== BOOT_PROTOCOL) return 'foreign'
    if (wanted !== undefined) return 'adoptable'
    const isLeftover =
      isLeftoverPeerRoute(actual, scope) || isNetworkRoute(actual, scope) || isLeftoverBlackhole(actual, all)
    return isLeftover ? 'leftover' : 'foreign'
  },
  device: ({ device }) => device,
  carrier: ({ device, via, nexthop: way }) =>
    way === 'own' && device !== undefined && via !== undefined
      ? nexthop.key({ kind: 'nexthop', device, via })
      : undefined,
  showsOtherUser: ({ protocol, via }) => protocol !== ROUTE_PROTOCOL && via !== undefined,
  // A routing daemon may keep a million others beside those that may be ours and those that stand where one is wanted. Where
  // one of these is in the way of a route that is wanted later, the kernel says EEXIST, and all is read again.
  kept(object, wanted, all) {
    if (wanted !== undefined || route.ownership(object, wanted, all) !== 'foreign') return true
    const { type, protocol, dst, device } = object
    // Through a device that this instance made and does not want any more: the route tells that it is another's by now.
    if (device !== undefined && all.scope.devices.has(device) && !all.objects.has(`link ${device}`)) return true
    // flannel's blackhole of a host's subnet becomes a leftover when ours is wanted, which stands at another key.
    if (type !== 'blackhole' || protocol !== BOOT_PROTOCOL) return false
    return all.scope.networks.some(({ network }) => contains(network, dst))
  },
  describe: (object) => {
    const { type, dst, via, device, protocol, metric, scope, onLink, nexthop } = object
    return phrase(
      type === 'blackhole' && 'blackhole',
      dst,
      nexthop && `nhid ${numberOf(object) ?? 'of another program'}`,
      via && `via ${via}`,
      device && `dev ${device}`,
      `proto ${protocol}`,
      `metric ${metric}`,
      scope && `scope ${scope}`,
      onLink && 'onlink',
    )
  },
  commands: {
    create: (object) => [command('add', object)],
    update: (object) => [command('replace', object)],
    remove: (object) => command('delete', object),
  },
}

function isSame(actual: Route, desired: Route): boolean {
  return (
    actual.type === desired.type &&
    actual.device === desired.device &&
    actual.via === desired.via &&
    (actual.onLink ?? false) === (desired.onLink ?? false) &&
    actual.scope === desired.scope &&
    actual.nexthop === desired.nexthop &&
    actual.protocol === desired.protocol
  )
}

function isLeftoverPeerRoute({ type, via, metric, family, dst }: Route, scope: OwnershipScope): boolean {
  // Whoever gives a route a metric of its own is not flannel.
  if (type !== 'unicast' || via === undefined || metric !== defaultMetric(family)) return false
  const length = prefixLength(dst)
  return scope.networks.some(({ network, subnetLen }) => length === subnetLen && contains(network, dst))
}

// flannel's route of its udp backend, for all of the network: it hides hosts that live there.
function isNetworkRoute({ type, via, device, dst }: Route, { devices, networks }: OwnershipScope): boolean {
  if (type !== 'unicast' || via !== undefined || device === undefined || !devices.has(device)) return false
  return networks.some(({ network }) => network === dst)
}

// flannel's blackhole for the host's own subnet has the default metric, where it hides the bridge's connected route; ours stands at another.
function isLeftoverBlackhole({ type, metric, family, dst }: Route, { objects }: Wanted): boolean {
  if (type !== 'blackhole' || metric !== defaultMetric(family)) return false
  for (const object of objects.values()) {
    if (isRoute(object) && object.type === 'blackhole' && object.dst === dst) return true
  }
  return false
}

function isRoute(object: AnyObject): object is Route {
  return object.kind === 'route'
}

function command(verb: 'add' | 'replace' | 'delete', route: Route): string {
  const { family, type, dst, via, device, protocol, scope, metric, onLink, nexthop } = route
  const number = numberOf(route)
  // A nexthop object says all that is left out beside it.
  const inline = nexthop === undefined
  return phrase(
    family === 6 ? 'ip -6 route' : 'ip route',
    verb,
    type === 'blackhole' && 'blackhole',
    dst,
    verb !== 'delete' && number !== undefined && `nhid ${number}`,
    inline && via && `via ${via}`,
    inline && device && `dev ${device}`,
    protocol !== BOOT_PROTOCOL && `proto ${protocol}`,
    scope && `scope ${scope}`,
    metric !== defaultMetric(family) && `metric ${metric}`,
    inline && onLink && 'onlink',
  )
}

/** Of the nexthop object of ours; undefined: it goes through none. */
function numberOf({ device, via, nexthop }: Route): number | undefined {
  return nexthop === 'own' && device !== undefined && via !== undefined ? nexthopId({ device, via }) : undefined
}
