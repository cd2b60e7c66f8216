import { Backoff } from '../../lib/backoff.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Logger } from '../../lib/log.ts'
import type { KubeClient } from './client.ts'
import { ApiUnavailable, Expired } from './errors.ts'
import { fieldsOf, versionOf } from './node.ts'

/** Where the Nodes go. */
export interface NodeSink {
  beginList(): { add(object: unknown): void; commit(revision: string): void }
  put(object: unknown): void
  remove(object: unknown): void
}

export interface FollowerTimes {
  /** How long the server shall keep a watch; it sends a bookmark before it ends one. */
  readonly watchMs: number
  /** How much later it must have ended. */
  readonly graceMs: number
}

/** Half-open connections are found within a minute, and the end of a watch costs one small request. */
const TIMES: FollowerTimes = { watchMs: 40_000, graceMs: 10_000 }
/** A page of so many Nodes is a few megabytes at most. */
const PAGE = 200
export const NODES = '/api/v1/nodes'
/** A watch that the server ends sooner, and without a word, was none. */
const SHORT_MS = 2_000

/**
 * Lists all Nodes, page by page, and then watches them from where the list ended; whatever breaks, it goes on from the last resource
 * version that was heard of, and lists anew only when the server no longer has that one. One request at a time, with growing pauses.
 */
export class NodeFollower {
  readonly #needs: { client: KubeClient; clock: Clock; log: Logger; random: () => number; sink: NodeSink }
  readonly #times: FollowerTimes
  readonly #backoff: Backoff
  /** Undefined: a list is needed. */
  #revision: string | undefined
  /** Why; for the count. */
  #cause = 'start'

  constructor(
    needs: { client: KubeClient; clock: Clock; log: Logger; random: () => number; sink: NodeSink },
    times: FollowerTimes = TIMES,
  ) {
    this.#needs = needs
    this.#times = times
    this.#backoff = new Backoff(needs, { firstMs: 200, mostMs: 10_000 })
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#needs
    while (!signal.aborted) {
      try {
        if (this.#revision === undefined) await this.#list(signal)
        await this.#watch(signal)
      } catch (cause) {
        if (signal.aborted) return
        await clock.sleep(this.#failed(cause), signal).catch(() => {})
      }
    }
  }

  /** Milliseconds to wait. */
  #failed(cause: unknown): number {
    const { client, log, random } = this.#needs
    let asked = 0
    if (cause instanceof Expired) {
      this.#revision = undefined
      this.#cause = 'expired'
    } else if (cause instanceof ApiUnavailable) {
      asked = cause.retryAfterMs
      if (this.#revision === undefined) client.health.failed(USER, cause.message)
      else client.health.interrupted(USER, cause.message)
    } else {
      throw cause
    }
    log.debug('nodes not followed now', { why: messageOf(cause) })
    return Math.max(this.#backoff.next(), asked * (1 + random() / 2))
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { client, sink } = this.#needs
    const list = sink.beginList()
    let next = ''
    let revision: string | undefined
    do {
      const query = new URLSearchParams({ limit: String(PAGE), ...(next && { continue: next }) })
      const permission = { resource: 'nodes', verb: 'list' } as const
      const page = fieldsOf(await client.ask({ method: 'GET', path: `${NODES}?${query}`, permission }, signal))
      revision ??= versionOf(page)
      const { items } = page
      if (!Array.isArray(items) || revision === undefined) throw new ApiUnavailable('the list of nodes is none')
      for (const item of items) list.add(item)
      next = String(fieldsOf(page['metadata'])['continue'] ?? '')
    } while (next !== '')
    list.commit(revision)
    this.#revision = revision
    client.health.resynced(this.#cause)
    this.#current()
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, clock, random } = this.#needs
    const { watchMs, graceMs } = this.#times
    // Not all nodes of a cluster at once.
    const lastMs = Math.round(watchMs * (0.75 + random() / 4))
    const query = new URLSearchParams({
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: this.#revision ?? '',
      timeoutSeconds: String(Math.max(1, Math.round(lastMs / 1000))),
    })
    const began = clock.now()
    let heard = false
    const take = (event: unknown) => {
      this.#take(event)
      heard = true
      this.#backoff.succeeded()
      this.#current()
    }
    const permission = { resource: 'nodes', verb: 'watch' } as const
    const request = { method: 'GET', path: `${NODES}?${query}`, permission } as const
    await client.watch(request, { deadMs: lastMs + graceMs }, take, signal)
    if (!heard && clock.now() - began < SHORT_MS) throw new ApiUnavailable('the API server ended the watch at once')
    this.#backoff.succeeded()
    this.#current()
  }

  #take(event: unknown): void {
    const { sink } = this.#needs
    const { type, object } = fieldsOf(event)
    switch (type) {
      case 'ADDED':
      case 'MODIFIED':
        sink.put(object)
        break
      case 'DELETED':
        sink.remove(object)
        break
      case 'BOOKMARK':
        break
      case 'ERROR': {
        const { code, message } = fieldsOf(object)
        if (code === 410) throw new Expired(String(message))
        throw new ApiUnavailable(`the watch of nodes was ended: ${String(message).slice(0, 200)}`)
      }
      default:
        return
    }
    this.#revision = versionOf(object) ?? this.#revision
  }

  #current(): void {
    const { client } = this.#needs
    client.health.current(USER, client.endpoint)
  }
}

const USER = 'nodes'
