import type { Ingress, LocalFacts, OuterForm } from '../../backends/backend.ts'
import { type OuterPacket, tunnelName } from '../../kernel/obstacles/packet-fate.ts'
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
  const tunnels = differentPackets(ingresses.flatMap(({ outer }) => outer))
  return [...network.families].flatMap(([family, { network }]): readonly PacketPath[] => {
    const isOurs = own.families.has(family)
    const local = addresses.get(family)
    return [
      ...(isOurs && options.forward ? [{ hook: 'forward', family, network } as const] : []),
      ...tunnels.flatMap((packet): readonly PacketPath[] => {
        if (local === undefined) return []
        return [{ hook: 'input', family, network, outer: { ...packet, device, local } }]
      }),
      ...(isOurs && options.masquerade ? [{ hook: 'postrouting', family, network } as const] : []),
    ]
  })
}

/** Two ways may share a port: to a firewall their packets are the same. */
function differentPackets(forms: readonly OuterForm[]): readonly Pick<OuterPacket, 'protocol' | 'port'>[] {
  const packets = forms.map((form) =>
    form.type === 'ipip' ? ({ protocol: 'ipip' } as const) : ({ protocol: 'udp', port: form.port } as const),
  )
  return [...new Map(packets.map((packet) => [tunnelName(packet), packet])).values()]
}
