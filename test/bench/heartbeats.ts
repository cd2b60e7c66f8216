import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import process, { execPath } from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Lab } from '../../lab/lab.ts'
import { controlPlane } from '../../lab/layout.ts'
import { until } from '../until.ts'
import type { Measurement } from './measurement.ts'
import { resetHost } from './one-host.ts'
import { cpuMs, residentMb } from './process-cost.ts'
import { RouteMonitor } from './route-monitor.ts'

const NODES = 5_000
const PER_MINUTE = 100_000
const PORT = 8001
/** A start has its aftermath. */
const SETTLE_MS = 10_000
const MEASURED_MS = 30_000

/** What the heartbeats of a large cluster cost each host: they change nothing of what the daemon reads of a Node. Without TLS. */
export const heartbeats: Measurement = {
  name: 'kube-heartbeats',
  rounds: 3,
  figures: [
    {
      key: 'cpu',
      title: `CPU at ${PER_MINUTE.toLocaleString('en')} heartbeats a minute of ${NODES.toLocaleString('en')} Nodes`,
      unit: '%',
      digits: 1,
      goal: { timesPeer: 1 },
    },
    { key: 'resident', title: '  resident memory after it', unit: 'MB', digits: 1, goal: { under: 90 } },
    { key: 'sent', title: '  heartbeats sent', unit: '/min', digits: 0 },
  ],
  async prepare(defer) {
    const lab = await Lab.create({
      segments: [{ name: 'lan', subnet: '192.168.64.0/24', hosts: ['h1'] }],
      etcd: false,
    })
    defer(() => lab.close())
    const host = lab.host('h1')
    const netConf = join(lab.folder, 'net-conf.json')
    await writeFile(netConf, '{"Network":"10.0.0.0/8","Backend":{"Type":"vxlan"}}')
    const server = fileURLToPath(new URL('heartbeat-server.ts', import.meta.url))
    const url = `http://${controlPlane.address}:${PORT}`
    const args = ['--kube-subnet-mgr', `--kube-api-url=${url}`, `--net-config-path=${netConf}`]
    return async (side) => {
      // A new one for each: the annotations of the last daemon are gone with it.
      const api = await lab.controlPlane.start(
        [execPath, '--import', 'tsx', server, controlPlane.address, String(PORT), String(NODES), String(PER_MINUTE)],
        { log: join(lab.folder, 'server.log'), cwd: process.cwd() },
      )
      const monitor = await RouteMonitor.start(host)
      try {
        await until(20_000, 'the simulator listens', () =>
          lab.controlPlane.exec(['sh', '-c', `ss -Hltn "sport = :${PORT}" | grep -q .`]),
        )
        const { pid } = await host.startDaemon({ ...side.daemon, args, env: { NODE_NAME: 'h1' } })
        await monitor.arrivalOf(NODES, 60_000)
        await delay(SETTLE_MS)
        process.kill(api.pid, 'SIGUSR1')
        const [before, began] = [cpuMs(pid), performance.now()]
        await delay(MEASURED_MS)
        const [used, lasted] = [cpuMs(pid) - before, performance.now() - began]
        process.kill(api.pid, 'SIGUSR2')
        await until(5_000, 'the count is printed', async () => assertSent(await api.logText()))
        const sent = Number(/(\d+) sent\n$/.exec(await api.logText())?.[1])
        return { cpu: (used / lasted) * 100, resident: residentMb(pid), sent: (sent / lasted) * 60_000 }
      } finally {
        monitor.close()
        await resetHost(host)
        await api.stop()
      }
    }
  },
}

function assertSent(log: string): void {
  if (!/ sent\n$/.test(log)) throw new Error('nothing was sent')
}
