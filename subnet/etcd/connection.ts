import { setMaxListeners } from 'node:events'
import { type ChannelCredentials, Client, type ClientDuplexStream, credentials, Metadata } from '@grpc/grpc-js'
import { parseIp } from '../../lib/address.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Endpoint, TlsFiles } from './endpoints.ts'
import { CallFailed, callError } from './errors.ts'
import { Login } from './login.ts'
import { authenticate, type Call, status, type WatchAnswer, type WatchAsk, watch } from './rpc.ts'
import { tlsFault, unusableFiles } from './tls-fault.ts'

/** The duplex stream of the Watch service. */
export type RawWatch = Pick<ClientDuplexStream<WatchAsk, WatchAnswer>, 'write' | 'cancel' | 'on'>

/** The connector of grpc-js, which is not in its types. */
interface TlsConnector {
  readonly connectionOptions?: { host?: string; servername?: string | undefined }
}
interface SecureCredentials {
  _createSecureConnector(...args: unknown[]): TlsConnector
}

// gRPC asks the server for the certificate of its name, also where that is an address, which is not allowed (RFC 6066, section 3).
// Without a name TLS checks the certificate against the host all the same.
function nameNoAddress(secure: SecureCredentials): void {
  const create = secure._createSecureConnector.bind(secure)
  secure._createSecureConnector = (...args) => {
    const connector = create(...args)
    const options = connector.connectionOptions
    if (parseIp(options?.host ?? '') !== undefined) delete options?.servername
    return connector
  }
}

let connections = 0

export interface UserPassword {
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
  readonly #client: Client
  readonly #login: Login | undefined
  readonly #closing = new AbortController()

  /**
   * `authorities`: who may vouch for a server at an https endpoint. `loginMs`: how long a login may take.
   * `pingMs`: between signs of life.
   * @throws Error naming TLS files that cannot be used
   */
  constructor(
    needs: { endpoint: Endpoint; tls: TlsFiles; authorities: Buffer | undefined },
    options: { login: UserPassword | undefined; loginMs: () => number; pingMs: number },
  ) {
    this.endpoint = needs.endpoint
    this.tls = needs.tls
    const { login, loginMs, pingMs } = options
    this.#login = login && new Login(() => this.#authenticate(login, loginMs()))
    try {
      this.#client = new Client(needs.endpoint.authority, channelCredentials(needs), channelOptions(pingMs))
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

  /** `deadlineMs`: how long it may take. @throws CallFailed, an answer (`errors.ts`), or the signal's reason */
  async unary<G, R>(call: Call<G, R>, given: G, deadlineMs: number, signal: AbortSignal): Promise<R> {
    const send = (token: string | undefined) => this.#send(call, given, { token, deadlineMs, signal })
    return await (this.#login === undefined ? send(undefined) : this.#login.use(send))
  }

  /**
   * Whether its member can serve now; asked without a login, which would cost etcd a tenth of a second of processor time.
   * @throws like `unary` where there is no answer
   */
  async serves(deadlineMs: number, signal: AbortSignal): Promise<boolean> {
    try {
      const { leader, isLearner } = await this.#send(status, {}, { token: undefined, deadlineMs, signal })
      return leader !== '0' && !isLearner
    } catch (cause) {
      // Who must not know is answered all the same.
      if (cause instanceof CallFailed && (cause.trouble === 'refused' || cause.trouble === 'login')) return true
      throw cause
    }
  }

  async watch(): Promise<RawWatch> {
    const metadata = metadataWith(await this.#login?.token())
    // A member that lost its leader would stay silent for ever; so it ends the stream.
    metadata.set('hasleader', 'true')
    const { path, request, response } = watch
    return this.#client.makeBidiStreamRequest(path, request.encode, response.decode, metadata)
  }

  /** After a watch was refused, which for etcd 3.4 looks the same with a token that has run out. */
  forgetLogin(): void {
    this.#login?.forget()
  }

  close(reason: Error): void {
    if (this.closed.aborted) return
    this.#closing.abort(reason)
    this.#client.close()
  }

  async #authenticate({ username, reveal }: UserPassword, deadlineMs: number): Promise<string> {
    const given = { name: username, password: reveal() }
    // Not by the signal of the call that comes first: others wait for the same login.
    const { token } = await this.#send(authenticate, given, { token: undefined, deadlineMs, signal: this.closed })
    return token
  }

  #send<G, R>(
    { path, request, response }: Call<G, R>,
    given: G,
    { token, deadlineMs, signal }: { token: string | undefined; deadlineMs: number; signal: AbortSignal },
  ): Promise<R> {
    const closed = this.closed
    return new Promise((resolve, reject) => {
      signal.throwIfAborted()
      closed.throwIfAborted()
      // gRPC's deadlines are times of day; it reads the clock at once, so a later jump does not matter.
      const options = { deadline: new Date(Date.now() + deadlineMs) }
      const done = (error: Error | null, answer: R | undefined) => {
        signal.removeEventListener('abort', cancel)
        closed.removeEventListener('abort', cancel)
        if (error !== null || answer === undefined)
          reject(this.#inWords(error ?? new Error('an answer without content')))
        else resolve(answer)
      }
      const [encode, decode] = [request.encode, response.decode]
      const call = this.#client.makeUnaryRequest(path, encode, decode, given, metadataWith(token), options, done)
      const cancel = () => call.cancel()
      signal.addEventListener('abort', cancel)
      closed.addEventListener('abort', cancel)
    })
  }

  #inWords(cause: Error): Error {
    const error = callError(cause)
    if (!this.endpoint.secure || !(error instanceof CallFailed) || error.trouble !== 'broken') return error
    const fault = tlsFault(cause.message, this.tls, Date.now())
    return fault === undefined ? error : new CallFailed('broken', fault, { cause })
  }
}

function metadataWith(token: string | undefined): Metadata {
  const metadata = new Metadata()
  if (token !== undefined) metadata.set('token', token)
  return metadata
}

function channelCredentials({
  endpoint,
  tls,
  authorities,
}: {
  readonly endpoint: Endpoint
  readonly tls: TlsFiles
  readonly authorities: Buffer | undefined
}): ChannelCredentials {
  if (!endpoint.secure) return credentials.createInsecure()
  const secure = credentials.createSsl(authorities ?? null, tls.key ?? null, tls.cert ?? null)
  nameNoAddress(secure as unknown as SecureCredentials)
  return secure
}

function channelOptions(pingMs: number) {
  connections += 1
  return {
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
    // gRPC shares transports between channels with equal options. A new connection must not get the dead one's, so it differs by
    // this number.
    'flannel.connection': connections,
  }
}
