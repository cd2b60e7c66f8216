import { readFile } from 'node:fs/promises'
import type { Host } from '../../lab/host.ts'

/** Per cent of a core that the host's daemon takes over so many milliseconds. */
export async function cpuOf(host: Host, ms: number): Promise<number> {
  const ticks = async () => {
    const fields = await figures(host.daemon?.pid ?? 0)
    return Number(fields[11]) + Number(fields[12])
  }
  const before = await ticks()
  await host.exec(['sleep', String(ms / 1000)], { timeout: 2 * ms + 60_000 })
  // A tick is 10 ms (USER_HZ).
  return (((await ticks()) - before) * 10 * 100) / ms
}

/** Page faults of all children that have ended: any program, however short it ran, has some. */
export async function childFaults(pid: number): Promise<number> {
  return Number((await figures(pid))[8])
}

/** Of proc_pid_stat(5), from the third, the state, on: what stands before may hold spaces. */
async function figures(pid: number): Promise<readonly string[]> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}
