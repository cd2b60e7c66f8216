import type { DesiredObject, Role } from '../kernel/objects.ts'
import type { Family } from '../lib/address.ts'
import { ConfigError } from '../lib/errors.ts'
import { JsonFields } from '../lib/json-fields.ts'
import type { Lease } from '../subnet/types.ts'
import type { Backend, Plan, PlanInput } from './backend.ts'
import { guardBasis, guardPeers } from './ingress-guard.ts'
import { PeerMemo, type PeerPlan, peerPlan } from './peer-memo.ts'
import { PlanBuilder } from './plan-builder.ts'
import { gatewayRoute } from './routes.ts'

type Input = PlanInput<null, null>

/** Peers' subnets are routed via the peers themselves: no tunnel, one L2 segment. */
export const hostGw: Backend<null, null> = {
  type: 'host-gw',
  wireType: 'host-gw',
  parseConfig(raw, warnings) {
    const fields = new JsonFields(raw, 'Backend')
    fields.has('Type')
    warnings.push(...fields.unknownKeys())
    return null
  },
  prepare: async (_config, context) => {
    for (const publicIp of context.facts.external.publicIps.values()) {
      if (!context.facts.ownAddresses.has(publicIp)) {
        throw new ConfigError('public-ip', 'must be an address of this host when Backend.Type is host-gw', publicIp)
      }
    }
    return { identity: null, path: { backend: 'host-gw', data: new Map() } }
  },
  plan: planHostGw,
  devices: () => [],
  reach: () => 'probe',
}

const memo = new PeerMemo()
const NO_TUNNELS: ReadonlyMap<Family, string> = new Map()

function planHostGw(input: Input): Plan {
  const plan = new PlanBuilder()
  memo.begin([input.network, ...guardBasis(input)])
  plan.comesIn({ tunnels: [], outer: [] })
  for (const { lease } of input.peers) {
    const devices = [...input.network.families.keys()].map((family) => deviceTo(input, lease, family) ?? '')
    plan.addPeer(
      lease.id,
      memo.of(lease, devices.join(' '), () => planPeer(input, lease)),
    )
  }
  return plan.build(input.facts.external.mtu)
}

function planPeer(input: Input, lease: Lease): PeerPlan {
  const role: Role = { class: 'peer', peer: lease.id }
  const objects: DesiredObject[] = []
  for (const family of input.network.families.keys()) {
    const part = lease.families.get(family)
    if (part === undefined) return { reason: 'missing-family', text: `the lease has no IPv${family} subnet` }
    const device = deviceTo(input, lease, family)
    if (device === undefined) {
      return {
        reason: 'not-on-link',
        text: `${part.publicIp} is reached via a gateway, and host-gw needs one L2 segment`,
      }
    }
    objects.push(gatewayRoute(role, { dst: part.subnet, via: part.publicIp, device, onLink: false }))
  }
  return peerPlan('direct', [...guardPeers(input, lease, NO_TUNNELS, role), ...objects])
}

function deviceTo({ facts }: Input, lease: Lease, family: Family): string | undefined {
  const part = lease.families.get(family)
  return part && facts.reach.get(part.publicIp)?.onLink
}
