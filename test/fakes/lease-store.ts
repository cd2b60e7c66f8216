import { Latest } from '../../lib/latest.ts'
import { silentLogger } from '../../lib/log.ts'
import { aborted } from '../../lib/signals.ts'
import { CLAIM_MS } from '../../subnet/address-claim.ts'
import { claimLease } from '../../subnet/lease-claim.ts'
import { LeaseMirror } from '../../subnet/lease-mirror.ts'
import { rewriteLease } from '../../subnet/lease-rewrite.ts'
import type { ClaimingNeeds, LeaseTable } from '../../subnet/lease-table.ts'
import type {
  AcquireHints,
  LeaseAttrs,
  LeaseSnapshot,
  LeaseStore,
  OwnLease,
  PublishHints,
  StoreHealth,
} from '../../subnet/types.ts'
import type { FakeLeaseTable } from './lease-table.ts'

/** How one node's connection to the store behaves now; a test changes it while the store is in use. */
export interface Connection {
  /** Milliseconds by which what the node sees is behind. */
  lagMs: number
  /** Milliseconds that a question or a write takes to get there, and its answer to come back. */
  delayMs: number
  /** Nothing gets through, in either direction. */
  cut: boolean
  /** Of so many questions and writes one fails, every other time after it was done; 0: none. */
  failOneOf: number
  /** The list of all leases is not to be had, as of an API server that answers small questions only. */
  isUnlisted: boolean
}

export function goodConnection(): Connection {
  return { lagMs: 0, delayMs: 0, cut: false, failOneOf: 0, isUnlisted: false }
}

const RETRY_MS = 100
const FIRST_AGAIN_MS = 200
const MOST_AGAIN_MS = 5_000

let processes = 0

class Unavailable extends Error {}

interface Needs {
  readonly table: FakeLeaseTable
  readonly random: () => number
  /** How the calls of the node's process are made; one that is dead makes none. */
  readonly call?: <T>(work: () => Promise<T> | T) => Promise<T>
}

/**
 * One node's store on a shared `FakeLeaseTable`, over a connection that may be slow, fail or be cut; the conformance suite holds it to what
 * the real one does. With a connection it sees what `run` has told it and what its own writes have shown, as the real one does; without, all
 * at once.
 */
export class FakeLeaseStore implements LeaseStore {
  readonly name = 'fake leases'
  readonly health = new Latest<StoreHealth>('fake health')
  readonly table: FakeLeaseTable
  readonly ownFirst: Latest<LeaseSnapshot> | undefined
  readonly #nodeId: string | undefined
  readonly #needs: Needs
  readonly #connection: Connection | undefined
  readonly #claimMs: number
  readonly #nonce: string
  readonly #mirror = new LeaseMirror()
  readonly #changes = new Latest<number>('what the node sees')
  #history = 0
  #calls = 0

  /** `nodeId`: of the node, which is told of its own lease first. */
  constructor(needs: Needs, options: { claimMs?: number; connection?: Connection; nodeId?: string | undefined } = {}) {
    this.#nodeId = options.nodeId
    if (options.nodeId !== undefined) this.ownFirst = new Latest('fake own lease')
    this.table = needs.table
    this.#claimMs = options.claimMs ?? CLAIM_MS
    this.#connection = options.connection
    processes += 1
    this.#nonce = `process${processes}`
    this.#needs = needs
    this.health.set({ up: true, lastSuccess: 0, resyncs: new Map() })
  }

