export interface BackoffOptions {
  readonly firstMs: number
  readonly mostMs: number
}

/**
 * Waiting times that double up to a limit, with full jitter: many hosts that lost the same server do not come back in step.
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
 */
export class Backoff {
  readonly #options: BackoffOptions
  readonly #random: () => number
  #failures = 0

  constructor(needs: { random: () => number }, options: BackoffOptions) {
    this.#random = needs.random
    this.#options = options
  }

  /** Milliseconds to wait before the next try. */
  next(): number {
    const ceiling = Math.min(this.#options.mostMs, this.#options.firstMs * 2 ** Math.min(this.#failures, 30))
    this.#failures += 1
    return Math.round(ceiling / 2 + (this.#random() * ceiling) / 2)
  }

  succeeded(): void {
    this.#failures = 0
  }
}
