import { setTimeout as delay } from 'node:timers/promises'
import type { Measurement } from './measurement.ts'
import { OneHost } from './one-host.ts'
import { cpuMs, residentMb } from './process-cost.ts'
import { RouteMonitor } from './route-monitor.ts'

/** A start has its aftermath: collections of garbage come some ten seconds later. */
const SETTLE_MS = 20_000
const MINUTE_MS = 60_000

export const idle = idleWith('idle', { leases: 5_000, args: [], title: 'at 5,000 leases', timesPeer: 1 })
/** flannel reads the rules every five seconds. */
export const idleMasquerade = idleWith('idle-masq', {
  leases: 0,
  args: ['--ip-masq'],
  title: 'with --ip-masq',
  timesPeer: 1 / 3,
})

interface Kind {
  readonly leases: number
  readonly args: readonly string[]
  readonly title: string
  readonly timesPeer: number
}

/** What a cluster in which nothing happens costs each of its hosts, all day. */
function idleWith(name: string, { leases, args, title, timesPeer }: Kind): Measurement {
  return {
    name,
    rounds: 2,
    figures: [
      { key: 'cpu', title: `idle CPU ${title}, a minute`, unit: '%', digits: 2, goal: { timesPeer } },
      { key: 'resident', title: '  resident memory after that minute', unit: 'MB', digits: 1, goal: { under: 80 } },
    ],
    async prepare(defer) {
      const world = await OneHost.create(leases)
      defer(() => world.lab.close())
      return async (side) => {
        const monitor = await RouteMonitor.start(world.host)
        try {
          const { pid } = await world.start({ ...side, daemon: { ...side.daemon, args } })
          await monitor.arrivalOf(leases, 60_000)
          await world.host.subnetEnv()
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
}
