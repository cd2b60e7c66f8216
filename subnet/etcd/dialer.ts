import { type Clock, withDeadline } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Logger } from '../../lib/log.ts'
import { EtcdConnection } from './connection.ts'
import { type Answer, firstToAnswer } from './endpoint-race.ts'
import { type Endpoint, type EtcdAccess, readAuthorities, readTlsFiles } from './endpoints.ts'
import { asksForCalm, bareText, CallFailed, StoreUnavailable } from './errors.ts'
import { probe } from './probe.ts'
import type { TryLimit } from './try-limit.ts'

/** An endpoint that is silent for so long is not waited for alone. */
const staggerMs = 200
/** A frozen server answers neither data nor pings: noticed within 13 s. etcd refuses pings more often than every 5 s. */
const pingMs = 10_000
/** Every other server of grpc-go, such as etcd's grpc-proxy, refuses them more often than every 5 minutes, and ends the connection. */
const calmPingMs = 330_000

/** Opens connections: to the first endpoint that answers, in the order given, from the one after the last that failed. */
export class Dialer {
  readonly #needs: { clock: Clock; log: Logger; limit: TryLimit }
  readonly #access: EtcdAccess
  readonly #endpoints: readonly Endpoint[]
  #first = 0
  /** By endpoint, the fault that is known and need not be logged again. */
  readonly #faults = new Map<string, string>()
  /** That were pinged too often for their taste. */
  readonly #calm = new Set<string>()

  constructor(
    needs: { clock: Clock; log: Logger; limit: TryLimit },
    options: { access: EtcdAccess; endpoints: readonly Endpoint[] },
  ) {
    this.#needs = needs
    this.#access = options.access
    this.#endpoints = options.endpoints
  }

  /** @throws StoreUnavailable naming each endpoint's fault */
  async open(signal: AbortSignal): Promise<EtcdConnection> {
    const { length } = this.#endpoints
    const order = this.#endpoints.map((_, index) => this.#endpoints[(this.#first + index) % length] as Endpoint)
    const race = {
      ask: (endpoint: Endpoint, stop: AbortSignal) => this.#ask(endpoint, stop),
      discard: (connection: EtcdConnection) => connection.close(new StoreUnavailable('another endpoint was taken')),
      staggerMs,
    }
    try {
      return await firstToAnswer(this.#needs.clock, order, race, signal)
    } catch (cause) {
      const faults = cause instanceof AggregateError ? cause.errors : [cause]
      throw new StoreUnavailable([...new Set(faults.map(messageOf))].join('; '), { cause })
    }
  }

  works({ authority }: Endpoint): void {
    this.#faults.delete(authority)
  }

  failed(endpoint: Endpoint, why: string): void {
    if (asksForCalm(why)) {
      this.#calm.add(endpoint.authority)
      this.#needs.log.info('etcd endpoint wants fewer pings', { endpoint: endpoint.authority })
      return
    }
    this.#first = this.#endpoints.indexOf(endpoint) + 1
    this.#note(endpoint, why)
  }

  async #ask(endpoint: Endpoint, signal: AbortSignal): Promise<Answer<EtcdConnection>> {
    const { limit } = this.#needs
    const { username, password } = this.#access
    const tls = await readTlsFiles(this.#access)
    const authorities = endpoint.secure ? await readAuthorities(this.#access, tls) : undefined
    const login = username === '' ? undefined : { username, reveal: () => password.reveal() }
    if (this.#faults.has(endpoint.authority)) await this.#probe(endpoint, signal)
    signal.throwIfAborted()
    const value = new EtcdConnection(
      { endpoint, tls, authorities },
      { login, loginMs: () => limit.ms, pingMs: this.#calm.has(endpoint.authority) ? calmPingMs : pingMs },
    )
    // Where there is nothing to choose, the first call will tell.
    if (this.#endpoints.length === 1) return { value, fit: true }
    const deadlineMs = limit.ms
    try {
      return { value, fit: await value.serves(deadlineMs, signal) }
    } catch (cause) {
      value.close(new StoreUnavailable('the endpoint was not taken'))
      signal.throwIfAborted()
      const late = cause instanceof CallFailed && cause.trouble === 'late'
      if (late) limit.late(deadlineMs)
      const why = late ? `no answer within ${deadlineMs / 1000} s` : bareText(messageOf(cause))
      this.#note(endpoint, why)
      throw new StoreUnavailable(`etcd at ${endpoint.authority}: ${why}`, { cause })
    }
  }

  /** A gRPC connection costs ten times the processor time of a socket: where the last one failed, a socket is tried first. */
  async #probe(endpoint: Endpoint, signal: AbortSignal): Promise<void> {
    try {
      await withDeadline(this.#needs.limit.ms, signal, (stop) => probe(endpoint, stop))
    } catch (cause) {
      signal.throwIfAborted()
      throw new StoreUnavailable(`etcd at ${endpoint.authority}: ${messageOf(cause)}`, { cause })
    }
  }

  #note({ authority }: Endpoint, why: string): void {
    // The same again and again is one line; the health shows that it lasts.
    if (this.#faults.get(authority) !== why) {
      this.#needs.log.warn('etcd connection given up', { endpoint: authority, why })
    }
    this.#faults.set(authority, why)
  }
}
