import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { IpAddr } from '../../lib/address.ts'
import { type Answer, closeServer, createBoundedServer, type ServerLimits, USUAL_LIMITS } from './bounded-server.ts'

/** One thing that must be so. */
export interface Check {
  /** Lower case with dashes, as in `own-lease`; what `?exclude=` names. */
  readonly name: string
  readonly ok: boolean
  /** Why not, in a sentence of one line. */
  readonly text: string
}

export interface HealthSources {
  /** Heartbeats of loop and reconciler, never the datastore. */
  readonly live: () => readonly Check[]
  /** Own lease, required objects, one pass over the peers. */
  readonly ready: () => readonly Check[]
  /** In Prometheus' text format. */
  readonly metrics: () => string
}

/**
 * Answer for a path of the health port (compatibility contract §9). The first line is flannel's text without an end of
 * line; the reasons follow, a line each. `?verbose` shows every check, `?exclude=NAME` leaves one out.
 */
export function healthAnswer(url: URL, sources: HealthSources): Answer {
  switch (url.pathname) {
    case '/healthz':
    case '/livez':
      return judge(url, sources.live(), { good: 'flanneld is running', bad: 'flanneld is not running as it should' })
    case '/readyz':
      return judge(url, sources.ready(), { good: 'flanneld is ready', bad: 'flanneld is not ready yet' })
    case '/metrics':
      return { status: 200, body: sources.metrics(), type: 'text/plain; version=0.0.4; charset=utf-8' }
    default:
      return { status: 404, body: '404 page not found' }
  }
}

function judge(url: URL, checks: readonly Check[], words: { readonly good: string; readonly bad: string }): Answer {
  const excluded = new Set(url.searchParams.getAll('exclude'))
  const counted = checks.filter(({ name }) => !excluded.has(name))
  const failed = counted.filter(({ ok }) => !ok)
  const head = failed.length === 0 ? words.good : words.bad
  const lines = url.searchParams.has('verbose')
    ? checks.map((check) => verboseLine(check, excluded.has(check.name)))
    : failed.map(({ text }) => oneLine(text))
  return { status: failed.length === 0 ? 200 : 503, body: [head, ...lines].join('\n') }
}

function verboseLine({ name, ok, text }: Check, excluded: boolean): string {
  if (excluded) return `[ ]${name} excluded`
  return ok ? `[+]${name} ok` : `[-]${name} failed: ${oneLine(text)}`
}

// A reason is a line each, and what is in it may come from a lease.
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
}

/** The health and metrics port. */
export class HealthServer {
  readonly #server: Server

  constructor(sources: HealthSources, limits: ServerLimits = USUAL_LIMITS) {
    this.#server = createBoundedServer({ get: (url) => healthAnswer(url, sources) }, limits)
  }

  /** Resolves with the port once it is open; rejects when it cannot be opened, and may be asked again. */
  listen(address: IpAddr, port: number): Promise<number> {
    const server = this.#server
    return new Promise((resolve, reject) => {
      const refused = (cause: Error) => {
        server.off('listening', listening)
        reject(cause)
      }
      const listening = () => {
        server.off('error', refused)
        // Out of descriptors, say: the daemon goes on without this port.
        server.on('error', () => {})
        resolve((server.address() as AddressInfo).port)
      }
      server.once('error', refused)
      server.once('listening', listening)
      server.listen({ host: address, port })
    })
  }

  stop(): Promise<void> {
    return closeServer(this.#server)
  }
}
