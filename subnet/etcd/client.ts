import { type Clock, withDeadline } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Logger } from '../../lib/log.ts'
import { EtcdConnection, type RawCall } from './connection.ts'
import { type Endpoint, type EtcdAccess, parseEndpoints, readTlsFiles, sameTlsFiles } from './endpoints.ts'
import { answerOf, StoreUnavailable } from './errors.ts'
import { HealthRecord } from './health-record.ts'
import type { KeyRange } from './key-range.ts'
import { knock } from './knock.ts'
import { type WatchEvents, WatchStream } from './watch-stream.ts'

export interface OpenWatch {
  readonly endpoint: string
  /** See `WatchStream`. */
  requestProgress(): void
  /** Ends it without `ended`. */
  close(): void
}

/** For one try, and for one operation with all its tries on several endpoints. */
const tryMs = 3000
const operationMs = 9000

/**
 * All of the daemon's traffic with etcd: one connection at a time, the next endpoint after a fault. It never waits by itself between
 * operations; its users do, each with its own backoff.
 */
export class EtcdClient {
  readonly health: HealthRecord
  /** Worth a line in the log at start. */
  readonly warnings: readonly string[]
  readonly #clock: Clock
  readonly #log: Logger
  readonly #access: EtcdAccess
  readonly #endpoints: readonly Endpoint[]
  readonly #closing = new AbortController()
  #next = 0
  #connection: Promise<EtcdConnection> | undefined
  /** By endpoint, the fault that is known and need not be logged again. */
  readonly #faults = new Map<string, string>()

  /** @throws ConfigError for endpoints that must not be used */
  constructor(needs: { clock: Clock; log: Logger }, access: EtcdAccess) {
    this.#clock = needs.clock
    this.#log = needs.log
    this.#access = access
    this.health = new HealthRecord(needs)
    const { endpoints, warnings } = parseEndpoints(access)
    this.#endpoints = endpoints
    this.warnings = warnings
  }

