import type { Clock } from '../../lib/clock.ts'
import { spreadMs } from '../leases/spread.ts'
import type { SwitchView } from './switch.ts'

interface Look {
  /** The store shows what this node says of itself. */
  readonly isShown: boolean
  /** All that the node needs to receive by the target is in the kernel. */
  readonly isSettled: boolean
  /** How many others there are. */
  readonly nodes: number
}

/** Since when what is seen holds, of one target. */
export class SinceWhen {
  readonly #needs: { readonly clock: Clock; readonly random: () => number }
  #shownSince: number | undefined
  /** On the clock: when the new way may be told of. */
  #tellAt: number | undefined

  constructor(needs: { readonly clock: Clock; readonly random: () => number }) {
    this.#needs = needs
  }

  /** Another target begins anew. */
  forget(): void {
    this.#shownSince = undefined
    this.#tellAt = undefined
  }

  look({ isShown, isSettled, nodes }: Look): Omit<SwitchView, 'peers'> {
    const { clock, random } = this.#needs
    const now = clock.now()
    this.#shownSince = isShown ? (this.#shownSince ?? now) : undefined
    if (isSettled) this.#tellAt ??= now + spreadMs(random, nodes)
    return {
      isSettled: isSettled && now >= (this.#tellAt ?? now),
      shownMs: this.#shownSince === undefined ? 0 : Math.max(1, now - this.#shownSince),
    }
  }
}
