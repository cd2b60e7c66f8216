import { isDeepStrictEqual } from 'node:util'
import type { Failure, Settlement } from '../desired.ts'
import type { Required } from '../objects.ts'

interface Waiter {
  readonly generation: number
  readonly resolve: (settlement: Settlement) => void
}

/** Those who wait until a generation has been tried. */
export class Settlements {
  #last: Settlement = { generation: 0, failures: new Map(), unreadable: new Map() }
  readonly #waiters = new Set<Waiter>()

  get last(): Settlement {
    return this.#last
  }

  /** True: it differs from the last one. */
  reached(settlement: Settlement): boolean {
    const { generation, failures, unreadable } = this.#last
    this.#last = settlement
    for (const waiter of [...this.#waiters]) {
      if (waiter.generation <= settlement.generation) waiter.resolve(settlement)
    }
    return (
      generation !== settlement.generation ||
      !sameFailures(failures, settlement.failures) ||
      !isDeepStrictEqual(unreadable, settlement.unreadable)
    )
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

function sameFailures(a: ReadonlyMap<string, Failure>, b: ReadonlyMap<string, Failure>): boolean {
  if (a.size !== b.size) return false
  for (const [key, failure] of a) {
    const other = b.get(key)
    if (other?.cause !== failure.cause || other.text !== failure.text || other.object.role !== failure.object.role)
      return false
  }
  return true
}

/** Of the failures those without which the node is not ready: nothing that is in place makes up for them. */
export function unmetRequirements(failures: Iterable<Failure>): readonly Failure[] {
  const required: { readonly failure: Failure; readonly role: Required }[] = []
  for (const failure of failures) {
    const { role } = failure.object
    if (role.class === 'required') required.push({ failure, role })
  }
  const broken = new Set(required.map(({ role }) => role.family))
  return required.flatMap(({ failure, role }) => (role.instead?.some((family) => !broken.has(family)) ? [] : [failure]))
}
