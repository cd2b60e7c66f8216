import { IPPROTO_IPIP } from '../../kernel/objects.ts'
import type { LocalInput, LocalPlan, PeerInput, PeerPlan, PlannedPeer } from '../backend.ts'
import { IPV4_HEADER, planTunnelPeer, tunnelObjects } from '../ipv4-tunnel.ts'
import { nexthopRoute } from '../routes.ts'
import type { UdpConfig } from './config.ts'
import { planProxy, planProxyPeer } from './proxy-plan.ts'

/** Which engine carries the packets, found out once per start. */
export interface UdpIdentity {
  readonly engine: 'kernel' | 'userspace'
}

/** The same in both engines: peers' operators and flannel know it. */
export const UDP_DEVICE = 'flannel0'
const UDP_HEADER = 8
/** Outer packets live as long as any other packet of this host; the inner one's life is spent where it is forwarded. */
const TTL = 64

/** The wire format of flannel's udp backend, a bare IPv4 packet per datagram, made by either engine. */
export function planUdp(input: LocalInput<UdpConfig, UdpIdentity>): LocalPlan {
  const mtu = input.facts.external.mtu - IPV4_HEADER - UDP_HEADER
  return input.identity.engine === 'kernel' ? planFou(input, mtu) : planProxy(input, { device: UDP_DEVICE, mtu })
}

export function planUdpPeer({ identity, nexthops }: PeerInput<UdpConfig, UdpIdentity>, peer: PlannedPeer): PeerPlan {
  if (identity.engine === 'userspace') return planProxyPeer(peer, UDP_DEVICE)
  if (!nexthops) return planTunnelPeer(peer, UDP_DEVICE, undefined)
  const { subnet, publicIp } = peer.part
  return { path: 'tunnel', objects: nexthopRoute(peer.role, { dst: subnet, via: publicIp, device: UDP_DEVICE }) }
}

/** An ipip device whose outer packets go in UDP, and a port where the kernel takes the UDP header off again. */
function planFou(input: LocalInput<UdpConfig, UdpIdentity>, mtu: number): LocalPlan {
  const { port } = input.config
  const encapsulation = { sourcePort: port, port }
  const driver = { ttl: TTL, pathMtuDiscovery: true, encapsulation }
  return {
    objects: [
      { kind: 'fou-port', role: { class: 'required', family: 4 }, port, protocol: IPPROTO_IPIP },
      ...tunnelObjects(input, { device: UDP_DEVICE, mtu, driver }),
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
    ingress: { tunnels: new Map([[4, UDP_DEVICE]]), outer: [{ type: 'udp', port }, { type: 'ipip' }] },
  }
}
