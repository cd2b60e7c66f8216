import { Backoff } from '../../lib/backoff.ts'
import type { Clock } from '../../lib/clock.ts'

/**
 * A daemon that was started before etcd wants it at once. Each try costs both sides a connection, so the longer etcd is away the
 * rarer they become: coming back is noticed after at most an eighth of the time that it was away.
 */
const eager = { firstMs: 100, mostMs: 1000 }
const shareOfOutage = 1 / 8
const mostMs = 10_000

/** When to try again, while etcd does not answer. */
export class RetryPace {
  readonly #clock: Clock
  readonly #random: () => number
  readonly #backoff: Backoff
  #failingSince: number | undefined

  constructor(needs: { clock: Clock; random: () => number }) {
    this.#clock = needs.clock
    this.#random = needs.random
    this.#backoff = new Backoff(needs, eager)
  }

  /** Milliseconds. `keys` held: many hosts lose the same server at once, and a long list costs it more. */
  next(keys: number): number {
    const now = this.#clock.now()
    this.#failingSince ??= now
    const patient = Math.min(mostMs, (now - this.#failingSince) * shareOfOutage) * (0.5 + this.#random() / 2)
    return Math.max(this.#backoff.next(), patient) + this.#random() * Math.min(1000, keys / 5)
  }

  succeeded(): void {
    this.#failingSince = undefined
    this.#backoff.succeeded()
  }

  /** What has gone well for so long was no failure when it ends: the next try need not wait. */
  lasted(ms: number): void {
    if (ms >= mostMs) this.succeeded()
  }
}
