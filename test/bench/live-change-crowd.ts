import { setTimeout as delay } from 'node:timers/promises'
import { status } from '../e2e/world.ts'
import { Crowd } from './crowd.ts'
import type { Measurement, Sample } from './measurement.ts'
import { resetHost } from './one-host.ts'
import { cpuMs } from './process-cost.ts'
import { RouteMonitor } from './route-monitor.ts'

const PEERS = 1_000
const LIMIT_MS = 120_000
/** The document has a line for each peer: asked for more often, it would be most of what is measured. */
const LOOK_MS = 250

/** One node of a large cluster changes its backend while all others do. */
export const liveChangeCrowd: Measurement = {
  name: 'live-change-1000',
  rounds: 3,
  oursOnly: true,
  figures: [
    {
      key: 'moved',
      title: `${PEERS.toLocaleString('en')} peers, vxlan to host-gw: until all have moved`,
      unit: 's',
      digits: 1,
    },
    { key: 'done', title: '  until the old way has ended', unit: 's', digits: 1 },
    { key: 'rounds', title: '  rounds of six probes, for a peer', unit: '', digits: 1 },
    { key: 'most', title: '  most of them in a second', unit: '', digits: 0 },
    { key: 'writes', title: '  writes of the own lease', unit: '', digits: 0 },
    { key: 'cpu', title: '  CPU for all that', unit: 's', digits: 2 },
  ],
  async prepare(defer) {
    const crowd = await Crowd.create(PEERS)
    defer(() => crowd.lab.close())
    return async ({ daemon }) => {
      await crowd.configure('vxlan')
      await crowd.write('old')
      const monitor = await RouteMonitor.start(crowd.host)
      try {
        const { pid } = await crowd.host.startDaemon(daemon)
        await monitor.arrivalOf(PEERS, LIMIT_MS)
        return await changed(crowd, pid)
      } finally {
        monitor.close()
        await resetHost(crowd.host)
      }
    }
  },
}

async function changed(crowd: Crowd, pid: number): Promise<Sample> {
  const [cpu, began] = [cpuMs(pid), performance.now()]
  const seen = new Set<string>()
  let [rounds, most, countedAt] = [0, 0, began]
  const look = async () => {
    const [own, { backendChange, counters }] = [await crowd.own(), await status(crowd.host)]
    seen.add(own.revision)
    if (performance.now() - countedAt >= 1_000) {
      const { probesAnswered, probesUnanswered } = counters.backendChanges
      const now = probesAnswered + probesUnanswered
      most = Math.max(most, ((now - rounds) * 1000) / (performance.now() - countedAt))
      ;[rounds, countedAt] = [now, performance.now()]
    }
    return { own, backendChange }
  }
  const when = async (what: string, is: (now: Awaited<ReturnType<typeof look>>) => boolean) => {
    while (!is(await look())) {
      if (performance.now() - began > LIMIT_MS) throw new Error(`not in ${LIMIT_MS} ms: ${what}`)
      await delay(LOOK_MS)
    }
    return (performance.now() - began) / 1000
  }
  await crowd.configure('host-gw')
  await crowd.write('accepts both')
  await when('it accepts both', ({ own }) => own.Accepts?.length === 2)
  await crowd.write('sends both')
  const moved = await when('all are moved', ({ backendChange }) => backendChange?.peers.moved === PEERS)
  await crowd.write('sends the new one')
  await when('it sends by the new one', ({ own }) => own.Accepts === undefined || own.Sends?.length === 1)
  await crowd.write('new')
  const done = await when('it is done', ({ own, backendChange }) => own.Accepts === undefined && backendChange === null)
  return { moved, done, rounds: rounds / PEERS, most, writes: seen.size - 1, cpu: (cpuMs(pid) - cpu) / 1000 }
}
