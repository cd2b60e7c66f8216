import type { DesiredObject, Role } from '../kernel/objects.ts'
import { ConfigError } from '../lib/errors.ts'
import { JsonFields } from '../lib/json-fields.ts'
import type { Backend, Plan, PlanInput, PlannedPeer } from './backend.ts'
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

function planHostGw(input: Input): Plan {
  const plan = new PlanBuilder()
  for (const peer of input.peers) planPeer(input, peer, plan)
  return plan.build(input.facts.external.mtu)
}

function planPeer(input: Input, peer: PlannedPeer, plan: PlanBuilder): void {
  const { id } = peer.lease
  const role: Role = { class: 'peer', peer: id }
  const objects: DesiredObject[] = []
  for (const family of input.network.families.keys()) {
    const part = peer.lease.families.get(family)
    const device = part && input.facts.reach.get(part.publicIp)?.onLink
    if (part === undefined || device === undefined) {
      const text =
        part === undefined
          ? `the lease has no IPv${family} subnet`
          : `${part.publicIp} is reached via a gateway, and host-gw needs one L2 segment`
      plan.skip(id, part === undefined ? 'missing-family' : 'not-on-link', text)
      return
    }
    objects.push(gatewayRoute(role, { dst: part.subnet, via: part.publicIp, device, onLink: false }))
  }
  plan.addPeer(id, 'direct', objects)
}
