import type { RawWatch } from './connection.ts'
import type { KeyRange } from './key-range.ts'
import type { Event, WatchAnswer } from './rpc.ts'

export interface WatchEvents {
  created(): void
  /** All events of one or more whole revisions. */
  events(events: readonly Event[]): void
  /** All events up to this revision have been told. */
  progress(revision: bigint): void
  /** Once, and nothing after it. */
  ended(cause: WatchEnd): void
}

export interface WatchEnd {
  readonly why: 'broken' | 'canceled' | 'compacted'
  readonly text: string
}

/**
 * One watcher on one stream: with more, it could be mixed up which one an answer is for. Any end, error or cancel
 * ends it for good; another one goes on from the last event.
 */
export class WatchStream {
  readonly #raw: RawWatch
  readonly #on: WatchEvents
  #fragments: Event[] = []
  #ended = false

  constructor(needs: { raw: RawWatch; on: WatchEvents }, options: { range: KeyRange; fromRevision: bigint }) {
    this.#raw = needs.raw
    this.#on = needs.on
    // The listener for errors stays for ever: a cancelled stream still reports one, and without a listener that ends the process.
    this.#raw.on('error', (cause) => this.#end({ why: 'broken', text: cause.message }))
    this.#raw.on('end', () => this.#end({ why: 'broken', text: 'the server ended the watch' }))
    this.#raw.on('data', (response) => this.#receive(response))
    this.#raw.write({
      create_request: {
        key: options.range.key,
        ...(options.range.end === undefined ? {} : { range_end: options.range.end }),
        start_revision: String(options.fromRevision),
        fragment: true,
      },
    })
  }

  /** Asks how far it is; that comes as `progress`. etcd 3.4 and later answer, its grpc-proxy does not. */
  requestProgress(): void {
    if (!this.#ended) this.#raw.write({ progress_request: {} })
  }

  close(): void {
    if (this.#ended) return
    this.#ended = true
    this.#raw.cancel()
  }

  #receive(response: WatchAnswer): void {
    if (this.#ended) return
    if (response.canceled) {
      const compacted = response.compact_revision !== '0'
      const text = compacted
        ? `revision ${response.compact_revision} and earlier are compacted`
        : response.cancel_reason
      this.#end({ why: compacted ? 'compacted' : 'canceled', text: text || 'the server cancelled the watch' })
      return
    }
    if (response.created) {
      this.#on.created()
      // Its revision is the store's, whatever this watch has yet to tell of the time before.
      return
    }
    for (const event of response.events) this.#fragments.push(event)
    // A revision split over several messages is one truth: half of it would look like peers that vanished.
    if (response.fragment) return
    const events = this.#fragments
    this.#fragments = []
    if (events.length > 0) this.#on.events(events)
    this.#on.progress(BigInt(response.header.revision))
  }

  #end(cause: WatchEnd): void {
    if (this.#ended) return
    this.#ended = true
    this.#raw.cancel()
    this.#on.ended(cause)
  }
}
