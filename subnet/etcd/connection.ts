import { setMaxListeners } from 'node:events'
import type { IOptions, IStatusResponse, IWatchRequest, IWatchResponse } from 'etcd3'
import { ConnectionPool } from 'etcd3/lib/connection-pool.js'
import { parseIp } from '../../lib/address.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Endpoint, TlsFiles } from './endpoints.ts'
import { CallFailed, callError } from './errors.ts'
import { Login } from './login.ts'
import { tlsFault, unusableFiles } from './tls-fault.ts'

/** gRPC services and methods of etcd that are used; the payloads are those of `rpc.proto`. */
export type EtcdService = 'KV' | 'Lease' | 'Auth' | 'Maintenance'

export interface RawCall {
  readonly service: EtcdService
  readonly method: string
  readonly payload: unknown
  readonly deadlineMs: number
}

/** The duplex stream of the Watch service, as etcd3 hands it over. */
export interface RawWatch {
  write(request: IWatchRequest): void
  cancel(): void
  on(event: 'data', listener: (response: IWatchResponse) => void): unknown
  on(event: 'error', listener: (cause: Error) => void): unknown
  on(event: 'end', listener: () => void): unknown
}

interface Metadata {
  clone(): Metadata
  set(key: string, value: string): void
}

type UnaryMethod = (
  payload: unknown,
  metadata: Metadata,
  options: { deadline: Date },
  done: (error: Error | null, response: unknown) => void,
) => { cancel(): void }

interface Stub {
  readonly watch: (metadata: Metadata) => RawWatch
  readonly [method: string]: UnaryMethod | ((metadata: Metadata) => RawWatch)
}

// etcd3's own calls retry three times beneath a deadline, log in again without end, and cannot be cancelled. Beneath them lies the
// pool, which hands out the bare gRPC stub.
class BareEtcd extends ConnectionPool {
  constructor(options: IOptions) {
    super(options)
    const { hosts } = this as unknown as { hosts: readonly { channelCredentials: ChannelCredentials }[] }
    for (const { channelCredentials } of hosts) nameNoAddress(channelCredentials)
  }

  use<T>(service: EtcdService | 'Watch', work: (stub: Stub, metadata: Metadata) => Promise<T> | T): Promise<T> {
    return this.withConnection(service, ({ client, metadata }) => work(client as unknown as Stub, metadata))
  }
}

interface TlsConnector {
  readonly connectionOptions?: { host?: string; servername?: string | undefined }
}
interface ChannelCredentials {
  _createSecureConnector(...args: unknown[]): TlsConnector
}

// gRPC asks the server for the certificate of its name, also where that is an address, which is not allowed (RFC 6066, section 3).
// Without a name TLS checks the certificate against the host all the same.
function nameNoAddress(credentials: ChannelCredentials): void {
  const create = credentials._createSecureConnector.bind(credentials)
  credentials._createSecureConnector = (...args) => {
    const connector = create(...args)
    const options = connector.connectionOptions
    if (parseIp(options?.host ?? '') !== undefined) delete options?.servername
    return connector
  }
}

let connections = 0

export interface Credentials {
  readonly username: string
  readonly reveal: () => string
}

/**
 * One connection to one endpoint. It is never repaired: once it is broken it is closed and another is made, for certificates are read
 * when it opens. `closed` is aborted then, and everything under way on it is cancelled.
 */
export class EtcdConnection {
  readonly endpoint: Endpoint
  readonly tls: TlsFiles
  /** Watches that live on it: while there are any, closing it costs something. */
  watches = 0
  readonly #etcd: BareEtcd
  readonly #login: Login | undefined
  readonly #closing = new AbortController()

  /**
   * `authorities`: who may vouch for a server at an https endpoint. `loginMs`: how long a login may take.
   * `pingMs`: between signs of life.
   * @throws Error naming TLS files that cannot be used
   */
  constructor(
    needs: { endpoint: Endpoint; tls: TlsFiles; authorities: Buffer | undefined },
    options: { login: Credentials | undefined; loginMs: () => number; pingMs: number },
  ) {
    this.endpoint = needs.endpoint
    this.tls = needs.tls
    const { login, loginMs, pingMs } = options
    this.#login = login && new Login(() => this.#authenticate(login, loginMs()))
    try {
      this.#etcd = new BareEtcd(etcdOptions(needs, pingMs))
    } catch (cause) {
      if (needs.tls.ca === undefined && needs.tls.cert === undefined) throw cause
      throw new Error(unusableFiles(messageOf(cause), needs.tls), { cause })
    }
    // One listener per call under way, taken off after it.
    setMaxListeners(0, this.#closing.signal)
  }

  get closed(): AbortSignal {
    return this.#closing.signal
  }

  /** @throws CallFailed, an answer (`errors.ts`), or the signal's reason */
  async unary<T>(call: RawCall, signal: AbortSignal): Promise<T> {
    if (this.#login === undefined) return await this.#send<T>(call, undefined, signal)
    return await this.#login.use((token) => this.#send<T>(call, token, signal))
  }

  /**
   * Whether its member can serve now; asked without a login, which would cost etcd a tenth of a second of processor time.
   * @throws like `unary` where there is no answer
   */
  async serves(deadlineMs: number, signal: AbortSignal): Promise<boolean> {
    const call: RawCall = { service: 'Maintenance', method: 'status', payload: {}, deadlineMs }
    try {
      const { leader, isLearner } = await this.#send<IStatusResponse & { isLearner: boolean }>(call, undefined, signal)
      return leader !== '0' && !isLearner
    } catch (cause) {
      // Who must not know is answered all the same.
      if (cause instanceof CallFailed && (cause.trouble === 'refused' || cause.trouble === 'login')) return true
      throw cause
    }
  }

  async watch(): Promise<RawWatch> {
    const token = await this.#login?.token()
    return await this.#etcd.use('Watch', (stub, metadata) => {
      const own = withToken(metadata, token)
      // A member that lost its leader would stay silent for ever; so it ends the stream.
      own.set('hasleader', 'true')
      return stub.watch(own)
    })
  }

