import { get as getInClear } from 'node:http'
import { get as getByTls } from 'node:https'
import {
  type Endpoint,
  type EtcdAccess,
  parseEndpoints,
  readAuthorities,
  readTlsFiles,
  type TlsFiles,
} from './endpoints.ts'

export interface HttpAnswer {
  readonly code: number
  /** The `Date` of its header, in milliseconds. */
  readonly date: number | undefined
  readonly body: string
}

/** Members of the cluster as they answer plain HTTP, which etcd does at the port of its clients unless told otherwise. */
export class HttpProbe {
  readonly endpoints: readonly Endpoint[]
  readonly #access: EtcdAccess

  /** @throws ConfigError for endpoints that must not be used */
  constructor(access: EtcdAccess) {
    this.#access = access
    this.endpoints = parseEndpoints(access).endpoints.filter(({ authority }) => !authority.startsWith('unix:'))
  }

  /** @throws Error where there is no answer */
  async get(endpoint: Endpoint, path: string, signal: AbortSignal): Promise<HttpAnswer> {
    const tls = await readTlsFiles(this.#access)
    const authorities = endpoint.secure ? await readAuthorities(this.#access, tls) : undefined
    return await ask({ endpoint, tls, authorities }, path, signal)
  }
}

const MOST_BYTES = 1 << 20

function ask(
  { endpoint, tls, authorities }: { endpoint: Endpoint; tls: TlsFiles; authorities: Buffer | undefined },
  path: string,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const url = `${endpoint.secure ? 'https' : 'http'}://${endpoint.authority}${path}`
  const { cert, key } = tls
  const options = {
    agent: false,
    signal,
    ...(authorities && { ca: authorities }),
    ...(cert && { cert }),
    ...(key && { key }),
  }
  return new Promise((resolve, reject) => {
    const asked = (endpoint.secure ? getByTls : getInClear)(url, options, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        body += chunk
        if (body.length > MOST_BYTES) response.destroy(new Error('the answer is too long'))
      })
      response.on('error', reject)
      response.on('end', () => {
        const date = Date.parse(response.headers.date ?? '')
        resolve({ code: response.statusCode ?? 0, date: Number.isNaN(date) ? undefined : date, body })
      })
    })
    asked.on('error', reject)
  })
}
