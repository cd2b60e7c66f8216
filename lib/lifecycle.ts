import { setMaxListeners } from 'node:events'
import { messageOf } from './errors.ts'

/**
 * Owns every background promise of the process. A task that ends with an error before the stop is a fault of the
 * program: it is handed to `onFault`, never lost.
 */
export class Lifecycle {
  readonly #abort = new AbortController()
  readonly #tasks = new Set<Promise<void>>()
  readonly #onFault: (task: string, cause: unknown) => void

  constructor(needs: { onFault: (task: string, cause: unknown) => void }) {
    this.#onFault = needs.onFault
    // Every task and every wait of one listens: many of them are no leak.
    setMaxListeners(0, this.#abort.signal)
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  /** Starts `work`; it must end soon after the signal is aborted. */
  run(name: string, work: (signal: AbortSignal) => Promise<void>): void {
    const task = work(this.signal)
      .catch((cause: unknown) => {
        if (!this.signal.aborted) this.#onFault(name, cause)
      })
      .finally(() => this.#tasks.delete(task))
    this.#tasks.add(task)
  }

  async stop(): Promise<void> {
    this.#abort.abort(new Error('stopping'))
    await Promise.all(this.#tasks)
  }
}

/** Text for the log about a background task that ended with an error. */
export function describeFault(task: string, cause: unknown): string {
  return `${task} ended unexpectedly: ${messageOf(cause)}`
}
