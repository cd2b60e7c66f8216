import { IPPROTO_IPIP } from '../../kernel/objects.ts'
import type { LocalInput, LocalPlan, PeerInput, PeerPlan, PlannedPeer, WayDevices } from '../backend.ts'
import { IPV4_HEADER, planTunnelPeer, RECEIVING_IP_IN_IP, tunnelObjects, UDP_DEVICES } from '../ipv4-tunnel.ts'
import { nexthopRoute } from '../routes.ts'
import type { UdpConfig } from './config.ts'
import { planProxy, planProxyPeer } from './proxy-plan.ts'

/** Which engine carries the packets, found out once per start. */
export interface UdpIdentity {
  readonly engine: 'kernel' | 'userspace'
}

const UDP_HEADER = 8
/** Outer packets live as long as any other packet of this host; the inner one's life is spent where it is forwarded. */
const TTL = 64

/** A tun is no device of IP in IP; what `auto` comes to is not known here. */
export function udpDevices({ engine }: UdpConfig): readonly [WayDevices, ...WayDevices[]] {
  const [first, second, third] = UDP_DEVICES
  if (engine === 'userspace') return [named(first), named(second), named(third)]
  return [
    { ...named(first), ipInIp: 'by any interface' },
    { ...named(second), ipInIp: 'by the uplink' },
  ]
}

function named(device: string): WayDevices {
  return { names: new Map([[4, device]]) }
}

/** The wire format of flannel's udp backend, a bare IPv4 packet per datagram, made by either engine. */
export function planUdp(input: LocalInput<UdpConfig, UdpIdentity>): LocalPlan {
  const mtu = input.facts.external.mtu - IPV4_HEADER - UDP_HEADER
  return input.identity.engine === 'kernel' ? planFou(input, mtu) : planProxy(input, mtu)
}

export function planUdpPeer(
  { identity, tunnels, nexthops }: PeerInput<UdpConfig, UdpIdentity>,
  peer: PlannedPeer,
): PeerPlan {
  const device = tunnels.get(4) ?? ''
  if (identity.engine === 'userspace') return planProxyPeer(peer, device)
  if (!nexthops) return planTunnelPeer(peer, device, undefined)
  const { subnet, publicIp } = peer.part
  return { path: 'tunnel', objects: nexthopRoute(peer.role, { dst: subnet, via: publicIp, device }) }
}

/** An ipip device whose outer packets go in UDP, and a port where the kernel takes the UDP header off again. */
function planFou(input: LocalInput<UdpConfig, UdpIdentity>, mtu: number): LocalPlan {
  const { port } = input.config
  const encapsulation = { sourcePort: port, port }
  const driver = { ttl: TTL, pathMtuDiscovery: true, encapsulation }
  return {
    objects: [
      { kind: 'fou-port', role: { class: 'required', family: 4 }, port, protocol: IPPROTO_IPIP },
      ...tunnelObjects(input, { mtu, driver }),
    ],
    mtu,
    notices: [
      {
        code: 'udp-engine-kernel',
        text: `the backend udp runs in the kernel (FOU on port ${port}), which takes packets from every sender that reaches the port`,
        remedy: `let only the hosts of the cluster reach UDP port ${port}; Backend.Engine chooses the engine`,
      },
    ],
    // The device takes bare packets, too, whatever it sends.
    ingress: {
      tunnels: input.devices.names,
      alsoBy: RECEIVING_IP_IN_IP,
      outer: [{ type: 'udp', port }, { type: 'ipip' }],
    },
  }
}
