import type { IEvent, IKeyValue } from 'etcd3'
import { Backoff } from '../../lib/backoff.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import { Latest } from '../../lib/latest.ts'
import type { Logger } from '../../lib/log.ts'
import type { EtcdClient, OpenWatch } from './client.ts'
import { Compacted } from './errors.ts'
import type { KeyRange } from './key-range.ts'
import { countRange, readPages } from './range-reads.ts'
import { within } from './within.ts'

/** Receives a range of keys: whole lists, and the events after them. */
export interface RangeSink {
  /** `sameHistory`: the store continues the one of the last list, so equal revisions mean equal entries. */
  beginList(sameHistory: boolean): ListSink
  events(events: readonly IEvent[]): void
  /** Keys held now. */
  readonly size: number
}

export interface ListSink {
  add(entry: IKeyValue): void
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

/** Time for the server to answer on a new or a questioned stream. */
const answerMs = 5000
/**
 * A daemon that was started before etcd wants it at once. Each try costs both sides a connection, so the longer etcd is away the
 * rarer they become: coming back is noticed after at most an eighth of the time that it was away.
 */
const eager = { firstMs: 100, mostMs: 1000 }
const shareOfOutage = 1 / 8
const mostMs = 10_000

interface Position {
  readonly cluster: string
  revision: bigint
  /** Of the newest event or list entry that reached the sink. */
  applied: bigint
}

/**
 * List, watch, and list again after every break: no event is trusted to be resumed. Source: reliability, "etcd3: what to guard against".
 */
export class RangeFollower {
  readonly #client: RangeClient
  readonly #clock: Clock
  readonly #log: Logger
  readonly #random: () => number
  readonly #sink: RangeSink
  readonly #options: FollowerOptions
  readonly #backoff: Backoff
  #position: Position | undefined
  #endWatch: ((cause: string) => void) | undefined
  #failingSince: number | undefined
  readonly #synced = new Latest<boolean>('synced')
  #lists = 0

  constructor(
    needs: { client: RangeClient; clock: Clock; log: Logger; random: () => number; sink: RangeSink },
    options: FollowerOptions,
  ) {
    this.#client = needs.client
    this.#clock = needs.clock
    this.#log = needs.log
    this.#random = needs.random
    this.#sink = needs.sink
    this.#options = options
    this.#backoff = new Backoff(needs, eager)
  }

