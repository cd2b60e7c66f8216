import type { Clock } from '../../lib/clock.ts'
import { untilFirst } from '../../lib/signals.ts'

export interface Answer<T> {
  readonly value: T
  /** Whether it can serve now. One that cannot is taken only if no other can. */
  readonly fit: boolean
}

interface Race<C, T> {
  readonly ask: (candidate: C, signal: AbortSignal) => Promise<Answer<T>>
  /** Gives back what answered and was not taken. */
  readonly discard: (value: T) => void
  readonly staggerMs: number
}

/**
 * Asks the candidates in their order, the next one as soon as the last one failed or was silent for `staggerMs`, and takes the first
 * that can serve; the others are told to stop by their signal. (RFC 8305, "Happy Eyeballs", does the same for addresses.)
 * @throws AggregateError with the faults in the candidates' order, or the signal's reason
 */
export async function firstToAnswer<C, T>(
  clock: Clock,
  candidates: readonly C[],
  race: Race<C, T>,
  signal: AbortSignal,
): Promise<T> {
  const over = new AbortController()
  const unfit = new Map<number, T>()
  const faults = new Map<number, unknown>()
  let winner: { value: T } | undefined

  const run = async (candidate: C, index: number, stop: AbortSignal) => {
    try {
      const { value, fit } = await race.ask(candidate, stop)
      if (winner !== undefined || signal.aborted) race.discard(value)
      else if (fit) {
        winner = { value }
        over.abort(new Error('another one was quicker'))
      } else unfit.set(index, value)
    } catch (cause) {
      faults.set(index, cause)
    }
  }

  await untilFirst([signal, over.signal], async (stop) => {
    const runs: Promise<void>[] = []
    for (const [index, candidate] of candidates.entries()) {
      if (stop.aborted) break
      const one = run(candidate, index, stop)
      runs.push(one)
      await untilDone(clock, one, race.staggerMs, stop)
    }
    await Promise.all(runs)
  })
  const spare = [...unfit].sort(([a], [b]) => a - b).map(([, value]) => value)
  const taken = winner ?? (signal.aborted || spare.length === 0 ? undefined : { value: spare.shift() as T })
  for (const value of spare) race.discard(value)
  if (signal.aborted) {
    if (taken !== undefined) race.discard(taken.value)
    signal.throwIfAborted()
  }
  if (taken !== undefined) return taken.value
  throw new AggregateError([...faults].sort(([a], [b]) => a - b).map(([, cause]) => cause))
}

async function untilDone(clock: Clock, work: Promise<void>, ms: number, signal: AbortSignal): Promise<void> {
  const done = new AbortController()
  void work.then(() => done.abort())
  await untilFirst([signal, done.signal], (stop) => clock.sleep(ms, stop)).catch(() => undefined)
}
