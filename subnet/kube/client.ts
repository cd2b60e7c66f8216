import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http'
import { Agent as HttpsAgent, request as requestHttps } from 'node:https'
import { type Clock, withDeadline } from '../../lib/clock.ts'
import { ConfigError, messageOf } from '../../lib/errors.ts'
import { HealthRecord } from '../health-record.ts'
import { readMaterial } from './access.ts'
import { ApiUnavailable, answerError, type Permission } from './errors.ts'
import { ExecPlugin } from './exec-plugin.ts'
import type { ApiAccess } from './kubeconfig.ts'

export interface ApiRequest {
  readonly method: 'GET' | 'PATCH'
  /** With the query. */
  readonly path: string
  readonly permission: Permission
  /** A strategic merge patch. */
  readonly patch?: object
}

type Credentials = Pick<ApiAccess, 'cert' | 'key' | 'token' | 'basic'>

const REMEDY = 'check the API server, the way to it, the credentials and the role of this account'
/** Milliseconds until an answer must have been read. */
const ANSWER_MS = 30_000
const UNAUTHORIZED = 401

/** Requests to the API server over connections that are kept. Tokens and certificates are read anew for each. */
export class KubeClient {
  readonly health: HealthRecord
  readonly #access: ApiAccess
  #credentials: Credentials
  readonly #accessNow: (() => Promise<ApiAccess>) | undefined
  readonly #answerMs: number
  readonly #plugin: ExecPlugin | undefined
  readonly #agents = { 'http:': new HttpAgent({ keepAlive: true }), 'https:': new HttpsAgent({ keepAlive: true }) }

  /** `env`: of the program that the access may name. `accessNow`: the access read anew, whose credentials count after a 401. */
  constructor(
    needs: { clock: Clock; env?: Readonly<NodeJS.ProcessEnv> },
    options: { access: ApiAccess; accessNow?: () => Promise<ApiAccess>; answerMs?: number },
  ) {
    this.health = new HealthRecord(needs, { remedy: REMEDY })
    this.#access = options.access
    this.#credentials = options.access
    this.#accessNow = options.accessNow
    this.#answerMs = options.answerMs ?? ANSWER_MS
    const { exec: spec } = options.access
    this.#plugin = spec && new ExecPlugin({ clock: needs.clock, env: needs.env ?? {} }, { spec })
  }

  get endpoint(): string {
    return this.#access.server.origin
  }

  /** The parsed answer. @throws ApiUnavailable, Expired, NotFound */
  async ask(request: ApiRequest, signal: AbortSignal): Promise<unknown> {
    return await within(this.#answerMs, signal, async (stop) => parse(await textOf(await this.#send(request, stop))))
  }

  /**
   * Hands over each line of the answer until the server ends it. Whatever came by then, after `deadMs` the connection is taken for dead.
   * @throws ApiUnavailable, Expired, NotFound, and what `take` throws
   */
  async watch(
    request: ApiRequest,
    { deadMs }: { readonly deadMs: number },
    take: (event: unknown) => void,
    signal: AbortSignal,
  ): Promise<void> {
    await within(deadMs, signal, async (stop) => {
      const response = await this.#send(request, stop)
      let rest = ''
      for await (const chunk of chunksOf(response)) {
        const lines = (rest + chunk).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) if (line !== '') take(parse(line))
      }
      if (rest.trim() !== '') throw new ApiUnavailable('the API server ended the watch within an event')
    })
  }

  /** Closes all connections: the next request opens another. */
  giveUp(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy()
  }

