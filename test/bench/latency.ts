import { setTimeout as delay } from 'node:timers/promises'
import type { Measurement } from './measurement.ts'
import { type BackendConfig, foreignSubnet, OneHost } from './one-host.ts'
import { RouteMonitor } from './route-monitor.ts'
import { percentile } from './statistics.ts'

const PUTS = 200

export const latency = leaseLatency('latency', {})
export const latency5000 = leaseLatency('latency-5000', { leases: 5_000 })
export const latencyExcluding5000 = leaseLatency('latency-excluding-5000', { leases: 5_000, excluding: true })
export const latencyDirect5000 = leaseLatency('latency-direct-5000', {
  leases: 5_000,
  backend: { Type: 'vxlan', DirectRouting: true },
})

interface Beside {
  readonly leases?: number
  /** One more lease, with the public address of another one. */
  readonly excluding?: true
  readonly backend?: BackendConfig
}

/** A host joins: how long until this one can reach its containers. From before the put, so etcd's own write counts for both. */
function leaseLatency(name: string, { leases = 0, excluding, backend = { Type: 'vxlan' } }: Beside): Measurement {
  const others = leases === 0 ? '' : `, beside ${leases.toLocaleString('en')} others`
  const conflict = excluding ? ', two of which exclude each other' : ''
  const beside = `${others}${conflict}${backend.DirectRouting === true ? ', with DirectRouting' : ''}`
  return {
    name,
    rounds: 3,
    figures: [
      {
        key: 'p50',
        title: `lease put to route${beside}, p50 of ${PUTS}`,
        unit: 'ms',
        digits: 1,
        goal: { timesPeer: 1.1 },
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
      if (excluding) await world.putExcluding(0)
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
