import { setTimeout as delay } from 'node:timers/promises'
import type { Figure, Measurement } from './measurement.ts'
import { foreignSubnet } from './one-host.ts'
import { OneNode } from './one-node.ts'
import { cpuMs, peakMb, residentMb } from './process-cost.ts'
import { RouteMonitor } from './route-monitor.ts'
import { percentile } from './statistics.ts'

/** How long memory and processor time of the start have to show. */
const SETTLE_MS = 3_000
const CREATED = 50
const IDLE_MS = 20_000

/** A host that joins a cluster of so many Nodes, and then sees others join. */
export const kube1000 = kube(1_000, 3)
export const kube5000 = kube(5_000, 3)

function kube(nodes: number, rounds: number): Measurement {
  const count = nodes.toLocaleString('en')
  const figures: readonly Figure[] = [
    {
      key: 'env',
      title: `Kubernetes, ${count} Nodes: start to subnet.env`,
      unit: 's',
      digits: 2,
      goal: { under: 0.5 },
    },
    { key: 'all', title: '  start to all peers in the kernel', unit: 's', digits: 2, goal: { timesPeer: 1 } },
    { key: 'cpu', title: '  CPU for that', unit: 's', digits: 2, goal: { timesPeer: 1 } },
    { key: 'resident', title: '  resident memory after it', unit: 'MB', digits: 1, goal: { under: 90 } },
    { key: 'peak', title: '  most resident memory until then', unit: 'MB', digits: 1 },
    {
      key: 'p50',
      title: `  Node created to route, p50 of ${CREATED}`,
      unit: 'ms',
      digits: 1,
      goal: { timesPeer: 1.1 },
    },
    { key: 'idle', title: '  idle CPU', unit: '%', digits: 2, goal: { timesPeer: 1 } },
  ]
  return {
    name: `kube-${nodes}`,
    rounds,
    figures,
    async prepare(defer) {
      const world = await OneNode.create(nodes)
      defer(() => world.lab.close())
      let next = nodes
      return async (side) => {
        const monitor = await RouteMonitor.start(world.host)
        try {
          const began = performance.now()
          const { pid } = await world.start(side)
          const written = world.host.subnetEnv({ timeout: 60_000 }).then(() => performance.now())
          // Those of earlier rounds too.
          const [env, all] = await Promise.all([written, monitor.arrivalOf(next, 60_000)])
          await delay(SETTLE_MS)
          const start = { cpu: cpuMs(pid) / 1000, resident: residentMb(pid), peak: peakMb(pid) }
          const before = cpuMs(pid)
          await delay(IDLE_MS)
          const idle = ((cpuMs(pid) - before) / IDLE_MS) * 100
          const indexes = Array.from({ length: CREATED }, (_unused, n) => next + n)
          next += CREATED
          const sent = await world.put(indexes, 20)
          const times: number[] = []
          for (const [n, index] of indexes.entries())
            times.push((await monitor.arrival(foreignSubnet(index).subnet, 10_000)) - (sent[n] ?? Number.NaN))
          const p50 = percentile(times, 0.5)
          return { env: (env - began) / 1000, all: (all - began) / 1000, ...start, p50, idle }
        } finally {
          monitor.close()
          await world.reset()
        }
      }
    },
  }
}
