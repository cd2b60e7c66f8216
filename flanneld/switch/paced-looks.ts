import { Alarm } from '../../lib/alarm.ts'
import type { Clock } from '../../lib/clock.ts'

interface PacedLooksNeeds {
  readonly clock: Clock
  readonly look: () => Promise<void>
  /** Whether there is something that only time brings: else nothing happens without news. */
  readonly isChanging: () => boolean
}

const TICK_MS = 200
const LONGEST_TICK_MS = 5_000
/** After a look it rests for so many times as long: among thousands of peers a look is long, and there is news of one of them all the time. */
const REST_TO_LOOK = 9
const SHORTEST_REST_MS = 20
/** A busy machine or a slow disk makes a look long, which must not make the change last for ever. */
const LONGEST_REST_MS = 1_000

/** Soon where there is news, and rarer and rarer while there is none: what only takes time takes little of it. */
export class PacedLooks {
  readonly #needs: PacedLooksNeeds
  readonly #alarm: Alarm
  #news = 0

  constructor(needs: PacedLooksNeeds) {
    this.#needs = needs
    this.#alarm = new Alarm(needs)
  }

  /** There is news. */
  ring(): void {
    this.#news += 1
    this.#alarm.ring()
  }

  /** Until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, look, isChanging } = this.#needs
    signal.addEventListener('abort', () => this.#alarm.stop(), { once: true })
    let pauseMs = TICK_MS
    while (!signal.aborted) {
      const [news, began] = [this.#news, clock.now()]
      await look()
      const restMs = Math.min(LONGEST_REST_MS, Math.max(SHORTEST_REST_MS, REST_TO_LOOK * (clock.now() - began)))
      await clock.sleep(restMs, signal).catch(() => {})
      // Nobody would end a pause that begins now.
      if (signal.aborted) return
      if (news === this.#news) await this.#alarm.until(isChanging() ? clock.now() + pauseMs : Number.POSITIVE_INFINITY)
      pauseMs = news === this.#news ? Math.min(2 * pauseMs, LONGEST_TICK_MS) : TICK_MS
    }
  }
}
