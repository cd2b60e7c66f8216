import type { HostFacts, Ingress, OuterForm } from '../../backends/backend.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import type { OuterPacket } from '../../kernel/rules/packet-fate.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'

/** Looked at, never changed: whether the host's own firewall lets in what tunnels of peers bring. Pure. */
export function tunnelPaths(network: NetworkConfig, facts: HostFacts, ingress: Ingress): readonly DesiredObject[] {
  const { name: device, addresses } = facts.external
  const role = {
    class: 'advisory',
    remedy: 'rules of others are left alone: their owner must let the tunnel of peers in',
  } as const
  return [...network.families].flatMap(([family, part]) => {
    const local = addresses.get(family)
    if (local === undefined) return []
    return ingress.outer.map((form): DesiredObject => {
      const outer = { ...packetOf(form), device, local }
      return { kind: 'clear-path', role, hook: 'input', family, network: part.network, outer, obstacles: [] }
    })
  })
}

function packetOf(form: OuterForm): Pick<OuterPacket, 'protocol' | 'port'> {
  return form.type === 'ipip' ? { protocol: 'ipip' } : { protocol: 'udp', port: form.port }
}
