import type { DesiredObject, Role, Route } from '../kernel/objects.ts'
import { defaultMetric, ROUTE_PROTOCOL } from '../kernel/objects.ts'
import { type Cidr, familyOf, type IpAddr } from '../lib/address.ts'

/** `dst via VIA dev DEVICE [onlink]` in the main table. */
export function gatewayRoute(
  role: Role,
  route: { dst: Cidr; via: IpAddr; device: string; onLink: boolean },
): Route & { role: Role } {
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
