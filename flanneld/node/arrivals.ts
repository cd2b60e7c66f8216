import type { HostFacts, LocalPlan } from '../../backends/backend.ts'
import type { Way } from '../../backends/way.ts'
import type { Arrival, PacketPath } from '../../kernel/obstacles/packet-path.ts'
import type { Family } from '../../lib/address.ts'
import type { PlannerInput } from './planner-input.ts'

interface ArrivalSources extends Pick<PlannerInput, 'change' | 'network' | 'own' | 'ways'> {
  readonly facts: Pick<HostFacts, 'external'>
}

/**
 * By which devices packets of peers' containers come in, and go out to them, after a change and not before. Probes end at this host, so
 * they say nothing of what forwarding does to containers' packets there. Pure.
 */
export function arrivals(
  { change, network, own, ways, facts }: ArrivalSources,
  locals: ReadonlyMap<Way, LocalPlan>,
): readonly PacketPath[] {
  const [only] = ways
  // With direct paths beside a tunnel both devices are in use all the time.
  const target = change?.target ?? only
  if (target === undefined) return []
  const devicesOf = (way: Way, family: Family): readonly string[] => {
    const ingress = locals.get(way)?.ingress
    if (ingress === undefined || !way.families.includes(family)) return []
    const tunnel = ingress.tunnels.get(family)
    const isDirect = tunnel === undefined || way.path.direct === true
    return [...(tunnel === undefined ? [] : [tunnel]), ...(isDirect ? [facts.external.name] : [])]
  }
  return [...network.families].flatMap(([family, { network }]): readonly PacketPath[] => {
    const to = own.families.get(family)?.subnet
    const others = ways.flatMap((way) => (way === target ? [] : devicesOf(way, family)))
    const before = others.length > 0 ? others : devicesOf(target, family).slice(0, 1)
    const [instead] = before
    if (to === undefined || instead === undefined) return []
    return devicesOf(target, family)
      .filter((device) => !before.includes(device))
      .map((device) => ({ hook: 'forward', family, network, arrival: { device, instead, to } satisfies Arrival }))
  })
}
