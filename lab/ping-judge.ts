import { systemClock } from '../lib/clock.ts'
import type { StreamNeeds } from './ping-stream.ts'
import { PingStream } from './ping-stream.ts'

/** What a stream of echo requests tells about a path. */
export interface Verdict {
  readonly sent: number
  readonly received: number
  readonly lost: number
  /** Milliseconds from the last answered request before a loss to the first one after it; 0 when none was lost. */
  readonly longestGapMs: number
  /** Milliseconds; undefined before the first answer. */
  readonly maxRttMs: number | undefined
}

/** Echo requests in the background, the judge of whether a fault was noticed by anybody. */
export class PingJudge {
  readonly address: string
  readonly #streams: readonly PingStream[]

  constructor(needs: StreamNeeds, options: { address: string; intervalMs: number }) {
    this.address = options.address
    // Between 10 and 16 ms ping sleeps 16 (two ticks more than asked), below 10 it spins and eats a whole core. Two
    // sleeping ones are as dense as one that spins: 125 requests a second.
    const count = options.intervalMs >= 10 && options.intervalMs < 16 ? 2 : 1
    this.#streams = Array.from({ length: count }, () => new PingStream(needs, options))
  }

  /** Resolves at the first answer, from which on is counted; rejects when the signal is aborted or ping has given up. */
  async answered(signal: AbortSignal): Promise<void> {
    while (this.#streams.some((stream) => stream.answers === 0)) {
      const dead = this.#streams.find((stream) => stream.ended)
      if (dead !== undefined) throw new Error(`ping ${this.address} ended: ${dead.trouble}`)
      await systemClock.sleep(5, signal)
    }
    for (const stream of this.#streams) stream.countFromFirstAnswer()
  }

  /** The state of things now; requests in flight do not count, nor does a loss that is still going on. */
  verdict(): Verdict {
    const counts = this.#streams.map((stream) => stream.count())
    const sent = counts.reduce((sum, count) => sum + count.sent, 0)
    const received = counts.reduce((sum, count) => sum + count.received, 0)
    const rtts = counts.map((count) => count.maxRttMs).filter((rtt) => rtt !== undefined)
    return {
      sent,
      received,
      lost: sent - received,
      longestGapMs: Math.max(...counts.map((count) => count.longestGapMs)),
      maxRttMs: rtts.length === 0 ? undefined : Math.max(...rtts),
    }
  }

  /** Ends the stream; from then on a loss at the very end counts, too. Throws when ping could not work at all. */
  async stop(): Promise<Verdict> {
    await Promise.all(this.#streams.map((stream) => stream.stop()))
    return this.verdict()
  }
}
