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
  const stat = await readStat(`/proc/${pid}`)
  return stat === undefined || 'ZX'.includes(stat.state) ? undefined : { pid, started: stat.started }
}

export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  return (await identify(identity.pid))?.started === identity.started
}

/** Whether SIGSTOP has reached every thread: until then the others go on working. */
export async function isStopped(pid: number): Promise<boolean> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => [])
  const stats = await Promise.all(threads.map((thread) => readStat(`/proc/${pid}/task/${thread}`)))
  return stats.length > 0 && stats.every((stat) => stat === undefined || stat.state === 'T')
}

/**
 * Every process of a lab, grandchildren too, in one pass over /proc. The mark in the environment is what makes a kill
 * safe after a crash: an operator's shell entered by `ip netns exec`, or a stranger with a used-again pid, has none.
 */
export async function processesOfLab(id: string): Promise<readonly ProcessIdentity[]> {
  return (await look(id)).own
}

/** Kills every process of a lab and waits until they are gone; throws when some are still there after half a minute. */
export async function killProcessesOfLab(id: string): Promise<void> {
  const began = systemClock.now()
  for (;;) {
    const { own, unsure } = await look(id)
    const waited = systemClock.now() - began
    // Who is still without environment by then was started so, by somebody else.
    if (own.length === 0 && (unsure === 0 || waited > execMs)) return
    if (waited > 30_000)
      throw new Error(`processes of lab ${id} cannot be killed: ${own.map(({ pid }) => pid).join(' ')}`)
    for (const { pid } of own) killNow(pid)
    await systemClock.sleep(20, AbortSignal.timeout(1_000))
  }
}

/** Milliseconds that an exec may take on a busy machine. */
const execMs = 300

// In the middle of an exec a process has no environment: neither ours nor not ours, so it is looked at again.
async function look(id: string): Promise<{ own: readonly ProcessIdentity[]; unsure: number }> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const own: ProcessIdentity[] = []
  let unsure = 0
  await Promise.all(
    pids.map(async (pid) => {
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => undefined)
      if (environment === undefined) return
      const stat = await readStat(`/proc/${pid}`)
      if (stat === undefined || stat.kernelThread || 'ZX'.includes(stat.state)) return
      if (environment === '') unsure += 1
      else if (environment.split('\0').includes(`${labVariable}=${id}`)) own.push({ pid, started: stat.started })
    }),
  )
  return { own, unsure }
}

async function readStat(
  folder: string,
): Promise<{ state: string; started: string; kernelThread: boolean } | undefined> {
  const stat = await readFile(`${folder}/stat`, 'utf8').catch(() => undefined)
  if (stat === undefined) return undefined
  // The name of the program, in parentheses, may hold spaces and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, flags, started] = [fields[0], fields[6], fields[19]]
  if (state === undefined || started === undefined) return undefined
  // PF_KTHREAD, linux/sched.h
  return { state, started, kernelThread: (Number(flags) & 0x0020_0000) !== 0 }
}

function killNow(pid: number): void {
  try {
    kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself in the meantime.
  }
}
