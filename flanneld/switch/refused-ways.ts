import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/log.ts'
import type { SwitchState } from './switch.ts'

interface RefusedWaysNeeds {
  /** Why this host has none of a way, by `wayKey`; what is taken out is tried again. */
  readonly refusals: Map<string, string>
  readonly nameOf: (key: string) => string
  readonly clock: Clock
  readonly log: Logger
}

const AGAIN_MS = 30_000

/** What this host refuses is not wanted for a while, and then again: an old way, too, which it may not have after a restart. */
export class RefusedWays {
  readonly #needs: RefusedWaysNeeds
  /** In words for comparison, and when they are tried again. */
  #refused: { readonly keys: string; readonly until: number } | undefined
  readonly #told = new Set<string>()

  constructor(needs: RefusedWaysNeeds) {
    this.#needs = needs
  }

  /** Of another target nothing is known. */
  forget(): void {
    this.#refused = undefined
    this.#told.clear()
  }

  /** Whether other ways are wanted now than a moment ago. */
  look(state: SwitchState | undefined): boolean {
    const { refusals, clock } = this.#needs
    const refused = (state?.held ?? []).filter(({ key }) => refusals.has(key)).map(({ key }) => key)
    if (refused.length === 0) return false
    const keys = refused.join(' ')
    if (this.#refused?.keys !== keys) {
      this.#refused = { keys, until: clock.now() + AGAIN_MS }
      for (const key of refused) if (key !== state?.target) this.#tellOf(key)
    } else if (clock.now() < this.#refused.until) {
      return false
    } else {
      this.#refused = undefined
      for (const key of refused) refusals.delete(key)
    }
    return true
  }

  #tellOf(key: string): void {
    const { log, nameOf, refusals } = this.#needs
    if (this.#told.has(key)) return
    this.#told.add(key)
    log.warn('old backend cannot be had any more', { backend: nameOf(key), cause: refusals.get(key) })
  }
}
