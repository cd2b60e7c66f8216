import { JsonFields } from '../lib/json-fields.ts'
import type { Backend, Plan, PlanInput } from './backend.ts'
import { IPV4_HEADER, planTunnel } from './ipv4-tunnel.ts'
import { PlanBuilder } from './plan-builder.ts'
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
  lasting: () => null,
  prepare: async () => ({ identity: null, path: { backend: 'ipip', data: new Map() } }),
  plan: planIpip,
  devices: () => [DEVICE],
  reach: (config) => (config.directRouting ? 'probe' : 'unused'),
}

function planIpip(input: PlanInput<IpipConfig, null>): Plan {
  const plan = new PlanBuilder()
  const { directRouting } = input.config
  const { external, strictReversePath } = input.facts
  const mtu = external.mtu - IPV4_HEADER
  // The inner packet decides on life time and fragments, as with flannel: a traceroute shows the hosts, a small path MTU is heard of.
  planTunnel(input, { device: DEVICE, mtu, driver: { ttl: 0, pathMtuDiscovery: false }, directRouting }, plan)
  if (directRouting && strictReversePath) plan.add(looseUplink(external.name))
  return plan.build(mtu)
}
