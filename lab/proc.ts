import { readdir, readFile } from 'node:fs/promises'
import { kill } from 'node:process'
import { systemClock } from '../lib/clock.ts'

/** A process beyond doubt: numbers are used again, number and start time are not. `started` is in clock ticks since boot. */
export interface ProcessIdentity {
  readonly pid: number
  readonly started: string
}

/** The variable that every program of a lab inherits; its value is the lab's id. */
export const labVariable = 'FLANNEL_LAB'

/** Undefined when there is no such process or only its corpse is left. */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (stat === undefined) return undefined
  // The name of the program, in parentheses, may hold spaces and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, started] = [fields[0], fields[19]]
  return started === undefined || state === 'Z' || state === 'X' ? undefined : { pid, started }
}

export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  return (await identify(identity.pid))?.started === identity.started
}

/**
 * Every process of a lab, grandchildren too, in one pass over /proc. The mark in the environment is what makes a kill
 * safe after a crash: an operator's shell entered by `ip netns exec`, or a stranger with a used-again pid, has none.
 */
export async function processesOfLab(id: string): Promise<readonly ProcessIdentity[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const found = await Promise.all(
    pids.map(async (pid) => {
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '')
      return environment.split('\0').includes(`${labVariable}=${id}`) ? await identify(pid) : undefined
    }),
  )
  return found.filter((identity) => identity !== undefined)
}

/** Kills every process of a lab and waits until they are gone; throws when some are still there after five seconds. */
export async function killProcessesOfLab(id: string): Promise<void> {
  const deadline = systemClock.now() + 5_000
  for (;;) {
    const alive = await processesOfLab(id)
    if (alive.length === 0) return
    if (systemClock.now() > deadline) {
      throw new Error(`processes of lab ${id} cannot be killed: ${alive.map(({ pid }) => pid).join(' ')}`)
    }
    for (const { pid } of alive) killNow(pid)
    await systemClock.sleep(20, AbortSignal.timeout(1_000))
  }
}

function killNow(pid: number): void {
  try {
    kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself in the meantime.
  }
}
