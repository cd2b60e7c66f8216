import { setTimeout as delay } from 'node:timers/promises'
import { inParallel } from '../../lab/build.ts'
import { defaultPrefix, type Lab } from '../../lab/lab.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { until } from '../until.ts'
import type { Measurement, Sample } from './measurement.ts'
import { cpuMs } from './process-cost.ts'
import { rack } from './rack.ts'

const HOSTS = 50
const LIMIT_MS = 600_000
const FIRST = { Type: 'vxlan' }
const leasePrefix = `${defaultPrefix}/subnets/`

/** The backend of a rack is changed, and changed back, while each host's container asks the next one's twenty times a second. */
export const liveChange: Measurement = {
  name: 'live-change',
  rounds: 3,
  oursOnly: true,
  figures: [
    { key: 'there', title: `${HOSTS} hosts, vxlan to host-gw: until no lease says another`, unit: 's', digits: 1 },
    { key: 'back', title: '  and back', unit: 's', digits: 1 },
    { key: 'cpu', title: '  CPU of a host for both', unit: 's', digits: 2 },
    { key: 'writes', title: '  writes of leases in both, of a host', unit: '', digits: 1 },
    { key: 'sent', title: '  echo requests', unit: '', digits: 0 },
    { key: 'lost', title: '  of them lost', unit: '', digits: 0, goal: { under: 1 } },
  ],
  async prepare(defer) {
    const lab = await rack(HOSTS, FIRST)
    defer(() => lab.close())
    await inParallel(lab.hosts, 4, async (host) => {
      await host.startDaemon({})
      await host.subnetEnv({ timeout: LIMIT_MS })
      await host.addContainer('c1')
    })
    const judges = lab.hosts.map((host, index) => {
      const next = lab.hosts[(index + 1) % HOSTS] ?? host
      return host.container('c1').startPing(next.container('c1').address, 50)
    })
    defer(async () => {
      await Promise.all(judges.map((judge) => judge.stop()))
    })
    await Promise.all(judges.map((judge) => judge.answered(AbortSignal.timeout(LIMIT_MS))))
    return async () => await thereAndBack(lab, judges)
  },
}

async function thereAndBack(lab: Lab, judges: readonly PingJudge[]): Promise<Sample> {
  const before = { ...counted(judges), cpu: cpuOf(lab), revision: await revisionOf(lab) }
  const there = await changed(lab, { Type: 'host-gw' })
  const back = await changed(lab, FIRST)
  // What is in flight is not lost.
  await delay(1_000)
  const after = { ...counted(judges), cpu: cpuOf(lab), revision: await revisionOf(lab) }
  return {
    there: there / 1000,
    back: back / 1000,
    cpu: (after.cpu - before.cpu) / 1000 / HOSTS,
    // The configuration was written twice.
    writes: (after.revision - before.revision - 2) / HOSTS,
    sent: after.sent - before.sent,
    lost: after.lost - before.lost,
  }
}

/** Milliseconds until every lease says this backend and no other. */
async function changed(lab: Lab, backend: { readonly Type: string }): Promise<number> {
  const began = performance.now()
  await lab.configure({ Network: '10.5.0.0/16', Backend: backend })
  await until(LIMIT_MS, `all is ${backend.Type}`, async () => {
    const values = (await lab.etcd.list(leasePrefix)).map(({ value }) => JSON.parse(value))
    const others = values.filter(({ BackendType, Accepts, Sends }) => BackendType !== backend.Type || Accepts || Sends)
    if (values.length !== HOSTS || others.length > 0) throw new Error(`${others.length} of ${values.length} are not`)
  })
  return performance.now() - began
}

async function revisionOf(lab: Lab): Promise<number> {
  const revisions = (await lab.etcd.list(defaultPrefix)).map(({ modRevision }) => Number(modRevision))
  return Math.max(...revisions)
}

function counted(judges: readonly PingJudge[]): { readonly sent: number; readonly lost: number } {
  const verdicts = judges.map((judge) => judge.verdict())
  return {
    sent: verdicts.reduce((sum, { sent }) => sum + sent, 0),
    lost: verdicts.reduce((sum, { lost }) => sum + lost, 0),
  }
}

/** Milliseconds of processor time of all daemons. */
function cpuOf(lab: Lab): number {
  return lab.hosts.reduce((sum, { daemon }) => sum + (daemon?.pid === undefined ? 0 : cpuMs(daemon.pid)), 0)
}
