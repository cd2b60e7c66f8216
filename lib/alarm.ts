import type { Clock } from './clock.ts'

/** Timers take no more than 2^31 ms. */
const LONGEST_MS = 2 ** 31 - 1
/** Made once, because a signal without a reason makes an error with a stack each time. */
const SOONER = new Error('something is to be done sooner')

/**
 * A pause that can be cut short, for one who pauses all the time: neither the cut nor the next pause costs a timer. That is why it may end
 * before its time, and whoever pauses looks at the clock again.
 */
export class Alarm {
  readonly #clock: Clock
  #due = Number.POSITIVE_INFINITY
  #timer = new AbortController()
  #end: () => void = () => {}

  constructor(needs: { clock: Clock }) {
    this.#clock = needs.clock
  }

  /** Waits until `at` on `Clock.now()`, until the next `ring`, or less. */
  until(at: number): Promise<void> {
    const ended = new Promise<void>((resolve) => {
      this.#end = resolve
    })
    if (at < this.#due) this.#set(at)
    return ended
  }

  /** Ends the pause that is under way; without one it does nothing. */
  ring(): void {
    this.#end()
  }

  /** Rings, and leaves no timer behind. */
  stop(): void {
    this.#timer.abort(SOONER)
    this.#due = Number.POSITIVE_INFINITY
    this.ring()
  }

  #set(at: number): void {
    this.#timer.abort(SOONER)
    this.#timer = new AbortController()
    this.#due = at
    const { signal } = this.#timer
    const fired = () => {
      if (signal.aborted) return
      this.#due = Number.POSITIVE_INFINITY
      this.ring()
    }
    this.#clock.sleep(Math.min(Math.max(0, at - this.#clock.now()), LONGEST_MS), signal).then(fired, () => {})
  }
}