  async run(signal: AbortSignal): Promise<void> {
    const connection = this.#connection
    if (connection === undefined) return await aborted(signal)
    await this.#open(signal)
    if (!signal.aborted) await this.#call(() => this.#seeOwn())
    for await (const _change of this.table.changes.watch(signal)) {
      await this.#sleep(connection.lagMs, signal).catch(() => {})
      await this.#open(signal)
      if (!signal.aborted) await this.#call(() => this.#see())
    }
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LeaseSnapshot> {
    const { changes, mirror } = this.#seen()
    for await (const _change of changes.watch(signal)) {
      while (this.#connection?.isUnlisted && !signal.aborted) await this.#sleep(RETRY_MS, signal).catch(() => {})
      yield mirror.snapshot()
    }
  }

  entry(id: string) {
    return this.#seen().mirror.entry(id)
  }

  async acquire(want: LeaseAttrs, hints: AcquireHints, signal: AbortSignal): Promise<OwnLease> {
    return await this.#whileUnavailable((needs) => claimLease(needs, want, hints, signal), signal)
  }

  async publish(own: OwnLease, want: LeaseAttrs, hints: PublishHints, signal: AbortSignal): Promise<OwnLease> {
    return await this.#whileUnavailable((needs) => rewriteLease(needs, own, want, hints, signal), signal)
  }

  #seen() {
    if (this.#connection === undefined) return { changes: this.table.changes, mirror: this.table }
    return { changes: this.#changes, mirror: this.#mirror }
  }

  /** Of what is seen late, too, it is the newest: a watch that lags conflates. */
  #see(): void {
    const { entries, revision } = this.table.list()
    const list = this.#mirror.beginList(this.#history === this.table.history)
    this.#history = this.table.history
    for (const entry of entries) list.add(entry)
    list.commit(revision)
    this.#changed()
  }

  #seeOwn(): void {
    const { revision, leases } = this.table.snapshot()
    const own = [...leases].filter(([, { node }]) => node === this.#nodeId)
    this.ownFirst?.set({ revision, leases: new Map(own), unreadable: [] })
  }

  #changed(): void {
    this.#changes.set((this.#changes.current ?? 0) + 1)
  }

  async #whileUnavailable(work: (needs: ClaimingNeeds) => Promise<OwnLease>, signal: AbortSignal): Promise<OwnLease> {
    const { random } = this.#needs
    const table = this.#connection === undefined ? this.table : this.#remoteTable(this.#connection)
    const needs = { random, table, log: silentLogger, nonce: this.#nonce, claimMs: this.#claimMs }
    for (let wait = FIRST_AGAIN_MS; ; wait = Math.min(MOST_AGAIN_MS, wait * 2)) {
      try {
        return await work(needs)
      } catch (cause) {
        if (!(cause instanceof Unavailable)) throw cause
        await this.#sleep(wait, signal)
      }
    }
  }

  #remoteTable(connection: Connection): LeaseTable {
    const { table } = this
    const over = async <T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
      await this.#travel(connection, signal)
      this.#calls += 1
      const fails = connection.failOneOf > 0 && this.#calls % connection.failOneOf === 0
      const isLost = fails && (this.#calls / connection.failOneOf) % 2 === 0
      if (fails && !isLost) throw new Unavailable('the store did not answer')
      const answer = await this.#call(work)
      if (isLost) throw new Unavailable('the answer of the store was lost')
      await this.#travel(connection, signal)
      return answer
    }
    const change = async <T>(id: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
      const answer = await over(signal, work)
      const { revision } = table.list()
      this.#mirror.learn(id, table.raw(id), String(revision))
      this.#changed()
      return answer
    }
    return {
      view: async (signal) => {
        await this.#open(signal)
        for await (const _change of this.#changes.watch(signal)) if (this.#history > 0) return this.#mirror.snapshot()
        throw signal.reason
      },
      passed: async (version, signal) => {
        for await (const _change of this.#changes.watch(signal)) if (this.#mirror.hasFollowed(version)) return
        signal.throwIfAborted()
      },
      entry: (id) => this.#mirror.entry(id),
      name: (id) => table.name(id),
      claim: (id, version, claim, signal) => change(id, signal, () => table.claim(id, version, claim, signal)),
      quiet: async (id, version, ms, signal) => {
        await over(signal, () => table.quiet(id, version, ms, signal))
        // What anybody wrote since is seen by whoever decides next.
        return await change(id, signal, async () => table.entry(id)?.version === version)
      },
      write: (write, signal) => change(write.id, signal, () => table.write(write, signal)),
      move: async (from, write, signal) => {
        const result = await over(signal, () => table.move(from, write, signal))
        const revision = String(table.list().revision)
        for (const id of [from, write.id]) this.#mirror.learn(id, table.raw(id), revision)
        this.#changed()
        return result
      },
      remove: (id, version, signal) => change(id, signal, () => table.remove(id, version, signal)),
    }
  }

  async #travel({ delayMs }: Connection, signal: AbortSignal): Promise<void> {
    await this.#sleep(delayMs, signal)
    await this.#open(signal)
    signal.throwIfAborted()
  }

  /** Until the connection is not cut. */
  async #open(signal: AbortSignal): Promise<void> {
    while (this.#connection?.cut && !signal.aborted) await this.#sleep(RETRY_MS, signal).catch(() => {})
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (ms > 0) await this.table.clock.sleep(ms, signal)
  }

  async #call<T>(work: () => Promise<T> | T): Promise<T> {
    return await (this.#needs.call?.(work) ?? work())
  }
}
