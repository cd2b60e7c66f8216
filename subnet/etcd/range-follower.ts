import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import { Latest } from '../../lib/latest.ts'
import type { Logger } from '../../lib/log.ts'
import type { EtcdClient, OpenWatch } from './client.ts'
import { Compacted, StoreUnavailable } from './errors.ts'
import type { KeyRange } from './key-range.ts'
import { advance, isBehind, isOtherHistory, type Mirror, type Position, RangeCheck } from './range-check.ts'
import { readPages, readState } from './range-reads.ts'
import { RetryPace } from './retry-pace.ts'
import type { Event, KeyValue } from './rpc.ts'
import { TryLimit } from './try-limit.ts'
import { type Cause, resumable } from './watch-cause.ts'
import type { WatchEvents } from './watch-stream.ts'
import { within } from './within.ts'

/** Receives a range of keys: whole lists, and the events after them. */
export interface RangeSink {
  /** `sameHistory`: the store continues the one of the last list, so equal revisions mean equal entries. */
  beginList(sameHistory: boolean): ListSink
  events(events: readonly Event[]): void
  /** Keys held now. */
  readonly size: number
}

export interface ListSink {
  add(entry: KeyValue): void
  /** The list is whole, as of this revision. Without it, what was added is forgotten. */
  commit(revision: bigint): void
}

/** What of the client is used. */
export type RangeClient = Pick<EtcdClient, 'call' | 'watch' | 'health' | 'applyRotatedFiles' | 'giveUp'>

export interface FollowerOptions {
  /** For the health and the log. */
  readonly name: string
  readonly range: KeyRange
  /** How often a linearizable read is compared with the mirror. */
  readonly checkEveryMs: number
}

/** Time for the server to say something on its stream that a check waits for: 5 s on the way there and back, twice. */
const patienceMs = 10_000
/** The same for a new watch, which a slow server may confirm later still. */
const createdMs = { firstMs: 5000, mostMs: 60_000 }

/**
 * List, then watch. After a break it asks whether anything was missed: if not, nothing is read; if so, the next watch tells it, from the
 * last event on, and a check proves that it did. Only where that cannot be had is the range listed again.
 */
export class RangeFollower {
  readonly #needs: { client: RangeClient; clock: Clock; log: Logger; random: () => number; sink: RangeSink }
  readonly #options: FollowerOptions
  readonly #pace: RetryPace
  readonly #created = new TryLimit(createdMs)
  readonly #synced = new Latest<boolean>('synced')
  readonly #waiters = new Set<() => void>()
  #position: Position | undefined
  #endWatch: ((cause: Cause) => void) | undefined
  #lists = 0

  constructor(
    needs: { client: RangeClient; clock: Clock; log: Logger; random: () => number; sink: RangeSink },
    options: FollowerOptions,
  ) {
    this.#needs = needs
    this.#options = options
    this.#pace = new RetryPace(needs)
  }