  // A token that was renewed in this moment is read the second time.
  async #send(request: ApiRequest, signal: AbortSignal): Promise<IncomingMessage> {
    for (let isAgain = false; ; isAgain = true) {
      const response = await this.#once(request, signal)
      const status = response.statusCode ?? 0
      if (status >= 200 && status < 300) return response
      const body = await textOf(response)
      if (status === UNAUTHORIZED) this.#plugin?.refused()
      if (status === UNAUTHORIZED && !isAgain) {
        await this.#readCredentials()
        continue
      }
      const retryAfter = response.headers['retry-after']
      throw answerError(status, body, { retryAfter, permission: request.permission })
    }
  }

  /** Those that stand in the kubeconfig itself, in which they are renewed. The server and its authority stay: another one is another cluster. */
  async #readCredentials(): Promise<void> {
    try {
      this.#credentials = (await this.#accessNow?.()) ?? this.#credentials
    } catch (cause) {
      // Half of a file, say: the next refusal reads it again.
      if (!(cause instanceof ConfigError)) throw cause
    }
  }

  async #once({ method, path, patch }: ApiRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const { server, insecure, serverName } = this.#access
    const { headers, ...material } = await this.#material(signal)
    const body = patch && JSON.stringify(patch)
    const options = {
      method,
      headers: { ...headers, ...(body && PATCH_HEADERS), accept: 'application/json', 'user-agent': 'flanneld' },
      signal,
    }
    const url = new URL(server.pathname.replace(/\/$/, '') + path, server)
    return await new Promise((resolve, reject) => {
      const sent: ClientRequest =
        url.protocol === 'http:'
          ? requestHttp(url, { ...options, agent: this.#agents['http:'] }, resolve)
          : requestHttps(
              url,
              {
                ...options,
                ...material,
                agent: this.#agents['https:'],
                rejectUnauthorized: !insecure,
                ...(serverName && { servername: serverName }),
              },
              resolve,
            )
      sent.on('error', (cause) => reject(unavailable(cause)))
      sent.end(body)
    })
  }

  async #material(signal: AbortSignal) {
    const { ca } = this.#access
    const { cert, key, token, basic } = this.#credentials
    const given = await this.#plugin?.credentials(signal)
    try {
      const [caText, certText, keyText, tokenText] = await Promise.all([ca, cert, key, token].map(readMaterial))
      const bearer = given?.token?.reveal() ?? tokenText?.trim()
      // Else it would be two headers.
      if (bearer !== undefined && !/^[\x21-\x7e]+$/.test(bearer)) throw new Error('the token is not one word')
      const [ownCert, ownKey] = [given?.cert ?? certText, given?.key?.reveal() ?? keyText]
      const authorization =
        bearer !== undefined ? `Bearer ${bearer}` : basic && `Basic ${Buffer.from(basic.reveal()).toString('base64')}`
      return {
        headers: authorization === undefined ? {} : { authorization },
        ...(caText && { ca: caText }),
        ...(ownCert && { cert: ownCert }),
        ...(ownKey && { key: ownKey }),
      }
    } catch (cause) {
      throw new ApiUnavailable(`a token or certificate cannot be read: ${messageOf(cause)}`, { cause })
    }
  }
}

const PATCH_HEADERS = { 'content-type': 'application/strategic-merge-patch+json' }

/** A Node may have a megabyte, a page of them much more; this is what no server sends. */
const LARGEST_ANSWER = 256 * 1024 * 1024

async function textOf(response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of chunksOf(response)) {
    text += chunk
    if (text.length > LARGEST_ANSWER) throw new ApiUnavailable('the answer of the API server has no end')
  }
  return text
}

async function* chunksOf(response: IncomingMessage): AsyncGenerator<string> {
  try {
    yield* response.setEncoding('utf8') as AsyncIterable<string>
  } catch (cause) {
    throw unavailable(cause)
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new ApiUnavailable('the API server sent what is no JSON', { cause })
  }
}

/** @throws the signal's reason, or ApiUnavailable when it took too long */
async function within<T>(ms: number, signal: AbortSignal, work: (stop: AbortSignal) => Promise<T>): Promise<T> {
  let isLate = false
  try {
    return await withDeadline(ms, signal, (stop) => {
      stop.addEventListener('abort', () => {
        isLate = !signal.aborted
      })
      return work(stop)
    })
  } catch (cause) {
    signal.throwIfAborted()
    throw isLate ? new ApiUnavailable(`the API server did not end its answer within ${ms} ms`, { cause }) : cause
  }
}

function unavailable(cause: unknown): ApiUnavailable {
  if (cause instanceof ApiUnavailable) return cause
  return new ApiUnavailable(messageOf(cause) || String((cause as NodeJS.ErrnoException).code), { cause })
}
