import type { Clock } from '../../lib/clock.ts'
import { untilFirst } from '../../lib/signals.ts'

/** Waits until `done()` holds, asked whenever the waiters are woken; false when the time is over or the signal aborted first. */
export async function within(
  clock: Clock,
  ms: number,
  signal: AbortSignal,
  waiters: Set<() => void>,
  done: () => boolean,
): Promise<boolean> {
  if (done()) return true
  const enough = new AbortController()
  const look = () => {
    if (done()) enough.abort()
  }
  waiters.add(look)
  try {
    await untilFirst([signal, enough.signal], (stop) => clock.sleep(ms, stop))
  } catch {
    // Aborted: by one or the other.
  } finally {
    waiters.delete(look)
  }
  return done()
}