  /** Resolves when the mirror was proven current and its watch is alive; at once if that is so now. */
  async whenSynced(signal: AbortSignal): Promise<void> {
    if (this.#synced.current) return
    for await (const synced of this.#synced.watch(signal)) if (synced) return
    signal.throwIfAborted()
  }

  /** Resolves when it is not so any more, were it for a moment only. */
  async whenInterrupted(signal: AbortSignal): Promise<void> {
    const lists = this.#lists
    for await (const synced of this.#synced.watch(signal)) if (!synced || this.#lists !== lists) return
    signal.throwIfAborted()
  }

  /** Never rejects but with the signal's reason: what cannot be reached is waited for. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, clock } = this.#needs
    const { name } = this.#options
    let cause: Cause = 'start'
    try {
      while (!signal.aborted) {
        try {
          const resumes = await this.#catchUp(cause, signal)
          cause = 'unreachable'
          cause = await this.#watch(resumes, signal)
        } catch (error) {
          if (signal.aborted) break
          if (error instanceof Compacted) cause = 'compacted'
          client.health.failed(name, messageOf(error))
        }
        this.#synced.set(false)
        // What can go on where it ended asks for no long list.
        const keys = resumable.has(cause) && this.#position !== undefined ? 0 : this.#needs.sink.size
        if (!signal.aborted) await clock.sleep(this.#pace.next(keys), signal).catch(() => undefined)
      }
    } finally {
      this.#synced.set(false)
      client.health.forget(name)
    }
  }

  /** Reads the whole range again. */
  resync(): void {
    this.#synced.set(false)
    this.#endWatch?.('asked')
  }

  /** Something may have changed that the watch has not told yet: whoever waits for `whenSynced` waits for the proof. */
  recheck(): void {
    this.#synced.set(false)
    this.#wake()
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) waiter()
  }

  /** True if a watch from the position on has something to tell. */
  async #catchUp(cause: Cause, signal: AbortSignal): Promise<boolean> {
    const { client, sink } = this.#needs
    const position = this.#position
    if (position === undefined || !resumable.has(cause)) {
      await this.#list(cause, signal)
      return false
    }
    const state = await readState(client, this.#options.range, position.applied, signal)
    if (isOtherHistory(position, state)) {
      await this.#list('restored', signal)
      return false
    }
    if (isBehind({ position, size: () => sink.size }, state)) return true
    advance(position, state.revision)
    return false
  }

  async #list(cause: Cause, signal: AbortSignal): Promise<void> {
    const { client, log, sink } = this.#needs
    const before = this.#position
    let list: ListSink | undefined
    let position: Position | undefined
    for await (const page of readPages(client, this.#options.range, signal)) {
      if (list === undefined || position === undefined) {
        position = { cluster: page.cluster, revision: page.revision, applied: page.revision }
        const sameHistory = before !== undefined && !isOtherHistory(before, page)
        if (before !== undefined && !sameHistory) {
          log.warn('etcd history replaced', { before: String(before.revision), now: String(page.revision) })
        }
        this.#countList(before === undefined || sameHistory ? cause : 'restored')
        list = sink.beginList(sameHistory)
      }
      for (const entry of page.entries) list.add(entry)
    }
    if (list === undefined || position === undefined) throw new TypeError('a list without a page')
    client.health.identified(position.cluster)
    list.commit(position.revision)
    this.#position = position
  }

  #countList(cause: Cause): void {
    if (this.#lists > 0) this.#needs.client.health.resynced(cause)
    this.#lists += 1
  }

  /** Resolves with the cause of its end. `resumes`: the mirror is current only when the watch has told what was missed. */
  async #watch(resumes: boolean, signal: AbortSignal): Promise<Cause> {
    const { client, clock } = this.#needs
    const position = this.#position
    if (position === undefined) throw new TypeError('a watch without a list')
    const began = clock.now()
    const over = new AbortController()
    let created = false
    let end: Cause | undefined
    const finish = (cause: Cause) => {
      end ??= cause
      this.#synced.set(false)
      over.abort(new Error(cause))
      this.#wake()
    }
    const stop = () => finish('stopping')
    signal.addEventListener('abort', stop, { once: true })
    this.#endWatch = finish
    const on: WatchEvents = {
      created: () => {
        created = true
        this.#wake()
      },
      events: (events) => {
        if (end !== undefined) return
        position.applied = BigInt(events.at(-1)?.kv.mod_revision ?? position.applied)
        this.#needs.sink.events(events)
      },
      progress: (revision) => {
        if (revision > position.revision) position.revision = revision
        this.#wake()
      },
      ended: ({ why, text }) => {
        client.health.interrupted(this.#options.name, `the watch ended: ${text}`)
        finish(why)
      },
    }
    let watch: OpenWatch | undefined
    try {
      watch = await client.watch(on, { range: this.#options.range, fromRevision: position.applied + 1n }, signal)
      const limitMs = this.#created.ms
      if (!(await this.#until(() => created, limitMs, over.signal))) {
        if (end !== undefined) return end
        this.#created.late(limitMs)
        await this.#giveUp('no answer to the watch')
        return 'unreachable'
      }
      this.#created.answered(clock.now() - began)
      if (!resumes) this.#proven(watch)
      await this.#check({ watch, position, ended: () => end, finish }, over.signal)
      return end ?? 'stopping'
    } finally {
      this.#pace.lasted(clock.now() - began)
      signal.removeEventListener('abort', stop)
      this.#endWatch = undefined
      watch?.close()
    }
  }

  /** Compares the mirror with the store from time to time, until the watch ends. */
  async #check(
    of: { watch: OpenWatch; position: Position; ended: () => Cause | undefined; finish: (cause: Cause) => void },
    signal: AbortSignal,
  ): Promise<void> {
    const { client, random, sink, clock } = this.#needs
    const { name, range, checkEveryMs } = this.#options
    const mirror: Mirror = { position: of.position, size: () => sink.size }
    const check = new RangeCheck({
      mirror,
      watch: of.watch,
      read: (since) => readState(client, range, since, signal),
      until: (done) => this.#until(done, patienceMs, signal),
    })
    for (let failures = 0; of.ended() === undefined; ) {
      const isDue = () => this.#synced.current === false
      if (failures === 0) await this.#until(isDue, checkEveryMs * (0.75 + random() / 2), signal)
      else await clock.sleep(this.#pace.next(0), signal).catch(() => undefined)
      if (of.ended() !== undefined) return
      await client.applyRotatedFiles()
      try {
        const exact = isDue()
        const verdict = await check.run(exact)
        if (of.ended() !== undefined) return
        failures = 0
        if (!exact) this.#pace.succeeded()
        if (verdict === 'current') this.#proven(of.watch)
        else of.finish(verdict)
        if (verdict === 'stale') await this.#giveUp('the watch stands still')
      } catch (cause) {
        // The watch ended meanwhile and took the check with it: its cause counts.
        if (of.ended() !== undefined) return
        if (!(cause instanceof StoreUnavailable)) throw cause
        failures += 1
        // The choice of a new leader takes a second or three, and is no outage.
        if (failures > 1) client.health.failed(name, messageOf(cause))
      }
    }
  }

  #proven(watch: OpenWatch): void {
    this.#needs.client.health.current(this.#options.name, watch.endpoint)
    this.#synced.set(true)
  }

  #until(done: () => boolean, ms: number, signal: AbortSignal): Promise<boolean> {
    return within(this.#needs.clock, ms, signal, this.#waiters, done)
  }

  async #giveUp(why: string): Promise<void> {
    const { client } = this.#needs
    client.health.interrupted(this.#options.name, why)
    await client.giveUp(why)
  }
}
