import type { Clock } from '../../lib/clock.ts'
import { Latest } from '../../lib/latest.ts'
import { silentLogger } from '../../lib/log.ts'
import { aborted } from '../../lib/signals.ts'
import { CLAIM_MS } from '../../subnet/address-claim.ts'
import { claimLease, type LeaseTable } from '../../subnet/lease-claim.ts'
import { rewriteLease } from '../../subnet/lease-rewrite.ts'
import type {
  AcquireHints,
  LeaseAttrs,
  LeaseSnapshot,
  LeaseStore,
  OwnLease,
  PublishHints,
  StoreHealth,
} from '../../subnet/types.ts'
import type { FakeLeaseTable } from '../fakes/lease-store.ts'
import type { SimulatedProcess } from './process.ts'

/** How one node's connection to the store behaves now; a history changes it. */
export interface Connection {
  /** Milliseconds by which the watch is behind. */
  lagMs: number
  /** Milliseconds that a question or a write takes to get there, and its answer to come back. */
  delayMs: number
  /** Nothing gets through, in either direction. */
  cut: boolean
  /** Of so many questions and writes one fails, some of them after it was done; 0: none. */
  failOneOf: number
}

export function goodConnection(): Connection {
  return { lagMs: 0, delayMs: 1, cut: false, failOneOf: 0 }
}

interface StoreNeeds {
  readonly table: FakeLeaseTable
  readonly random: () => number
  readonly clock: Clock
  /** Whose connection it is. */
  readonly process: SimulatedProcess
}

const RETRY_MS = 100

/** One node's store on the table that all share, over a connection that may be slow or cut. */
export class ConnectedStore implements LeaseStore {
  readonly name = 'simulated leases'
  readonly health = new Latest<StoreHealth>('simulated health')
  readonly #needs: StoreNeeds
  #calls = 0
  readonly #connection: Connection
  readonly #nonce: string

  constructor(needs: StoreNeeds, connection: Connection) {
    this.#needs = needs
    this.#connection = connection
    this.#nonce = String(needs.random())
    this.health.set({ up: true, lastSuccess: 0, resyncs: new Map() })
  }

  async run(signal: AbortSignal): Promise<void> {
    await aborted(signal)
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LeaseSnapshot> {
    const { table, clock } = this.#needs
    for await (const _change of table.changes.watch(signal)) {
      // Of what is seen late, too, it is the newest: a watch that lags conflates.
      if (this.#connection.lagMs > 0) await clock.sleep(this.#connection.lagMs, signal).catch(() => {})
      await this.#open(signal)
      if (signal.aborted) return
      yield await this.#needs.process.call(() => table.snapshot())
    }
  }

  async acquire(want: LeaseAttrs, hints: AcquireHints, signal: AbortSignal): Promise<OwnLease> {
    return await claimLease(this.#claimNeeds(), want, hints, signal)
  }

  async publish(own: OwnLease, want: LeaseAttrs, hints: PublishHints, signal: AbortSignal): Promise<OwnLease> {
    return await rewriteLease(this.#claimNeeds(), own, want, hints, signal)
  }

  entry(id: string) {
    return this.#needs.table.entry(id)
  }

  #claimNeeds() {
    const { random } = this.#needs
    return { random, table: this.#table(), log: silentLogger, nonce: this.#nonce, claimMs: CLAIM_MS }
  }

  #table(): LeaseTable {
    const { table } = this.#needs
    const over = async <T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
      await this.#travel(signal)
      this.#calls += 1
      const fails = this.#connection.failOneOf > 0 && this.#calls % this.#connection.failOneOf === 0
      if (fails && this.#calls % 2 === 0) throw new Error('the store did not answer')
      const answer = await this.#needs.process.call(work)
      if (fails) throw new Error('the answer of the store was lost')
      await this.#travel(signal)
      return answer
    }
    return {
      view: (signal) => over(signal, () => table.view(signal)),
      passed: (version, signal) => over(signal, () => table.passed(version, signal)),
      entry: (id) => table.entry(id),
      name: (id) => table.name(id),
      claim: (id, version, claim, signal) => over(signal, () => table.claim(id, version, claim, signal)),
      quiet: (id, version, ms, signal) => over(signal, () => table.quiet(id, version, ms, signal)),
      write: (write, signal) => over(signal, () => table.write(write, signal)),
      remove: (id, version, signal) => over(signal, () => table.remove(id, version, signal)),
    }
  }

  async #travel(signal: AbortSignal): Promise<void> {
    await this.#needs.clock.sleep(this.#connection.delayMs, signal)
    await this.#open(signal)
    signal.throwIfAborted()
  }

  /** Until the connection is not cut. */
  async #open(signal: AbortSignal): Promise<void> {
    while (this.#connection.cut && !signal.aborted) await this.#needs.clock.sleep(RETRY_MS, signal).catch(() => {})
  }
}
