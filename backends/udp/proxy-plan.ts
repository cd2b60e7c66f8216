import type { DesiredObject, Role } from '../../kernel/objects.ts'
import { defaultMetric, ROUTE_PROTOCOL } from '../../kernel/objects.ts'
import { type Cidr, networkAddress } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'
import type { PlanInput } from '../backend.ts'
import { guardBasis, guardPeer, guardVariant } from '../ingress-guard.ts'
import { PeerMemo } from '../peer-memo.ts'
import { familyPlan, type PeerPlan, planFamilies } from '../peer-plan.ts'
import type { PlanBuilder } from '../plan-builder.ts'
import { looseReversePath } from '../reverse-path.ts'
import { tunnelAddress } from '../routes.ts'
import type { UdpConfig } from './config.ts'

const memo = new PeerMemo()

/** The proxy of this process: one device, and per peer a route to it and a place in the proxy's own table. */
export function planProxy(
  input: PlanInput<UdpConfig, unknown>,
  { device, mtu }: { readonly device: string; readonly mtu: number },
  plan: PlanBuilder,
): void {
  plan.add(...localObjects(input, device, mtu))
  memo.begin(guardBasis(input))
  const subnet = input.own.families.get(4)?.subnet
  // It says "net unreachable" in the name of the device.
  const own = subnet === undefined ? {} : { own: { device, address: networkAddress(subnet) } }
  plan.comesIn({ tunnels: new Map([[4, device]]), outer: [{ type: 'udp', port: input.config.port }], ...own })
  for (const { lease } of input.peers)
    plan.addPeer(
      lease.id,
      memo.of(lease, guardVariant(input, lease), () => planPeer(input, lease, device)),
    )
  plan.notice({
    code: 'udp-engine-userspace',
    text: `the backend udp runs in this process: ${reason(input.config)}`,
    remedy: 'packets are lost while the daemon is away; Backend.Engine chooses the engine',
  })
}

function reason({ engine }: UdpConfig): string {
  return engine === 'auto' ? 'the kernel has no FOU, or its module fou is not loaded' : 'Backend.Engine says so'
}

function localObjects(input: PlanInput<UdpConfig, unknown>, device: string, mtu: number): readonly DesiredObject[] {
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

function planPeer(input: PlanInput<UdpConfig, unknown>, lease: Lease, device: string): PeerPlan {
  const role: Role = { class: 'peer', peer: lease.id }
  return planFamilies(lease, { families: [4], reason: 'invalid-lease' }, (_family, part) =>
    familyPlan('tunnel', [
      ...guardPeer(input, part, device, role),
      { kind: 'udp-peer', role, subnet: part.subnet, publicIp: part.publicIp },
      linkRoute(role, part.subnet, device),
    ]),
  )
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
