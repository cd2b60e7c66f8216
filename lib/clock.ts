import { untilFirst } from './signals.ts'

/** The only source of time: tests replace it by a virtual one. */
export interface Clock {
  /** Milliseconds that never go back; says nothing about the time of day. */
  now(): number
  /** Milliseconds since 1970 (UTC); may jump. */
  wall(): number
  /** Resolves after `ms`; rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  sleep: (ms, signal) =>
    // Not `node:timers/promises`: its rejection is a new error with a stack each time, and pauses are cut short with every event.
    new Promise((resolve, reject) => {
      signal.throwIfAborted()
      const cut = () => {
        clearTimeout(timer)
        reject(signal.reason)
      }
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', cut)
        resolve()
      }, ms)
      signal.addEventListener('abort', cut, { once: true })
    }),
}

/** Runs `work` with a signal that is also aborted after `ms`; the returned promise is `work`'s own. */
export async function withDeadline<T>(
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(new DOMException(`not done within ${ms} ms`, 'TimeoutError')), ms)
  try {
    return await untilFirst([signal, late.signal], work)
  } finally {
    clearTimeout(timer)
  }
}

/** Runs `work` and then waits `rest` times as long as it took, at most `longestMs`. Ends early, without an error, when the signal is aborted. */
export async function workAndRest(
  clock: Clock,
  work: () => Promise<void>,
  { rest, longestMs }: { readonly rest: number; readonly longestMs: number },
  signal: AbortSignal,
): Promise<void> {
  const began = clock.now()
  await work()
  await clock.sleep(Math.min(longestMs, (clock.now() - began) * rest), signal).catch(() => {})
}
