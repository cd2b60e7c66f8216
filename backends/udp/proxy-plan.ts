import type { DesiredObject, Role } from '../../kernel/objects.ts'
import { defaultMetric, ROUTE_PROTOCOL } from '../../kernel/objects.ts'
import { type Cidr, networkAddress } from '../../lib/address.ts'
import type { LocalInput, LocalPlan, PeerPlan, PlannedPeer } from '../backend.ts'
import { looseReversePath } from '../reverse-path.ts'
import { tunnelAddress } from '../routes.ts'
import type { UdpConfig } from './config.ts'

/** The proxy of this process: one device, and per peer a route to it and a place in the proxy's own table. */
export function planProxy(input: LocalInput<UdpConfig, unknown>, mtu: number): LocalPlan {
  const device = input.devices.names.get(4) ?? ''
  const subnet = input.own.families.get(4)?.subnet
  // It says "net unreachable" in the name of the device.
  const own = subnet === undefined ? {} : { own: { device, address: networkAddress(subnet) } }
  return {
    objects: localObjects(input, device, mtu),
    mtu,
    notices: [
      {
        code: 'udp-engine-userspace',
        text: `the backend udp runs in this process: ${reason(input.config)}`,
        remedy: 'packets are lost while the daemon is away; Backend.Engine chooses the engine',
      },
    ],
    ingress: { tunnels: input.devices.names, outer: [{ type: 'udp', port: input.config.port }], ...own },
  }
}

export function planProxyPeer({ role, part }: PlannedPeer, device: string): PeerPlan {
  const { subnet, publicIp } = part
  return {
    path: 'tunnel',
    objects: [{ kind: 'udp-peer', role, device, subnet, publicIp }, linkRoute(role, subnet, device)],
  }
}

function reason({ engine }: UdpConfig): string {
  return engine === 'auto' ? 'the kernel has no FOU, or its module fou is not loaded' : 'Backend.Engine says so'
}

function localObjects(input: LocalInput<UdpConfig, unknown>, device: string, mtu: number): readonly DesiredObject[] {
  const { config, own, facts, network } = input
  const role: Role = { class: 'required', family: 4 }
  const local = facts.external.addresses.get(4)
  const subnet = own.families.get(4)?.subnet
  const whole = network.families.get(4)?.network
  if (local === undefined || subnet === undefined || whole === undefined) return []
  const address = networkAddress(subnet)
  return [
    { kind: 'link', role, name: device, mtu, up: true, driver: { type: 'tun', persistent: true } },
    tunnelAddress(device, address),
    looseReversePath(device),
    acceptLocal(device),
    { kind: 'udp-proxy', role, device, local, port: config.port, own: address },
    // Below the peers' routes it makes the proxy answer "unreachable" for who is not there. It must not cover what carries us.
    ...(input.underlayInside?.has(4) ? [] : [linkRoute(role, whole, device)]),
  ]
}

/** The proxy says "net unreachable" in the name of the device's own address, which the kernel would take for a forgery. */
function acceptLocal(device: string): DesiredObject {
  const path = `net/ipv4/conf/${device}/accept_local`
  return { kind: 'sysctl', path, value: '1', role: { class: 'advisory', remedy: `echo 1 > /proc/sys/${path}` } }
}

function linkRoute(role: Role, dst: Cidr, device: string): DesiredObject {
  const metric = defaultMetric(4)
  return {
    kind: 'route',
    role,
    family: 4,
    type: 'unicast',
    dst,
    metric,
    device,
    scope: 'link',
    protocol: ROUTE_PROTOCOL,
  }
}
