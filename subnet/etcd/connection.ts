import { setMaxListeners } from 'node:events'
import type { IOptions, IWatchRequest, IWatchResponse } from 'etcd3'
import { ConnectionPool } from 'etcd3/lib/connection-pool.js'
import { parseIp } from '../../lib/address.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Endpoint, TlsFiles } from './endpoints.ts'
import { tlsFault, unusableFiles } from './tls-fault.ts'

/** gRPC services and methods of etcd that are used; the payloads are those of `rpc.proto`. */
export type EtcdService = 'KV' | 'Lease' | 'Auth'

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
    const { hosts } = this as unknown as { hosts: readonly { channelCredentials: Credentials }[] }
    for (const { channelCredentials } of hosts) nameNoAddress(channelCredentials)
  }

  use<T>(service: EtcdService | 'Watch', work: (stub: Stub, metadata: Metadata) => Promise<T> | T): Promise<T> {
    return this.withConnection(service, ({ client, metadata }) => work(client as unknown as Stub, metadata))
  }
}

interface TlsConnector {
  readonly connectionOptions?: { host?: string; servername?: string | undefined }
}
interface Credentials {
  _createSecureConnector(...args: unknown[]): TlsConnector
}

// gRPC asks the server for the certificate of its name, also where that is an address, which is not allowed (RFC 6066, section 3).
// Without a name TLS checks the certificate against the host all the same.
function nameNoAddress(credentials: Credentials): void {
  const create = credentials._createSecureConnector.bind(credentials)
  credentials._createSecureConnector = (...args) => {
    const connector = create(...args)
    const options = connector.connectionOptions
    if (parseIp(options?.host ?? '') !== undefined) delete options?.servername
    return connector
  }
}

let connections = 0

/**
 * One connection to one endpoint, with one login. It is never repaired: after the first fault it is closed and another is made, for
 * tokens and certificates are read when it opens. `closed` is aborted then, and everything under way on it is cancelled.
 */
export class EtcdConnection {
  readonly endpoint: Endpoint
  readonly tls: TlsFiles
  readonly #etcd: BareEtcd
  readonly #login: { username: string; reveal: () => string } | undefined
  readonly #closing = new AbortController()
  #token: Promise<string> | undefined

  /** @throws Error naming TLS files that cannot be used */
  constructor(
    needs: { endpoint: Endpoint; tls: TlsFiles },
    options: { login: { username: string; reveal: () => string } | undefined },
  ) {
    this.endpoint = needs.endpoint
    this.tls = needs.tls
    this.#login = options.login
    try {
      this.#etcd = new BareEtcd(etcdOptions(needs.endpoint, needs.tls))
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

  /** @throws the error as etcd3 classifies it, one that names the TLS fault, or the signal's reason */
  async unary<T>(call: RawCall, signal: AbortSignal): Promise<T> {
    const token = await this.#tokenFor(call.deadlineMs, signal)
    return await this.#send<T>(call, token, signal)
  }

  async watch(signal: AbortSignal): Promise<RawWatch> {
    const token = await this.#tokenFor(3000, signal)
    return await this.#etcd.use('Watch', (stub, metadata) => {
      const own = withToken(metadata, token)
      // A member that lost its leader would stay silent for ever; so it ends the stream.
      own.set('hasleader', 'true')
      return stub.watch(own)
    })
  }

  close(reason: Error): void {
    if (this.closed.aborted) return
    this.#closing.abort(reason)
    this.#etcd.close()
  }

  #tokenFor(deadlineMs: number, signal: AbortSignal): Promise<string> | undefined {
    const login = this.#login
    if (login === undefined) return undefined
    this.#token ??= this.#send<{ token: string }>(
      {
        service: 'Auth',
        method: 'authenticate',
        payload: { name: login.username, password: login.reveal() },
        deadlineMs,
      },
      undefined,
      signal,
    ).then(({ token }) => token)
    return this.#token
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

  #inWords(error: Error): Error {
    const fault = this.endpoint.secure ? tlsFault(error.message, this.tls, Date.now()) : undefined
    return fault === undefined ? error : new Error(fault, { cause: error })
  }
}

function withToken(metadata: Metadata, token: string | undefined): Metadata {
  const own = metadata.clone()
  if (token !== undefined) own.set('token', token)
  return own
}

function etcdOptions(endpoint: Endpoint, tls: TlsFiles): IOptions {
  connections += 1
  const options: IOptions = {
    hosts: `${endpoint.secure ? 'https' : 'http'}://${endpoint.authority}`,
    faultHandling: { host: () => callThrough, global: callThrough },
    grpcOptions: {
      // A frozen server answers neither data nor pings: noticed within 13 s. etcd refuses pings more often than every 5 s.
      'grpc.keepalive_time_ms': 10_000,
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
  if (tls.ca === undefined && tls.cert === undefined) return options
  const { ca, cert, key } = tls
  // Without a CA, the system's; etcd3's type does not know that it may be absent.
  const credentials = { rootCertificate: ca, certChain: cert, privateKey: key } as NonNullable<IOptions['credentials']>
  return { ...options, credentials }
}

// In place of etcd3's circuit breaker and retries.
type Policy = NonNullable<NonNullable<IOptions['faultHandling']>['global']>
const never = new AbortController().signal
const callThrough = {
  execute: async (work: (context: { signal: AbortSignal }) => unknown) => await work({ signal: never }),
} as unknown as Policy
