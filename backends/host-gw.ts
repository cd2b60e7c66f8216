import type { Role } from '../kernel/objects.ts'
import { ConfigError, InvalidLease } from '../lib/errors.ts'
import { JsonFields } from '../lib/json-fields.ts'
import type { FamilyLease, Lease } from '../subnet/types.ts'
import type { Backend, Plan, PlanInput } from './backend.ts'
import { guardBasis, guardPeer } from './ingress-guard.ts'
import { PeerMemo } from './peer-memo.ts'
import { familyPlan, type PeerPlan, planFamilies } from './peer-plan.ts'
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

function planHostGw(input: Input): Plan {
  const plan = new PlanBuilder()
  memo.begin([input.network, ...guardBasis(input)])
  plan.comesIn({ tunnels: new Map(), outer: [] })
  for (const { lease } of input.peers) {
    const devices = [...input.network.families.keys()].map(
      (family) => deviceTo(input, lease.families.get(family)) ?? '',
    )
    plan.addPeer(
      lease.id,
      memo.of(lease, devices.join(' '), () => planPeer(input, lease)),
    )
  }
  return plan.build(input.facts.external.mtu)
}

function planPeer(input: Input, lease: Lease): PeerPlan {
  const role: Role = { class: 'peer', peer: lease.id }
  const families = input.network.families.keys()
  return planFamilies(lease, { families, reason: 'not-on-link' }, (_family, part) => {
    const device = deviceTo(input, part)
    if (device === undefined) {
      throw new InvalidLease(`${part.publicIp} is reached via a gateway, and host-gw needs one L2 segment`)
    }
    const route = gatewayRoute(role, { dst: part.subnet, via: part.publicIp, device, onLink: false })
    return familyPlan('direct', [...guardPeer(input, part, undefined, role), route])
  })
}

function deviceTo({ facts }: Input, part: FamilyLease | undefined): string | undefined {
  return part && facts.reach.get(part.publicIp)?.onLink
}
