import type { DesiredObject, IpipDriver, Role } from '../kernel/objects.ts'
import { networkAddress } from '../lib/address.ts'
import type { Lease } from '../subnet/types.ts'
import type { HostFacts, PlanInput } from './backend.ts'
import { guardBasis, guardPeer, guardVariant } from './ingress-guard.ts'
import { PeerMemo } from './peer-memo.ts'
import { familyPlan, type PeerPlan, planFamilies } from './peer-plan.ts'
import type { PlanBuilder } from './plan-builder.ts'
import { looseReversePath } from './reverse-path.ts'
import { gatewayRoute, tunnelAddress } from './routes.ts'

type Input = Pick<PlanInput<unknown, unknown>, 'own' | 'peers' | 'facts' | 'guard'>

/** Bytes that the outer IPv4 header takes. */
export const IPV4_HEADER = 20

/** A device of IP in IP, with the network address of the own subnet: what ipip and the udp backend's kernel engine share. */
export interface Ipv4Tunnel {
  readonly device: string
  /** Bytes. */
  readonly mtu: number
  readonly driver: Omit<IpipDriver, 'type' | 'local'>
  /** Peers on the link that have answered are reached without the tunnel. */
  readonly directRouting: boolean
}

const memo = new PeerMemo()

/** Adds the device and, per peer, the route through it: one device for all, the gateway of a route is the far end. */
export function planTunnel(input: Input, tunnel: Ipv4Tunnel, plan: PlanBuilder): void {
  plan.add(...localObjects(input, tunnel))
  memo.begin(guardBasis(input))
  const port = tunnel.driver.encapsulation?.port
  const udp = port === undefined ? [] : [{ type: 'udp', port } as const]
  // The device takes bare packets, too, whatever it sends.
  plan.comesIn({ tunnels: new Map([[4, tunnel.device]]), outer: [...udp, { type: 'ipip' }] })
  for (const { lease } of input.peers) {
    const direct = tunnel.directRouting ? directDevice(input.facts, lease) : undefined
    plan.addPeer(
      lease.id,
      memo.of(lease, `${tunnel.device} ${direct ?? ''} ${guardVariant(input, lease)}`, () =>
        planPeer(input, lease, { tunnel: tunnel.device, direct }),
      ),
    )
  }
}

function localObjects({ own, facts }: Input, { device, mtu, driver }: Ipv4Tunnel): DesiredObject[] {
  const local = facts.external.addresses.get(4)
  const subnet = own.families.get(4)?.subnet
  return [
    {
      kind: 'link',
      role: { class: 'required', family: 4 },
      name: device,
      mtu,
      up: true,
      driver: { type: 'ipip', ...(local === undefined ? {} : { local }), ...driver },
    },
    ...(subnet === undefined ? [] : [tunnelAddress(device, networkAddress(subnet))]),
    looseReversePath(device),
  ]
}

function planPeer(
  input: Input,
  lease: Lease,
  { tunnel, direct }: { readonly tunnel: string; readonly direct: string | undefined },
): PeerPlan {
  const role: Role = { class: 'peer', peer: lease.id }
  return planFamilies(lease, { families: [4], reason: 'invalid-lease' }, (_family, part) => {
    const route = gatewayRoute(role, { dst: part.subnet, via: part.publicIp, device: direct ?? tunnel, onLink: true })
    return familyPlan(direct === undefined ? 'tunnel' : 'direct', [...guardPeer(input, part, tunnel, role), route])
  })
}

/** The device on whose link the peer has answered. */
function directDevice(facts: HostFacts, lease: Lease): string | undefined {
  const part = lease.families.get(4)
  const reach = part && facts.reach.get(part.publicIp)
  return reach?.answered ? reach.onLink : undefined
}