  /** After a watch was refused, which for etcd 3.4 looks the same with a token that has run out. */
  forgetLogin(): void {
    this.#login?.forget()
  }

  close(reason: Error): void {
    if (this.closed.aborted) return
    this.#closing.abort(reason)
    this.#etcd.close()
  }

  async #authenticate({ username, reveal }: Credentials, deadlineMs: number): Promise<string> {
    const payload = { name: username, password: reveal() }
    const call: RawCall = { service: 'Auth', method: 'authenticate', payload, deadlineMs }
    // Not by the signal of the call that comes first: others wait for the same login.
    return (await this.#send<{ token: string }>(call, undefined, this.closed)).token
  }

  #send<T>(
    { service, method, payload, deadlineMs }: RawCall,
    token: string | undefined,
    signal: AbortSignal,
  ): Promise<T> {
    const closed = this.closed
    return this.#etcd.use(service, (stub, metadata) => {
      return new Promise<T>((resolve, reject) => {
        signal.throwIfAborted()
        closed.throwIfAborted()
        // gRPC's deadlines are times of day; it reads the clock at once, so a later jump does not matter.
        const options = { deadline: new Date(Date.now() + deadlineMs) }
        const unary = stub[method] as UnaryMethod
        const call = unary.call(stub, payload, withToken(metadata, token), options, (error, response) => {
          signal.removeEventListener('abort', cancel)
          closed.removeEventListener('abort', cancel)
          if (error === null) resolve(response as T)
          else reject(this.#inWords(error))
        })
        const cancel = () => call.cancel()
        signal.addEventListener('abort', cancel)
        closed.addEventListener('abort', cancel)
      })
    })
  }

  #inWords(cause: Error): Error {
    const error = callError(cause)
    if (!this.endpoint.secure || !(error instanceof CallFailed) || error.trouble !== 'broken') return error
    const fault = tlsFault(cause.message, this.tls, Date.now())
    return fault === undefined ? error : new CallFailed('broken', fault, { cause })
  }
}

function withToken(metadata: Metadata, token: string | undefined): Metadata {
  const own = metadata.clone()
  if (token !== undefined) own.set('token', token)
  return own
}

function etcdOptions(
  { endpoint, tls, authorities }: { endpoint: Endpoint; tls: TlsFiles; authorities: Buffer | undefined },
  pingMs: number,
): IOptions {
  connections += 1
  const options: IOptions = {
    hosts: `${endpoint.secure ? 'https' : 'http'}://${endpoint.authority}`,
    faultHandling: { host: () => callThrough, global: callThrough },
    grpcOptions: {
      'grpc.keepalive_time_ms': pingMs,
      'grpc.keepalive_timeout_ms': 3000,
      'grpc.keepalive_permit_without_calls': 1,
      // The waiting is done by us, with jitter.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      'grpc.enable_retries': 0,
      // A journal of all it does, for a server of it that is not there.
      'grpc.enable_channelz': 0,
      'grpc.max_receive_message_length': 32 * 1024 * 1024,
      // As etcd's own client: no proxy from the environment, no TXT look-ups.
      'grpc.enable_http_proxy': 0,
      'grpc.service_config_disable_resolution': 1,
      // gRPC shares transports between channels with equal options. Within a connection that saves three sockets; a new connection
      // must not get the dead one's, so it differs by this number.
      'flannel.connection': connections,
    },
  }
  if (authorities === undefined) return options
  // etcd3's type does not know that certificate and key may be absent.
  const credentials = { rootCertificate: authorities, certChain: tls.cert, privateKey: tls.key }
  return { ...options, credentials: credentials as NonNullable<IOptions['credentials']> }
}

// In place of etcd3's circuit breaker and retries.
type Policy = NonNullable<NonNullable<IOptions['faultHandling']>['global']>
const never = new AbortController().signal
const callThrough = {
  execute: async (work: (context: { signal: AbortSignal }) => unknown) => await work({ signal: never }),
} as unknown as Policy
