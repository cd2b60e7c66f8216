import { IPPROTO_IPIP } from '../../kernel/objects.ts'
import type { Plan, PlanInput } from '../backend.ts'
import { IPV4_HEADER, planTunnel } from '../ipv4-tunnel.ts'
import { PlanBuilder } from '../plan-builder.ts'
import type { UdpConfig } from './config.ts'
import { planProxy } from './proxy-plan.ts'

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
export function planUdp(input: PlanInput<UdpConfig, UdpIdentity>): Plan {
  const plan = new PlanBuilder()
  const mtu = input.facts.external.mtu - IPV4_HEADER - UDP_HEADER
  if (input.identity.engine === 'kernel') planFou(input, mtu, plan)
  else planProxy(input, { device: UDP_DEVICE, mtu }, plan)
  return plan.build(mtu)
}

/** An ipip device whose outer packets go in UDP, and a port where the kernel takes the UDP header off again. */
function planFou(input: PlanInput<UdpConfig, UdpIdentity>, mtu: number, plan: PlanBuilder): void {
  const { port } = input.config
  plan.add({ kind: 'fou-port', role: { class: 'required', family: 4 }, port, protocol: IPPROTO_IPIP })
  const encapsulation = { sourcePort: port, port }
  const driver = { ttl: TTL, pathMtuDiscovery: true, encapsulation }
  planTunnel(input, { device: UDP_DEVICE, mtu, driver, directRouting: false }, plan)
  plan.notice({
    code: 'udp-engine-kernel',
    text: `the backend udp runs in the kernel (FOU on port ${port}), which takes packets from every sender that reaches the port`,
    remedy: `let only the hosts of the cluster reach UDP port ${port}; Backend.Engine chooses the engine`,
  })
}
