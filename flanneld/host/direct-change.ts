import type { Clock } from '../../lib/clock.ts'
import { Latest } from '../../lib/latest.ts'

/** `beginning`: no peer is sent to directly yet. `ending`: none is any more, and what comes directly is still let in. */
export type DirectState = 'settled' | 'beginning' | 'ending'

/** Where all nodes hear of a configuration at once, and where each kubelet puts it into the pod at a time of its own. */
export const HEARD_MS = { leased: 3_000, assigned: 150_000 } as const

/**
 * Direct paths are turned on and off without a second way, and a node with a strict reverse path filter takes packets off them only as long
 * as it has them turned on itself. So those that send wait until the others have heard of it, and those that receive wait after it.
 */
export class DirectChange {
  /** Counts ends of such a time. */
  readonly changes = new Latest<number>('direct change')
  readonly #clock: Clock
  readonly #until = new Latest<number>('end of a direct change')
  /** Undefined: not known, or several ways, which have a protocol of their own for it. */
  #isWanted: boolean | undefined

  /** `wasWanted`: in the last run. */
  constructor(needs: { readonly clock: Clock; readonly wasWanted?: boolean | undefined }) {
    this.#clock = needs.clock
    this.#isWanted = needs.wasWanted
  }

  /** `isWanted`: undefined while there are several ways. `heardMs`: within which the others hear of it. */
  look(isWanted: boolean | undefined, heardMs: number): DirectState {
    const now = this.#clock.now()
    if (isWanted !== undefined && this.#isWanted !== undefined && isWanted !== this.#isWanted)
      this.#until.set(now + heardMs)
    this.#isWanted = isWanted
    if (isWanted === undefined || now >= (this.#until.current ?? now)) return 'settled'
    return isWanted ? 'beginning' : 'ending'
  }

  /** Until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    for await (const until of this.#until.watch(signal)) {
      // A timer may be a fraction of a millisecond early, and then it would be too early for ever.
      for (let left = until - this.#clock.now(); left > 0 && !signal.aborted; left = until - this.#clock.now())
        await this.#clock.sleep(Math.ceil(left), signal).catch(() => {})
      if (!signal.aborted) this.changes.set((this.changes.current ?? 0) + 1)
    }
  }
}
