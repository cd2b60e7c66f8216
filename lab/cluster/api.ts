import { request } from 'node:http'

/** Kubernetes' objects as they come. */
// biome-ignore lint/suspicious/noExplicitAny: the shapes are Kubernetes'; callers pick what they look at
export type Json = any

/** An answer of the API server that is no success. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number

  constructor(what: string, status: number, text: string) {
    super(`${what}: ${status} ${text.slice(0, 500)}`)
    this.status = status
  }
}

/** The API by way of `kubectl proxy` on a unix socket: a request is a millisecond, not the start of a kubectl. */
export class Api {
  readonly #socket: string

  constructor(socket: string) {
    this.#socket = socket
  }

  async get(path: string): Promise<Json> {
    return await this.send('GET', path)
  }

  /** @throws ApiError for any answer but 2xx */
  async send(method: string, path: string, body?: object): Promise<Json> {
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    return await new Promise((resolve, reject) => {
      const options = { socketPath: this.#socket, method, path, headers: { 'content-type': type }, agent: false }
      const sent = request(options, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => {
          const status = response.statusCode ?? 0
          if (status >= 300) reject(new ApiError(`${method} ${path}`, status, text))
          else if (response.headers['content-type']?.includes('json')) resolve(JSON.parse(text))
          else resolve(text)
        })
      })
      sent.setTimeout(30_000, () => sent.destroy(new Error(`${method} ${path}: no answer`)))
      sent.on('error', reject).end(body === undefined ? undefined : JSON.stringify(body))
    })
  }
}
