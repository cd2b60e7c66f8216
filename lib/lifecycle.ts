import { setMaxListeners } from 'node:events'
import type { Clock } from './clock.ts'
import { messageOf } from './errors.ts'

const FIRST_MS = 250
const MOST_MS = 30_000
/** A task that has run for so long without another fault is well again. */
const WELL_MS = 10_000

export interface LifecycleNeeds {
  readonly clock: Clock
  /** Hears of every fault of a task at once, and decides: `again`, after a pause that grows with every fault in a row, or the task has ended. */
  readonly onFault: (task: string, cause: unknown) => 'again' | 'ended'
  /** Hears of a task that runs again without faults. */
  readonly onWell?: (task: string) => void
}

/**
 * Owns every background promise of the process. A task that ends with an error before the stop is never lost: `onFault`
 * hears of it, and the task begins again, so that a fault in one part does not end the others.
 */
export class Lifecycle {
  readonly #abort = new AbortController()
  readonly #tasks = new Set<Promise<void>>()
  readonly #needs: LifecycleNeeds
  readonly #watched = new Map<string, AbortController>()

  constructor(needs: LifecycleNeeds) {
    this.#needs = needs
    // Every task and every wait of one listens: many of them are no leak.
    setMaxListeners(0, this.#abort.signal)
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  /** Starts `work`; it must end soon after the signal is aborted, and may be begun again after a fault. */
  run(name: string, work: (signal: AbortSignal) => Promise<void>): void {
    const task = this.#keepRunning(name, work).finally(() => this.#tasks.delete(task))
    this.#tasks.add(task)
  }

  async stop(): Promise<void> {
    this.#abort.abort(new Error('stopping'))
    await Promise.all(this.#tasks)
  }

  /** Of what is no task: hears of a fault as `onFault` does of a task's, and of no other for a while as of a task that is well. */
  fault(name: string, cause: unknown): void {
    if (this.signal.aborted) return
    this.#needs.onFault(name, cause)
    this.#watch(name, () => {})
  }

  async #keepRunning(name: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    let faults = 0
    while (!this.signal.aborted) {
      if (faults > 0) {
        this.#watch(name, () => {
          faults = 0
        })
      }
      try {
        await work(this.signal)
        if (faults > 0) this.#needs.onWell?.(name)
        return
      } catch (cause) {
        if (this.signal.aborted || this.#needs.onFault(name, cause) === 'ended') return
      } finally {
        this.#watched.get(name)?.abort()
      }
      const wait = Math.min(MOST_MS, FIRST_MS * 2 ** faults)
      faults += 1
      await this.#needs.clock.sleep(wait, this.signal).catch(() => {})
    }
  }

  #watch(name: string, well: () => void): void {
    this.#watched.get(name)?.abort()
    const watched = new AbortController()
    this.#watched.set(name, watched)
    const isWell = () => {
      well()
      if (!this.signal.aborted) this.#needs.onWell?.(name)
    }
    const end = () => watched.abort()
    this.signal.addEventListener('abort', end, { once: true })
    this.#needs.clock
      .sleep(WELL_MS, watched.signal)
      .then(isWell, () => {})
      .finally(() => this.signal.removeEventListener('abort', end))
  }
}

/** Runs all of these until they have ended; the first fault of one stops the others and is thrown at once. */
export async function runTogether(
  works: readonly ((signal: AbortSignal) => Promise<void>)[],
  signal: AbortSignal,
): Promise<void> {
  const fault = new AbortController()
  // As above.
  setMaxListeners(0, fault.signal)
  const stop = () => fault.abort(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  const tasks = works.map(async (work) => {
    try {
      await work(fault.signal)
    } catch (cause) {
      fault.abort(cause)
      throw cause
    }
  })
  try {
    await Promise.all(tasks)
  } finally {
    signal.removeEventListener('abort', stop)
    // Nobody must hear of what they throw while they stop.
    await Promise.allSettled(tasks)
  }
}

/** Text for the log about a background task that ended with an error. */
export function describeFault(task: string, cause: unknown): string {
  return `${task} ended unexpectedly: ${messageOf(cause)}`
}
