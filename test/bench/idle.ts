import { setTimeout as delay } from 'node:timers/promises'
import type { Measurement } from './measurement.ts'
import { OneHost } from './one-host.ts'
import { cpuMs, residentMb } from './process-cost.ts'
import { RouteMonitor } from './route-monitor.ts'

const LEASES = 5_000
const SETTLE_MS = 10_000
const MINUTE_MS = 60_000

/** What a cluster in which nothing happens costs each of its hosts, all day. */
export const idle: Measurement = {
  name: 'idle',
  rounds: 2,
  figures: [
    { key: 'cpu', title: 'idle CPU at 5,000 leases, a minute', unit: '%', digits: 2, goal: { timesPeer: 1 } },
    { key: 'resident', title: '  resident memory after that minute', unit: 'MB', digits: 1, goal: { under: 80 } },
  ],
  async prepare(defer) {
    const world = await OneHost.create(LEASES)
    defer(() => world.lab.close())
    return async (side) => {
      const monitor = await RouteMonitor.start(world.host)
      try {
        const { pid } = await world.start(side)
        await monitor.arrivalOf(LEASES, 60_000)
        await delay(SETTLE_MS)
        const before = cpuMs(pid)
        await delay(MINUTE_MS)
        return { cpu: ((cpuMs(pid) - before) / MINUTE_MS) * 100, resident: residentMb(pid) }
      } finally {
        monitor.close()
        await world.reset()
      }
    }
  },
}
