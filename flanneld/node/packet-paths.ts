import type { Ingress, LocalFacts, OuterForm } from '../../backends/backend.ts'
import type { OuterPacket } from '../../kernel/obstacles/packet-fate.ts'
import type { PacketPath } from '../../kernel/obstacles/packet-path.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { Lease } from '../../subnet/types.ts'
import type { TrafficOptions } from './traffic-rules.ts'

interface PathSources {
  readonly network: NetworkConfig
  readonly own: Lease
  readonly facts: LocalFacts
  /** Of all ways; none where somebody else carries the packets. */
  readonly ingresses: readonly Ingress[]
}

/**
 * Of which packets it is asked whether rules of other programs drop them: those of containers where our rules are to let
 * them through, and those that tunnels of peers bring. Pure.
 */
export function packetPaths(
  { network, own, facts, ingresses }: PathSources,
  options: Pick<TrafficOptions, 'forward' | 'masquerade'>,
): readonly PacketPath[] {
  const { name: device, addresses } = facts.external
  return [...network.families].flatMap(([family, { network }]): readonly PacketPath[] => {
    const isOurs = own.families.has(family)
    const local = addresses.get(family)
    const forms = ingresses.flatMap(({ outer }) => outer)
    return [
      ...(isOurs && options.forward ? [{ hook: 'forward', family, network } as const] : []),
      ...forms.flatMap((form): readonly PacketPath[] => {
        if (local === undefined) return []
        return [{ hook: 'input', family, network, outer: { ...packetOf(form), device, local } }]
      }),
      ...(isOurs && options.masquerade ? [{ hook: 'postrouting', family, network } as const] : []),
    ]
  })
}

function packetOf(form: OuterForm): Pick<OuterPacket, 'protocol' | 'port'> {
  return form.type === 'ipip' ? { protocol: 'ipip' } : { protocol: 'udp', port: form.port }
}
