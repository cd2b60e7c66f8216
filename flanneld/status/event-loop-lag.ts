import type { Clock } from '../../lib/clock.ts'

const BEAT_MS = 5_000

/** How late the event loop runs its timers. */
export class EventLoopLag {
  readonly #clock: Clock
  #seconds = 0

  constructor(needs: { clock: Clock }) {
    this.#clock = needs.clock
  }

  get seconds(): number {
    return this.#seconds
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const due = this.#clock.now() + BEAT_MS
      await this.#clock.sleep(BEAT_MS, signal).catch(() => {})
      if (!signal.aborted) this.#seconds = Math.max(0, this.#clock.now() - due) / 1000
    }
  }
}
