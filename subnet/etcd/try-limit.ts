/**
 * How long a try may take. An etcd behind a slow line or disk answers late each time: with a fixed limit it would never be reached. So a
 * deadline doubles the limit, and answers in less than a quarter of it halve it again.
 */
export class TryLimit {
  readonly #firstMs: number
  readonly #mostMs: number
  #ms: number

  constructor(options: { firstMs: number; mostMs: number }) {
    this.#firstMs = options.firstMs
    this.#mostMs = options.mostMs
    this.#ms = options.firstMs
  }

  get ms(): number {
    return this.#ms
  }

  /** A try with this limit got no answer. Several that ran side by side count once. */
  late(limitMs: number): void {
    if (limitMs >= this.#ms) this.#ms = Math.min(this.#mostMs, this.#ms * 2)
  }

  answered(tookMs: number): void {
    if (tookMs < this.#ms / 4) this.#ms = Math.max(this.#firstMs, this.#ms / 2)
  }
}
