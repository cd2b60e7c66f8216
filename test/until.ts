import { readFileSync } from 'node:fs'
import { cpus, getPriority } from 'node:os'
import { systemClock } from '../lib/clock.ts'

/** On a machine whose cores others hold, everything takes about so many times as long. */
const slower = 3

/**
 * Resolves, with the milliseconds that it took, when `check` no longer throws; after `ms` it rejects with the last complaint.
 * What is promised (healed within a second) is promised of the product, not of a machine that lets nobody run: while three
 * quarters of the cores' time go to somebody, or to nobody because the machine itself stands still, it waits longer.
 */
export async function until(ms: number, what: string, check: () => Promise<unknown>): Promise<number> {
  const began = systemClock.now()
  const idle = idleShare()
  for (;;) {
    // What was asked before the end counts, or a slow look would fail what was there in time.
    const asked = systemClock.now()
    try {
      await check()
      return Math.round(systemClock.now() - began)
    } catch (cause) {
      const [waited, share] = [asked - began, idle()]
      if (waited > slower * ms || (waited > ms && share > 0.25)) {
        const busy = share > 0.25 ? '' : `, nor ${slower} times that on this busy machine`
        throw new Error(`not within ${ms} ms${busy}: ${what}: ${(cause as Error).message}`, { cause })
      }
    }
    // Looking must not take the cores from what is waited for.
    const looked = systemClock.now() - asked
    await systemClock.sleep(Math.min(100, Math.max(5, looked)), AbortSignal.timeout(10_000))
  }
}

/** Says which part of the cores' time nobody has used since the call, from 0 to 1. Source: proc_stat(5). */
export function idleShare(): () => number {
  const [began, before] = [systemClock.now(), idleMs()]
  return () => (idleMs() - before) / (cpus().length * Math.max(1, systemClock.now() - began))
}

/**
 * Of all cores together since boot; a core whose process waits for a disk is not idle. One that works for somebody with less priority
 * than ours is as good as idle.
 */
function idleMs(): number {
  const [, , nice, , idle] = readFileSync('/proc/stat', 'utf8').split(/\s+/, 5)
  const ticks = Number(idle) + (getPriority() > 0 ? 0 : Number(nice))
  // A tick is 10 ms (USER_HZ).
  return ticks * 10
}

/** Waits until a value has been the same for `ms`, and returns it: what is still to come of what was begun has come then. */
export async function steady<T>(ms: number, read: () => Promise<T>): Promise<T> {
  let value = await read()
  let since = systemClock.now()
  const limit = AbortSignal.timeout(10 * ms + 60_000)
  while (systemClock.now() - since < ms) {
    await systemClock.sleep(Math.min(200, ms), limit)
    const next = await read()
    if (JSON.stringify(next) !== JSON.stringify(value)) since = systemClock.now()
    value = next
  }
  return value
}
