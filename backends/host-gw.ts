import { ConfigError } from '../lib/errors.ts'
import { JsonFields } from '../lib/json-fields.ts'
import type { Backend, PeerPlan, PlannedPeer, Reach } from './backend.ts'
import { gatewayRoute } from './routes.ts'

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
  written: () => ({}),
  prepare: async (_config, context) => {
    for (const [family, publicIp] of context.facts.external.publicIps) {
      if (context.network.families.has(family) && !context.facts.ownAddresses.has(publicIp)) {
        throw new ConfigError('public-ip', 'must be an address of this host when Backend.Type is host-gw', publicIp)
      }
    }
    return { identity: null, path: { backend: 'host-gw', data: new Map() } }
  },
  local: ({ facts }) => ({
    objects: [],
    mtu: facts.external.mtu,
    notices: [],
    ingress: { tunnels: new Map(), outer: [] },
  }),
  peer: (_input, peer, reach) => planPeer(peer, reach),
  devices: () => [{ names: new Map() }],
  reach: () => 'probe',
}

function planPeer({ role, part }: PlannedPeer, reach: Reach | undefined): PeerPlan {
  const { subnet, publicIp } = part
  const device = reach?.onLink
  if (device === undefined) {
    return { reason: 'not-on-link', text: `${publicIp} is reached via a gateway, and host-gw needs one L2 segment` }
  }
  return { path: 'direct', objects: [gatewayRoute(role, { dst: subnet, via: publicIp, device, onLink: false })] }
}
