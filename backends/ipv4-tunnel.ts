import type { DesiredObject, IpipDriver } from '../kernel/objects.ts'
import { networkAddress } from '../lib/address.ts'
import type { LocalInput, PeerPlan, PlannedPeer, Reach } from './backend.ts'
import { looseReversePath } from './reverse-path.ts'
import { gatewayRoute, tunnelAddress } from './routes.ts'

/** Bytes that the outer IPv4 header takes. */
export const IPV4_HEADER = 20

/** Of the backend ipip, and of udp. The first ones are those that flannel and operators know. */
export const IPIP_DEVICES = ['flannel.ipip', 'flannel-ipip'] as const
export const UDP_DEVICES = ['flannel0', 'flannel1', 'flannel2'] as const
/** Of those that are there the kernel chooses one to receive for all, until it is gone. */
export const RECEIVING_IP_IN_IP: readonly string[] = [...IPIP_DEVICES, ...UDP_DEVICES.slice(0, 2)]

/** A device of IP in IP, with the network address of the own subnet: what ipip and the udp backend's kernel engine share. */
export interface Ipv4Tunnel {
  /** Bytes. */
  readonly mtu: number
  readonly driver: Omit<IpipDriver, 'type' | 'local' | 'underlay'>
}

/** The device, its address and its sysctl. */
export function tunnelObjects(
  { devices, own, facts }: Pick<LocalInput<unknown, unknown>, 'devices' | 'own' | 'facts'>,
  { mtu, driver }: Ipv4Tunnel,
): readonly DesiredObject[] {
  const local = facts.external.addresses.get(4)
  const subnet = own.families.get(4)?.subnet
  const device = devices.names.get(4)
  if (device === undefined) return []
  const isBound = devices.ipInIp === 'by the uplink'
  const bound = isBound ? { underlay: facts.external.name } : {}
  // It receives for the other one from the moment it is up.
  const first = isBound && subnet !== undefined ? { firstAddress: networkAddress(subnet) } : {}
  return [
    {
      kind: 'link',
      role: { class: 'required', family: 4 },
      name: device,
      mtu,
      up: true,
      ...first,
      driver: { type: 'ipip', ...bound, ...(local === undefined ? {} : { local }), ...driver },
    },
    ...(subnet === undefined ? [] : [tunnelAddress(device, networkAddress(subnet))]),
    looseReversePath(device),
  ]
}

/**
 * One device for all peers: the gateway of a route is the far end. Without nexthop objects: flannel, started in our place, keeps a route
 * of its backend ipip that leads where its own would, and cannot delete one through a nexthop object. `reach` undefined: always through the tunnel; else a peer on the
 * link that has answered is reached without it.
 */
export function planTunnelPeer({ role, part }: PlannedPeer, tunnel: string, reach: Reach | undefined): PeerPlan {
  const direct = reach?.answered ? reach.onLink : undefined
  const route = gatewayRoute(role, { dst: part.subnet, via: part.publicIp, device: direct ?? tunnel, onLink: true })
  return { path: direct === undefined ? 'tunnel' : 'direct', objects: [route] }
}