  /**
   * One operation, on as many endpoints as it takes. It may reach etcd twice, so writes must be transactions that can tell.
   * @throws StoreUnavailable, an answer (`errors.ts`), or the signal's reason
   */
  async call<T>(call: Omit<RawCall, 'deadlineMs'>, signal: AbortSignal): Promise<T> {
    const end = this.#clock.now() + operationMs
    const faults = new Set<string>()
    for (let tries = 1; ; tries += 1) {
      signal.throwIfAborted()
      const left = end - this.#clock.now()
      const isNew = this.#connection === undefined
      let connection: EtcdConnection | undefined
      try {
        connection = await this.#connect()
        const response = await connection.unary<T>({ ...call, deadlineMs: Math.min(tryMs, Math.max(left, 1)) }, signal)
        this.#faults.delete(connection.endpoint.authority)
        return response
      } catch (cause) {
        signal.throwIfAborted()
        const answer = answerOf(cause)
        if (answer !== undefined) throw answer
        const fault = connection === undefined ? cause : this.#retire(connection, messageOf(cause))
        faults.add(messageOf(fault))
        // Twice even with one endpoint, if the connection was old: a lost login is repaired by the next one.
        if (tries >= Math.max(isNew ? 1 : 2, this.#endpoints.length) || this.#clock.now() >= end) {
          throw new StoreUnavailable([...faults].join('; '), { cause })
        }
      }
    }
  }

  /** @throws StoreUnavailable; later faults arrive as `on.ended` */
  async watch(
    on: WatchEvents,
    from: { range: KeyRange; fromRevision: bigint },
    signal: AbortSignal,
  ): Promise<OpenWatch> {
    const connection = await this.#connect()
    try {
      const raw = await connection.watch(signal)
      const closed = () => {
        stream.close()
        on.ended({ why: 'broken', text: messageOf(connection.closed.reason) })
      }
      const done = () => connection.closed.removeEventListener('abort', closed)
      const ended: WatchEvents['ended'] = (cause) => {
        done()
        // Also when only the stream is at fault: tokens die with streams, and a member that ends them may be ill.
        this.#retire(connection, cause.text)
        on.ended(cause)
      }
      const events = { created: on.created, events: on.events, progress: on.progress, ended }
      const stream = new WatchStream({ raw, on: events }, from)
      if (connection.closed.aborted) closed()
      else connection.closed.addEventListener('abort', closed, { once: true })
      const close = () => {
        done()
        stream.close()
      }
      return { endpoint: connection.endpoint.authority, requestProgress: () => stream.requestProgress(), close }
    } catch (cause) {
      signal.throwIfAborted()
      throw this.#retire(connection, messageOf(cause))
    }
  }

  /** Closes the connection if the TLS files have changed since it was opened; the next operation uses the new ones. */
  async applyRotatedFiles(): Promise<void> {
    const connection = await this.#connection?.catch(() => undefined)
    if (connection === undefined) return
    const files = await readTlsFiles(this.#access).catch(() => undefined)
    // Files that cannot be read now are no reason to give up a connection that works.
    if (files === undefined || sameTlsFiles(files, connection.tls)) return
    this.#log.info('etcd TLS files changed, connecting anew')
    this.#retire(connection, 'the TLS files changed')
  }

  /** Gives up the current connection, so that the next operation tries the next endpoint. */
  async giveUp(why: string): Promise<void> {
    const connection = await this.#connection?.catch(() => undefined)
    if (connection !== undefined) this.#retire(connection, why)
  }

  async close(): Promise<void> {
    this.#closing.abort(new StoreUnavailable('the client was closed'))
    const connection = await this.#connection?.catch(() => undefined)
    this.#connection = undefined
    connection?.close(new StoreUnavailable('the client was closed'))
  }

  #connect(): Promise<EtcdConnection> {
    this.#connection ??= this.#open().catch((cause: unknown) => {
      this.#connection = undefined
      throw new StoreUnavailable(messageOf(cause), { cause })
    })
    return this.#connection
  }

  async #open(): Promise<EtcdConnection> {
    const { username, password } = this.#access
    const tls = await readTlsFiles(this.#access)
    const endpoint = this.#endpoints[this.#next % this.#endpoints.length] as Endpoint
    const login = username === '' ? undefined : { username, reveal: () => password.reveal() }
    if (this.#faults.has(endpoint.authority)) await this.#knock(endpoint)
    return new EtcdConnection({ endpoint, tls }, { login })
  }

  /** A gRPC connection costs ten times the processor time of a socket: where the last one failed, a socket is tried first. */
  async #knock(endpoint: Endpoint): Promise<void> {
    try {
      await withDeadline(tryMs, this.#closing.signal, (stop) => knock(endpoint, stop))
    } catch (cause) {
      this.#next += 1
      throw new StoreUnavailable(`etcd at ${endpoint.authority}: ${messageOf(cause)}`, { cause })
    }
  }

  #retire(connection: EtcdConnection, cause: string): StoreUnavailable {
    const { authority } = connection.endpoint
    // gRPC's frame around the one interesting sentence; the time in it would make each a new one.
    const why = cause
      .replace(/^14 UNAVAILABLE: (?:No connection established\. Last error: )?(?:Error: )?/, '')
      .replace(/\.? *Resolution note: *$/, '')
      .replace(/ \(\d{4}-\d\d-\d\dT[\d:.]+Z\)$/, '')
    const fault = new StoreUnavailable(`etcd at ${authority}: ${why}`)
    if (!connection.closed.aborted) {
      this.#connection = undefined
      this.#next += 1
      // The same again and again is one line; the health shows that it lasts.
      if (this.#faults.get(authority) !== why) this.#log.warn('etcd connection given up', { endpoint: authority, why })
      this.#faults.set(authority, why)
      connection.close(fault)
    }
    return fault
  }
}
