import type { DesiredObject, Role, Route } from '../kernel/objects.ts'
import { defaultMetric, ROUTE_PROTOCOL } from '../kernel/objects.ts'
import { type Cidr, familyOf, type IpAddr } from '../lib/address.ts'

type DesiredRoute = Route & { readonly role: Role }

/** `dst via VIA dev DEVICE [onlink]` in the main table. */
export function gatewayRoute(
  role: Role,
  route: { dst: Cidr; via: IpAddr; device: string; onLink: boolean },
): DesiredRoute {
  const family = familyOf(route.dst)
  return {
    kind: 'route',
    role,
    family,
    type: 'unicast',
    metric: defaultMetric(family),
    protocol: ROUTE_PROTOCOL,
    dst: route.dst,
    via: route.via,
    device: route.device,
    onLink: route.onLink,
  }
}

/**
 * The same through a nexthop object, which a device of ours holds: the kernel takes 20,000 such routes in less than a tenth of the time.
 * For own devices only. One whose cable is pulled loses its nexthop objects, and their routes with them.
 */
export function nexthopRoute(
  role: Role,
  { dst, via, device }: { dst: Cidr; via: IpAddr; device: string },
): readonly DesiredObject[] {
  const family = familyOf(dst)
  // In one piece: an object that is copied and added to takes half as much memory again.
  const route: DesiredRoute = {
    kind: 'route',
    role,
    family,
    type: 'unicast',
    metric: defaultMetric(family),
    protocol: ROUTE_PROTOCOL,
    dst,
    via,
    device,
    onLink: true,
    nexthop: 'own',
  }
  return [{ kind: 'nexthop', role, device, via }, route]
}

/** Where the host's own bridge (metric 0) must win over it: a blackhole with metric 0 would remove the bridge's route. */
const BLACKHOLE_METRIC = 4294967294

/**
 * Packets to addresses of the own subnet that no container has must not leave by the default route. Without a device, as it
 * is read back: IPv6 hangs it on `lo` by itself.
 */
export function blackholeRoute(subnet: Cidr): DesiredObject {
  const family = familyOf(subnet)
  return {
    kind: 'route',
    role: { class: 'required', family },
    family,
    dst: subnet,
    metric: BLACKHOLE_METRIC,
    type: 'blackhole',
    protocol: ROUTE_PROTOCOL,
  }
}

/** The overlay device's own address: the network address of the subnet, alone in its prefix. `remedy`: what mends a refusal. */
export function tunnelAddress(device: string, address: IpAddr, remedy?: string): DesiredObject {
  const family = familyOf(address)
  return {
    kind: 'address',
    role: { class: 'required', family, ...(remedy === undefined ? {} : { remedy }) },
    device,
    family,
    address,
    length: family === 4 ? 32 : 128,
  }
}
