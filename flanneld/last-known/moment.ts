import { readFile } from 'node:fs/promises'
import { uptime } from 'node:os'
import type { Clock } from '../../lib/clock.ts'
import type { Moment } from './record.ts'

/** The clocks of this host. */
export async function momentReader(clock: Pick<Clock, 'wall'>): Promise<() => Moment> {
  const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')
  return () => ({ wall: clock.wall(), bootId: bootId.trim(), uptimeMs: Math.round(uptime() * 1000) })
}
