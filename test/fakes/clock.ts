import type { Clock } from '../../lib/clock.ts'

interface Sleeper {
  readonly dueAt: number
  readonly wake: () => void
}

/** Time that passes only when a test says so. */
export class VirtualClock implements Clock {
  #now = 0
  #sleepers = new Set<Sleeper>()

  now(): number {
    return this.#now
  }

  wall(): number {
    return 1_700_000_000_000 + this.#now
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      const end = (settle: () => void) => () => {
        this.#sleepers.delete(sleeper)
        signal.removeEventListener('abort', abort)
        settle()
      }
      const abort = end(() => reject(signal.reason))
      const sleeper: Sleeper = { dueAt: this.#now + Math.max(0, ms), wake: end(resolve) }
      signal.addEventListener('abort', abort, { once: true })
      this.#sleepers.add(sleeper)
    })
  }

  /** Lets `ms` pass: wakes the sleepers in order, and lets what they start finish in between. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    await settleTasks()
    let wakes = 0
    for (let next = this.#next(end); next !== undefined; next = this.#next(end)) {
      wakes = next.dueAt > this.#now ? 0 : wakes + 1
      if (wakes > MOST_WAKES) throw new Error(`${wakes} sleeps without any time passing: somebody runs in circles`)
      this.#now = Math.max(this.#now, next.dueAt)
      next.wake()
      await settleTasks()
    }
    this.#now = end
    await settleTasks()
  }

  /** How many are asleep: a test may check that nothing waits any more. */
  get sleeping(): number {
    return this.#sleepers.size
  }

  #next(end: number): Sleeper | undefined {
    let next: Sleeper | undefined
    for (const sleeper of this.#sleepers) {
      if (sleeper.dueAt <= end && (next === undefined || sleeper.dueAt < next.dueAt)) next = sleeper
    }
    return next
  }
}

// A whole pass of the reconciler on the fake kernel, the longest chain of steps without a wait, takes about 20.
const TURNS = 40
const MOST_WAKES = 10_000

/** Lets everything that can run without time passing run: promises, and some turns of the event loop. */
export async function settleTasks(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}
