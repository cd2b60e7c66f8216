import type { DataPlaneCounts } from '../backend.ts'
import type { UdpEngine } from './engine.ts'

/** The engine's counters by the names that operators see: `dropInnerSource` is the reason `inner-source`. */
export function countsOf(engine: Pick<UdpEngine, 'counters' | 'deaths'>): DataPlaneCounts {
  const counters = engine.counters()
  const drops: Record<string, number> = {}
  for (const [name, count] of Object.entries(counters)) {
    if (name.startsWith('drop')) drops[kebab(name.slice('drop'.length))] = count
  }
  return {
    packets: { in: counters.packetsIn, out: counters.packetsOut },
    bytes: { in: counters.bytesIn, out: counters.bytesOut },
    drops,
    deaths: engine.deaths,
  }
}

export function addCounts(before: DataPlaneCounts | undefined, now: DataPlaneCounts): DataPlaneCounts {
  if (before === undefined) return now
  const drops = Object.entries(now.drops).map(([reason, count]) => [reason, count + (before.drops[reason] ?? 0)])
  return {
    packets: { in: before.packets.in + now.packets.in, out: before.packets.out + now.packets.out },
    bytes: { in: before.bytes.in + now.bytes.in, out: before.bytes.out + now.bytes.out },
    drops: Object.fromEntries(drops),
    deaths: before.deaths + now.deaths,
  }
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter, at) => `${at === 0 ? '' : '-'}${letter.toLowerCase()}`)
}
