import { JsonFields } from '../lib/json-fields.ts'
import type { Backend, LocalInput, LocalPlan, WayDevices } from './backend.ts'
import { IPIP_DEVICES, IPV4_HEADER, planTunnelPeer, RECEIVING_IP_IN_IP, tunnelObjects } from './ipv4-tunnel.ts'
import { looseUplink } from './reverse-path.ts'

export interface IpipConfig {
  readonly directRouting: boolean
}

/** The kernel's own `tunl0` is never touched: others use it. */
const DEVICES: readonly [WayDevices, WayDevices] = [
  { names: new Map([[4, IPIP_DEVICES[0]]]), ipInIp: 'by any interface' },
  { names: new Map([[4, IPIP_DEVICES[1]]]), ipInIp: 'by the uplink' },
]

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
  isDirect: ({ directRouting }) => directRouting,
  prepare: async () => ({ identity: null, path: { backend: 'ipip', data: new Map() } }),
  local: planLocal,
  peer: ({ config, tunnels }, peer, reach) =>
    planTunnelPeer(peer, tunnels.get(4) ?? '', config.directRouting ? reach : undefined),
  devices: () => DEVICES,
  mayHaveMade: (_config, driver) => driver.type === 'ipip' && driver.encapsulation === undefined,
  reach: (config) => (config.directRouting ? 'probe' : 'unused'),
}

// The inner packet decides on life time and fragments, as with flannel: a traceroute shows the hosts, a small path MTU is heard of.
const DRIVER = { ttl: 0, pathMtuDiscovery: false }

function planLocal({ config, devices, own, facts }: LocalInput<IpipConfig, null>): LocalPlan {
  const { external, strictReversePath } = facts
  const mtu = external.mtu - IPV4_HEADER
  const uplink = config.directRouting && strictReversePath ? [looseUplink(external.name)] : []
  return {
    objects: [...tunnelObjects({ devices, own, facts }, { mtu, driver: DRIVER }), ...uplink],
    mtu,
    notices: [],
    ingress: { tunnels: devices.names, alsoBy: RECEIVING_IP_IN_IP, outer: [{ type: 'ipip' }] },
  }
}
