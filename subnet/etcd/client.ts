import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Logger } from '../../lib/log.ts'
import { HealthRecord } from '../health-record.ts'
import type { EtcdConnection } from './connection.ts'
import { Dialer } from './dialer.ts'
import { type EtcdAccess, parseEndpoints, readTlsFiles, sameTlsFiles } from './endpoints.ts'
import { bareText, CallFailed, StoreUnavailable } from './errors.ts'
import type { KeyRange } from './key-range.ts'
import type { Call } from './rpc.ts'
import { TryLimit } from './try-limit.ts'
import { type WatchEvents, WatchStream } from './watch-stream.ts'

export interface OpenWatch {
  readonly endpoint: string
  /** See `WatchStream`. */
  requestProgress(): void
  /** Ends it without `ended`. */
  close(): void
}

/** For one try. etcd itself gives up after 7 s; the rest is for what stands between. */
const tryMs = { firstMs: 3000, mostMs: 24_000 }
/** For a member that was late, before another one that serves is preferred. */
const questionMs = 10_000

/**
 * All of the daemon's traffic with etcd: one connection at a time. It never waits by itself between operations; its users do, each with
 * its own backoff.
 */
export class EtcdClient {
  readonly health: HealthRecord
  /** Worth a line in the log at start. */
  readonly warnings: readonly string[]
  readonly #clock: Clock
  readonly #log: Logger
  readonly #access: EtcdAccess
  readonly #dialer: Dialer
  readonly #closing = new AbortController()
  readonly #limit = new TryLimit(tryMs)
  #connection: Promise<EtcdConnection> | undefined
  #questioning = false

  /** @throws ConfigError for endpoints that must not be used */
  constructor(needs: { clock: Clock; log: Logger }, access: EtcdAccess) {
    this.#clock = needs.clock
    this.#log = needs.log
    this.#access = access
    this.health = new HealthRecord(needs)
    const { endpoints, warnings } = parseEndpoints(access)
    this.#dialer = new Dialer({ ...needs, limit: this.#limit }, { access, endpoints })
    this.warnings = warnings
  }

  /**
   * One operation, in at most two tries. It may reach etcd twice, so writes must be transactions that can tell.
   * @throws StoreUnavailable, an answer (`errors.ts`), or the signal's reason
   */
  async call<G, R>(call: Call<G, R>, given: G, signal: AbortSignal): Promise<R> {
    const faults = new Set<string>()
    for (let tries = 1; ; tries += 1) {
      signal.throwIfAborted()
      const isNew = this.#connection === undefined
      const connection = await this.#connect()
      signal.throwIfAborted()
      const deadlineMs = this.#limit.ms
      const began = this.#clock.now()
      try {
        const response = await connection.unary(call, given, deadlineMs, signal)
        this.#limit.answered(this.#clock.now() - began)
        this.#dialer.works(connection.endpoint)
        return response
      } catch (cause) {
        signal.throwIfAborted()
        if (!(cause instanceof CallFailed) && !connection.closed.aborted) throw cause
        const { fault, mayRepeat } = this.#judge(connection, cause, { deadlineMs, isNew })
        faults.add(fault.message)
        if (tries === 2 || !mayRepeat) throw new StoreUnavailable([...faults].join('; '), { cause })
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
    const deadlineMs = this.#limit.ms
    try {
      const raw = await connection.watch()
      signal.throwIfAborted()
      const closed = () => {
        done()
        stream.close()
        on.ended({ why: 'broken', text: messageOf(connection.closed.reason) })
      }
      let open = true
      const done = () => {
        if (open) connection.watches -= 1
        open = false
        connection.closed.removeEventListener('abort', closed)
      }
      const ended: WatchEvents['ended'] = (cause) => {
        done()
        // A member that breaks streams may be ill. One that refuses a watch has answered.
        if (cause.why === 'broken') this.#retire(connection, cause.text)
        if (cause.why === 'canceled') connection.forgetLogin()
        on.ended(cause)
      }
      connection.watches += 1
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
      throw this.#judge(connection, cause, { deadlineMs, isNew: false }).fault
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

  /** Gives up the current connection, so that the next operation begins with the next endpoint. */
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
    this.#connection ??= this.#dialer.open(this.#closing.signal).catch((cause: unknown) => {
      this.#connection = undefined
      throw cause
    })
    return this.#connection
  }

  /** What a failed call means for the connection, and whether the call is worth a second try. */
  #judge(
    connection: EtcdConnection,
    cause: unknown,
    { deadlineMs, isNew }: { deadlineMs: number; isNew: boolean },
  ): { fault: StoreUnavailable; mayRepeat: boolean } {
    const { closed, endpoint } = connection
    if (closed.aborted) return { fault: closed.reason, mayRepeat: !isNew }
    const trouble = cause instanceof CallFailed ? cause.trouble : 'broken'
    // What was opened for this call and is broken already will not be better at once.
    if (trouble === 'broken') return { fault: this.#retire(connection, messageOf(cause)), mayRepeat: !isNew }
    if (trouble === 'late') this.#limit.late(deadlineMs)
    const why = trouble === 'late' ? `no answer within ${deadlineMs / 1000} s` : bareText(messageOf(cause))
    const mayRepeat = trouble === 'late' || trouble === 'unfit'
    // Without a watch nothing is lost with it, and a new one may lead to another member.
    if (mayRepeat && connection.watches === 0) return { fault: this.#retire(connection, why), mayRepeat }
    if (mayRepeat) void this.#question(connection)
    return { fault: new StoreUnavailable(`etcd at ${endpoint.authority}: ${why}`, { cause }), mayRepeat }
  }

  /** A slow member is no dead one: it is left only if it cannot say that it serves while one on a new connection can. */
  async #question(connection: EtcdConnection): Promise<void> {
    if (this.#questioning) return
    this.#questioning = true
    const { signal } = this.#closing
    const serves = (asked: EtcdConnection) => asked.serves(questionMs, signal).catch(() => false)
    try {
      if (await serves(connection)) return
      const other = await this.#dialer.open(signal)
      if (connection.closed.aborted || !(await serves(other))) {
        other.close(new StoreUnavailable('it serves no better'))
        return
      }
      this.#retire(connection, 'it does not serve, and a new connection does')
      this.#connection = Promise.resolve(other)
    } catch (cause) {
      if (!signal.aborted) this.#log.debug('no etcd endpoint serves', { error: messageOf(cause) })
    } finally {
      this.#questioning = false
    }
  }

  #retire(connection: EtcdConnection, cause: string): StoreUnavailable {
    const { endpoint, closed } = connection
    const why = bareText(cause)
    const fault = new StoreUnavailable(`etcd at ${endpoint.authority}: ${why}`)
    if (!closed.aborted) {
      this.#connection = undefined
      this.#dialer.failed(endpoint, why)
      connection.close(fault)
    }
    return fault
  }
}