  /** Resolves when a list was read whose watch is alive; at once if that is so now. */
  async whenSynced(signal: AbortSignal): Promise<void> {
    if (this.#synced.current) return
    for await (const synced of this.#synced.watch(signal)) if (synced) return
    signal.throwIfAborted()
  }

  /** Never rejects but with the signal's reason: what cannot be reached is waited for. */
  async run(signal: AbortSignal): Promise<void> {
    const { name } = this.#options
    let cause = 'start'
    try {
      while (!signal.aborted) {
        try {
          await this.#list(cause, signal)
          cause = await this.#watch(signal)
        } catch (error) {
          if (signal.aborted) break
          cause = error instanceof Compacted ? 'compacted' : 'unreachable'
          this.#client.health.failed(name, messageOf(error))
        }
        this.#synced.set(false)
        if (!signal.aborted) await this.#clock.sleep(this.#pause(), signal).catch(() => undefined)
      }
    } finally {
      this.#synced.set(false)
      this.#client.health.forget(name)
    }
  }

  /** Reads the whole range again. */
  resync(cause: string): void {
    this.#synced.set(false)
    this.#endWatch?.(cause)
  }

  #pause(): number {
    const now = this.#clock.now()
    this.#failingSince ??= now
    const patient = Math.min(mostMs, (now - this.#failingSince) * shareOfOutage) * (0.5 + this.#random() / 2)
    const wait = Math.max(this.#backoff.next(), patient)
    // Many hosts lose the same server at once, and a long list costs it more.
    return wait + this.#random() * Math.min(1000, this.#sink.size / 5)
  }

  async #list(cause: string, signal: AbortSignal): Promise<void> {
    const before = this.#position
    let list: ListSink | undefined
    let position: Position | undefined
    for await (const page of readPages(this.#client, this.#options.range, signal)) {
      if (list === undefined || position === undefined) {
        position = { cluster: page.cluster, revision: page.revision, applied: page.revision }
        const sameHistory = before !== undefined && before.cluster === page.cluster && before.revision <= page.revision
        if (before !== undefined && !sameHistory) {
          this.#log.warn('etcd history replaced', { before: String(before.revision), now: String(page.revision) })
        }
        this.#countResync(before === undefined || sameHistory ? cause : 'restored')
        list = this.#sink.beginList(sameHistory)
      }
      for (const entry of page.entries) list.add(entry)
    }
    if (list === undefined || position === undefined) throw new TypeError('a list without a page')
    list.commit(position.revision)
    this.#position = position
  }

  #countResync(cause: string): void {
    if (this.#lists > 0) this.#client.health.resynced(cause)
    this.#lists += 1
  }

  /** Resolves with the cause of its end. */
  async #watch(signal: AbortSignal): Promise<string> {
    const position = this.#position
    if (position === undefined) throw new TypeError('a watch without a list')
    const { range, name } = this.#options
    const { health } = this.#client
    const over = new AbortController()
    const waiters = new Set<() => void>()
    const wake = () => {
      for (const waiter of [...waiters]) waiter()
    }
    let created = false
    let end: string | undefined
    const finish = (cause: string) => {
      end ??= cause
      this.#synced.set(false)
      over.abort(new Error(cause))
      wake()
    }
    const stop = () => finish('stopping')
    signal.addEventListener('abort', stop, { once: true })
    this.#endWatch = finish
    let watch: OpenWatch | undefined
    try {
      watch = await this.#client.watch(
        {
          created: () => {
            created = true
            wake()
          },
          events: (events) => {
            if (end !== undefined) return
            position.applied = BigInt(events.at(-1)?.kv.mod_revision ?? position.applied)
            this.#sink.events(events)
          },
          progress: (revision) => {
            if (revision > position.revision) position.revision = revision
            wake()
          },
          ended: ({ why, text }) => {
            health.failed(name, `the watch ended: ${text}`)
            finish(why)
          },
        },
        { range, fromRevision: position.revision + 1n },
        signal,
      )
      const until = (done: () => boolean) => within(this.#clock, answerMs, over.signal, waiters, done)
      if (!(await until(() => created))) return end ?? (await this.#giveUp('no answer to the watch'))
      health.current(name, watch.endpoint)
      this.#synced.set(true)
      while (end === undefined) {
        const pause = this.#options.checkEveryMs * (0.75 + this.#random() / 2)
        await this.#clock.sleep(pause, over.signal).catch(() => undefined)
        if (end !== undefined) break
        await this.#client.applyRotatedFiles()
        const doubt = await this.#check(watch, position, until, over.signal).catch((cause: unknown) => {
          // The watch ended meanwhile and took the check with it: its cause counts.
          if (end === undefined) throw cause
          return undefined
        })
        if (end !== undefined) break
        if (doubt === undefined) health.current(name, watch.endpoint)
        else finish(doubt)
        this.#recovered()
      }
      return end
    } finally {
      signal.removeEventListener('abort', stop)
      this.#endWatch = undefined
      watch?.close()
    }
  }

  /** What speaks against the mirror; undefined: nothing. */
  async #check(
    watch: OpenWatch,
    position: Position,
    until: (done: () => boolean) => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const truth = await countRange(this.#client, this.#options.range, signal)
    if (truth.cluster !== position.cluster || truth.revision < position.revision) return 'restored'
    watch.requestProgress()
    if (!(await until(() => position.revision >= truth.revision))) return await this.#giveUp('the watch stands still')
    // Later events have changed the count since: the next check will tell.
    return position.applied <= truth.revision && truth.count !== this.#sink.size ? 'mismatch' : undefined
  }

  async #giveUp(why: string): Promise<string> {
    this.#client.health.failed(this.#options.name, why)
    await this.#client.giveUp(why)
    return 'stale'
  }

  #recovered(): void {
    this.#failingSince = undefined
    this.#backoff.succeeded()
  }
}
