import { JsonFields } from '../lib/json-fields.ts'
import type { Backend, LocalInput, LocalPlan } from './backend.ts'
import { IPV4_HEADER, planTunnelPeer, tunnelObjects } from './ipv4-tunnel.ts'
import { looseUplink } from './reverse-path.ts'

export interface IpipConfig {
  readonly directRouting: boolean
}

/** The kernel's own `tunl0` is never touched: others use it. */
const DEVICE = 'flannel.ipip'

/** The outer packet is IP and nothing else (protocol 4): the smallest overhead of all tunnels, IPv4 only. Source: RFC 2003. */
export const ipip: Backend<IpipConfig, null> = {
  type: 'ipip',
  wireType: 'ipip',
  families: [4],
  parseConfig(raw, warnings) {
    const fields = new JsonFields(raw, 'Backend')
    fields.has('Type')
    const directRouting = fields.boolean('DirectRouting', false)
    warnings.push(...fields.unknownKeys())
    return { directRouting }
  },
  written: ({ directRouting }) => ({ DirectRouting: directRouting }),
  lasting: () => null,
  prepare: async () => ({ identity: null, path: { backend: 'ipip', data: new Map() } }),
  local: planLocal,
  peer: ({ config }, peer, reach) => planTunnelPeer(peer, DEVICE, config.directRouting ? reach : undefined),
  devices: () => [DEVICE],
  reach: (config) => (config.directRouting ? 'probe' : 'unused'),
}

// The inner packet decides on life time and fragments, as with flannel: a traceroute shows the hosts, a small path MTU is heard of.
const DRIVER = { ttl: 0, pathMtuDiscovery: false }

function planLocal({ config, own, facts }: LocalInput<IpipConfig, null>): LocalPlan {
  const { external, strictReversePath } = facts
  const mtu = external.mtu - IPV4_HEADER
  const uplink = config.directRouting && strictReversePath ? [looseUplink(external.name)] : []
  return {
    objects: [...tunnelObjects({ own, facts }, { device: DEVICE, mtu, driver: DRIVER }), ...uplink],
    mtu,
    notices: [],
    ingress: { tunnels: new Map([[4, DEVICE]]), outer: [{ type: 'ipip' }] },
  }
}
