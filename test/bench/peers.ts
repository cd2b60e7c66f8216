import { setTimeout as delay } from 'node:timers/promises'
import type { Figure, Measurement } from './measurement.ts'
import { OneHost } from './one-host.ts'
import { cpuMs, peakMb, residentMb } from './process-cost.ts'
import { RouteMonitor } from './route-monitor.ts'

/** How long memory and processor time of the start have to show. */
const SETTLE_MS = 3_000

/** A host that joins a large cluster. The route is what either program writes last of a peer. */
export const peers1000 = peers(1_000, 5, { timesPeer: 1 })
export const peers5000 = peers(5_000, 5, { timesPeer: 0.5 })
export const peers20000 = peers(20_000, 3, { under: 2.5 })

function peers(leases: number, rounds: number, goal: NonNullable<Figure['goal']>): Measurement {
  const count = leases.toLocaleString('en')
  const figures: readonly Figure[] = [
    { key: 'all', title: `start to all of ${count} peers in the kernel`, unit: 's', digits: 2, goal },
    { key: 'env', title: '  start to subnet.env', unit: 's', digits: 2 },
    { key: 'cpu', title: '  CPU for that', unit: 's', digits: 2, goal: { timesPeer: 1 } },
    {
      key: 'resident',
      title: '  resident memory after it',
      unit: 'MB',
      digits: 1,
      ...(leases > 5_000 ? {} : { goal: { under: 80 } }),
    },
    { key: 'peak', title: '  most resident memory until then', unit: 'MB', digits: 1 },
  ]
  return {
    name: `peers-${leases}`,
    rounds,
    figures,
    async prepare(defer) {
      const world = await OneHost.create(leases)
      defer(() => world.lab.close())
      return async (side) => {
        const monitor = await RouteMonitor.start(world.host)
        try {
          const began = performance.now()
          const { pid } = await world.start(side)
          const written = world.host.subnetEnv({ timeout: 60_000 }).then(() => performance.now())
          const [env, all] = await Promise.all([written, monitor.arrivalOf(leases, 60_000)])
          await delay(SETTLE_MS)
          const seconds = { env: (env - began) / 1000, all: (all - began) / 1000 }
          return { ...seconds, cpu: cpuMs(pid) / 1000, resident: residentMb(pid), peak: peakMb(pid) }
        } finally {
          monitor.close()
          await world.reset()
        }
      }
    },
  }
}
