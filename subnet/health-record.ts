import type { Clock } from '../lib/clock.ts'
import { Latest } from '../lib/latest.ts'
import type { StoreHealth } from './types.ts'

/** A connection that was cut and is back in a tenth of a second was no outage. */
const graceMs = 500
/** A proof that the view is still current comes with every event, thousands in a second; who follows the health hears of one so often. */
const repeatMs = 1_000

/** The state of the connection as its users report it: up while none of them reports a fault. */
export class HealthRecord {
  readonly source = new Latest<StoreHealth>('health of the lease store')
  readonly #clock: Clock
  readonly #faults = new Map<string, string | undefined>()
  readonly #doubts = new Map<string, AbortController>()
  readonly #resyncs = new Map<string, number>()
  #lastSuccess: number | undefined
  #endpoint: string | undefined
  #cluster: string | undefined
  /** On the monotonic clock. */
  #emittedAt = 0
  /** What is told of the outage: of several users with a fault the first one's, until all have the store back. */
  #told: { readonly user: string; readonly text: string } | undefined

  readonly #remedy: { remedy?: string }

  /** `remedy`: what an operator can do while the store is down. */
  constructor(needs: { clock: Clock }, options: { remedy?: string } = {}) {
    this.#clock = needs.clock
    this.#remedy = options
    this.#emit()
  }

  /** The view of `user` is proven current. */
  current(user: string, endpoint: string): void {
    this.#settle(user)
    const isUp = this.#lastSuccess !== undefined && !this.#isDown()
    const isKnown = isUp && this.#faults.has(user) && this.#endpoint === endpoint
    this.#faults.set(user, undefined)
    // While another user has it not back yet the outage lasts, and what is told of it stays as it is.
    if (!this.#isDown()) this.#lastSuccess = this.#clock.wall()
    this.#endpoint = endpoint
    if (!isKnown || this.#clock.now() - this.#emittedAt >= repeatMs) this.#emit()
  }

  failed(user: string, text: string): void {
    this.#settle(user)
    this.#faults.set(user, text)
    if (this.#told === undefined || this.#told.user === user) this.#told = { user, text }
    this.#emit()
  }

  /** A fault, unless the view of `user` is proven current again at once. */
  interrupted(user: string, text: string): void {
    this.#settle(user)
    const doubt = new AbortController()
    this.#doubts.set(user, doubt)
    this.#clock.sleep(graceMs, doubt.signal).then(
      () => this.failed(user, text),
      () => undefined,
    )
  }

  /** `user` has ended; its faults no longer count. */
  forget(user: string): void {
    this.#settle(user)
    if (this.#faults.delete(user)) this.#emit()
  }

  /** The leases were read from this cluster. */
  identified(cluster: string): void {
    if (cluster === this.#cluster) return
    this.#cluster = cluster
    this.#emit()
  }

  resynced(cause: string): void {
    this.#resyncs.set(cause, (this.#resyncs.get(cause) ?? 0) + 1)
    this.#emit()
  }

  #settle(user: string): void {
    this.#doubts.get(user)?.abort()
    this.#doubts.delete(user)
  }

  #isDown(): boolean {
    return [...this.#faults.values()].some((text) => text !== undefined)
  }

  #emit(): void {
    this.#emittedAt = this.#clock.now()
    if (!this.#isDown()) this.#told = undefined
    const fault = this.#told?.text
    this.source.set({
      up: fault === undefined && this.#lastSuccess !== undefined,
      lastSuccess: this.#lastSuccess,
      resyncs: new Map(this.#resyncs),
      ...this.#remedy,
      ...(fault === undefined ? {} : { error: fault }),
      ...(this.#endpoint === undefined ? {} : { endpoint: this.#endpoint }),
      ...(this.#cluster === undefined ? {} : { cluster: this.#cluster }),
    })
  }
}
