import { setMaxListeners } from 'node:events'
import type { ObjectTable, OpResult } from '../../kernel/table.ts'
import type { Clock } from '../../lib/clock.ts'

const NEVER = new Promise<never>(() => {})
const neverAborted = new AbortController().signal
setMaxListeners(0, neverAborted)

/**
 * What a process may ask of the world outside: kernel, disk and store, one call after another. Once it is killed, none of its calls
 * does anything or comes back, also those that are under way: nothing that its code still does is seen by anybody.
 */
export class SimulatedProcess {
  readonly #clock: Clock
  readonly #onDeath: () => void
  #alive = true
  #callsLeft = Number.POSITIVE_INFINITY
  #isAnswerLost = false

  constructor(needs: { clock: Clock; onDeath: () => void }) {
    this.#clock = needs.clock
    this.#onDeath = needs.onDeath
  }

  get alive(): boolean {
    return this.#alive
  }

  kill(): void {
    if (!this.#alive) return
    this.#alive = false
    this.#onDeath()
  }

  /** It dies at this call from now, counted from 1: before anything is done, or when it is done and the answer has not come yet. */
  killAt(call: number, isAnswerLost: boolean): void {
    this.#callsLeft = call
    this.#isAnswerLost = isAnswerLost
  }

  async call<T>(work: () => Promise<T> | T): Promise<T> {
    this.#callsLeft -= 1
    const isLast = this.#callsLeft === 0
    if (isLast && !this.#isAnswerLost) this.kill()
    if (!this.#alive) return await NEVER
    try {
      return await this.#answer(await work(), isLast)
    } catch (cause) {
      await this.#answer(undefined, isLast)
      throw cause
    }
  }

  /** Takes so long; afterwards the process may be dead. */
  async wait(ms: number): Promise<void> {
    if (ms > 0) await this.#clock.sleep(ms, neverAborted)
    if (!this.#alive) await NEVER
  }

  /** Of a kernel: each op is a call of its own, so that it may be the last. `delayMs`: each way of a call takes so long. */
  tables(tables: readonly ObjectTable[], delayMs: () => number): readonly ObjectTable[] {
    return tables.map(
      (table): ObjectTable => ({
        kind: table.kind,
        ...(table.watch && { watch: (onChange, stop) => table.watch?.(onChange, stop) ?? Promise.resolve() }),
        dump: async (wanted, scope) => {
          await this.wait(delayMs())
          const objects = await this.call(() => table.dump(wanted, scope))
          await this.wait(delayMs())
          return objects
        },
        unchanged: () => this.call(async () => (await table.unchanged?.()) ?? false),
        apply: async (ops) => {
          const results: OpResult[] = []
          await this.wait(delayMs())
          for (const op of ops) results.push(...(await this.call(() => table.apply([op]))))
          await this.wait(delayMs())
          return results
        },
      }),
    )
  }

  async #answer<T>(answer: T, isLast: boolean): Promise<T> {
    if (isLast) this.kill()
    return this.#alive ? answer : await NEVER
  }
}
