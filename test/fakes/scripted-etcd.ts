import { StoreUnavailable, TooLarge } from '../../subnet/etcd/errors.ts'
import type { RangeClient } from '../../subnet/etcd/range-follower.ts'
import type { Call, Event, KeyValue } from '../../subnet/etcd/rpc.ts'
import type { WatchEvents } from '../../subnet/etcd/watch-stream.ts'
import { HealthRecord } from '../../subnet/health-record.ts'
import { VirtualClock } from './clock.ts'

/** What the follower asks of etcd; `thorough`: reads for which etcd looks at every entry. */
export const nothingAsked = { lists: 0, counts: 0, thorough: 0, watches: 0, progress: 0 }

/** An etcd that lies, stalls and forgets as told. */
export class ScriptedEtcd {
  readonly clock = new VirtualClock()
  readonly health = new HealthRecord({ clock: this.clock })
  /** Values, and the revision of the last change. */
  readonly entries = new Map<string, { value: string; revision: number }>()
  readonly history: Event[] = []
  readonly asked = { ...nothingAsked }
  revision = 7
  cluster = '1'
  tries = 0
  gaveUp = 0
  rotations = 0
  reachable = true
  answersWatch = true
  answersProgress = true
  latencyMs = 0
  /** Watches that ask for earlier revisions are refused. */
  compacted = 0
  /** New watches tell nothing of the past. */
  forgetful = false
  largestPage = Number.POSITIVE_INFINITY
  on: WatchEvents | undefined

  readonly client: RangeClient = {
    health: this.health,
    call: async <G, R>(_call: Call<G, R>, given: G, signal: AbortSignal): Promise<R> => {
      this.tries += 1
      if (this.latencyMs > 0) await this.clock.sleep(this.latencyMs, signal)
      if (!this.reachable) throw new StoreUnavailable('nobody there')
      return this.#range(given as Request) as R
    },
    watch: async (on, { fromRevision }, signal) => {
      this.on = on
      this.asked.watches += 1
      const later = (work: () => void) => {
        if (this.latencyMs === 0) work()
        else void this.clock.sleep(this.latencyMs, signal).then(work, () => undefined)
      }
      const tell = () => {
        on.created()
        if (fromRevision <= this.compacted) return on.ended({ why: 'compacted', text: 'compacted' })
        const missed = this.history.filter(({ kv }) => BigInt(kv.mod_revision) >= fromRevision)
        if (missed.length === 0 || this.forgetful) return
        on.events(missed)
        on.progress(BigInt(this.revision))
      }
      if (this.answersWatch) later(tell)
      const requestProgress = () => {
        this.asked.progress += 1
        if (this.answersProgress) later(() => on.progress(BigInt(this.revision)))
      }
      return { endpoint: 'e', requestProgress, close: () => undefined }
    },
    applyRotatedFiles: async () => {
      this.rotations += 1
    },
    giveUp: async (why) => {
      this.gaveUp += 1
      this.on?.ended({ why: 'broken', text: why })
    },
  }

  #range(request: Request): object {
    const header = { revision: String(this.revision), cluster_id: this.cluster }
    const count = String(this.entries.size)
    if (request.count_only) {
      this.asked.counts += 1
      return { header, count, kvs: [] }
    }
    if (request.min_mod_revision !== undefined) {
      this.asked.thorough += 1
      const least = Number(request.min_mod_revision)
      const newer = [...this.entries].filter(([, { revision }]) => revision >= least)
      newer.sort(([, a], [, b]) => b.revision - a.revision)
      return { header, count, kvs: newer.slice(0, 1).map(([key]) => this.kv(key)) }
    }
    if ((request.limit ?? 0) > this.largestPage) throw new TooLarge('too large')
    const keys = [...this.entries.keys()].sort().filter((key) => Buffer.compare(Buffer.from(key), request.key) >= 0)
    const kvs = keys.slice(0, request.limit).map((key) => this.kv(key))
    if (String(request.key) === '/s/') this.asked.lists += 1
    return { header, kvs, more: keys.length > kvs.length }
  }

  kv(key: string): KeyValue {
    const entry = this.entries.get(key)
    const revision = String(entry?.revision ?? this.revision)
    return {
      key: Buffer.from(key),
      value: Buffer.from(entry?.value ?? ''),
      create_revision: revision,
      mod_revision: revision,
      version: '1',
      lease: '0',
    }
  }

  fill(count: number): void {
    for (let n = 0; n < count; n += 1) this.entries.set(`/s/${n}`, { value: `${n}`, revision: 5 })
  }

  /** Something outside the range. */
  putElsewhere(): void {
    this.revision += 1
  }

  /** With `quietly`, the watch does not tell. */
  put(key: string, quietly = false): void {
    this.revision += 1
    this.entries.set(key, { value: `${this.revision}`, revision: this.revision })
    this.#record({ type: 'Put', kv: this.kv(key) } as Event, quietly)
  }

  delete(key: string, quietly = false): void {
    this.revision += 1
    this.entries.delete(key)
    this.#record({ type: 'Delete', kv: this.kv(key) } as Event, quietly)
  }

  #record(event: Event, quietly: boolean): void {
    this.history.push(event)
    if (quietly) return
    this.on?.events([event])
    this.on?.progress(BigInt(this.revision))
  }

  resyncs(): string {
    return [...(this.health.source.current?.resyncs ?? [])].map(([cause, count]) => `${cause} ${count}`).join()
  }
}

interface Request {
  readonly key: Buffer
  readonly limit?: number
  readonly count_only?: boolean
  readonly min_mod_revision?: string
}
