import type { Settlement } from './desired.ts'

interface Waiter {
  readonly generation: number
  readonly resolve: (settlement: Settlement) => void
}

/** Those who wait until a generation has been tried. */
export class Settlements {
  #last: Settlement = { generation: 0, failures: new Map() }
  readonly #waiters = new Set<Waiter>()

  get last(): Settlement {
    return this.#last
  }

  reached(settlement: Settlement): void {
    this.#last = settlement
    for (const waiter of [...this.#waiters]) {
      if (waiter.generation <= settlement.generation) waiter.resolve(settlement)
    }
  }

  /** Resolves at that generation or a later one; rejects with the signal's reason. */
  wait(generation: number, signal: AbortSignal): Promise<Settlement> {
    if (this.#last.generation >= generation) return Promise.resolve(this.#last)
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      const end = () => {
        this.#waiters.delete(waiter)
        signal.removeEventListener('abort', abort)
      }
      const abort = () => {
        end()
        reject(signal.reason)
      }
      const waiter: Waiter = {
        generation,
        resolve: (settlement) => {
          end()
          resolve(settlement)
        },
      }
      signal.addEventListener('abort', abort, { once: true })
      this.#waiters.add(waiter)
    })
  }
}
