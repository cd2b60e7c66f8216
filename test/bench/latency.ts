import { setTimeout as delay } from 'node:timers/promises'
import type { Measurement } from './measurement.ts'
import { type BackendConfig, foreignSubnet, OneHost } from './one-host.ts'
import { RouteMonitor } from './route-monitor.ts'
import { percentile } from './statistics.ts'

const PUTS = 200

export const latency = leaseLatency('latency', 0)
export const latency5000 = leaseLatency('latency-5000', 5_000)
export const latencyDirect5000 = leaseLatency('latency-direct-5000', 5_000, { Type: 'vxlan', DirectRouting: true })

/** A host joins: how long until this one can reach its containers. From before the put, so etcd's own write counts for both. */
function leaseLatency(name: string, leases: number, backend: BackendConfig = { Type: 'vxlan' }): Measurement {
  const others = leases === 0 ? '' : `, beside ${leases.toLocaleString('en')} others`
  const beside = backend.DirectRouting === true ? `${others}, with DirectRouting` : others
  return {
    name,
    rounds: 3,
    figures: [
      {
        key: 'p50',
        title: `lease put to route${beside}, p50 of ${PUTS}`,
        unit: 'ms',
        digits: 1,
        goal: { timesPeer: 1 },
      },
      {
        key: 'p99',
        title: `lease put to route${beside}, p99 of ${PUTS}`,
        unit: 'ms',
        digits: 1,
        goal: { timesPeer: 1 },
      },
    ],
    async prepare(defer) {
      const world = await OneHost.create(leases, backend)
      defer(() => world.lab.close())
      let next = leases
      return async (side) => {
        const monitor = await RouteMonitor.start(world.host)
        try {
          await world.start(side)
          // Those of earlier rounds too.
          await monitor.arrivalOf(next, 60_000)
          await world.host.subnetEnv()
          await delay(2_000)
          const times: number[] = []
          for (let count = 0; count < PUTS; count += 1) {
            const { subnet } = foreignSubnet(next)
            const began = performance.now()
            await world.put(next)
            times.push((await monitor.arrival(subnet, 10_000)) - began)
            next += 1
            await delay(20)
          }
          return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) }
        } finally {
          monitor.close()
          await world.reset()
        }
      }
    },
  }
}
