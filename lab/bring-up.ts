import { inParallel } from './build.ts'
import type { DaemonOptions } from './daemon.ts'
import type { Host } from './host.ts'
import type { Lab } from './lab.ts'
import { defaultPrefix } from './lab.ts'
import { formatColumns } from './reach-table.ts'

/** Starts a daemon on each host, all at once, and a container `c1` behind each. Throws with the log of one that fails. */
export async function bringUp(hosts: readonly Host[], daemon: DaemonOptions): Promise<void> {
  await Promise.all(hosts.map((host) => host.startDaemon(daemon)))
  await inParallel(hosts, 8, async (host) => {
    await host.subnetEnv({ timeout: 30_000 })
    await host.addContainer('c1')
  })
}

/** A line per host: its address, its subnet, what etcd says about it. */
export async function leaseTable(lab: Lab): Promise<readonly string[]> {
  const leases = await lab.etcd.list(`${defaultPrefix}/subnets/`)
  const rows = await Promise.all(
    lab.hosts.map(async (host) => {
      const env = await host.subnetEnv()
      const subnets = env.families.map(({ subnet }) => subnet)
      const key = subnets.map((subnet) => subnet.replace('/', '-')).join('&')
      const lease = leases.find((known) => known.key.endsWith(`/${key}`))
      const backend = lease === undefined ? 'no lease in etcd' : backendOf(lease.value)
      return [host.label, host.address, subnets.join(' '), String(env.mtu), backend]
    }),
  )
  return formatColumns([['host', 'address', 'subnet', 'mtu', 'backend'], ...rows])
}

function backendOf(value: string): string {
  try {
    const { BackendType: type, BackendData: data } = JSON.parse(value) as Record<string, unknown>
    return `${type ?? '(none)'}${data === undefined ? '' : ` ${JSON.stringify(data)}`}`
  } catch {
    return 'not JSON'
  }
}
