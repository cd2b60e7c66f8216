import { createServer, type IncomingMessage, type Server } from 'node:http'

export interface Answer {
  readonly status: number
  readonly body: string
  readonly type?: 'text/plain; charset=utf-8' | 'text/plain; version=0.0.4; charset=utf-8' | 'application/json'
}

export interface ServerLimits {
  /** Milliseconds in which a request must have arrived whole. */
  readonly requestMs: number
  readonly connections: number
  readonly headerBytes: number
}

export const USUAL_LIMITS: ServerLimits = { requestMs: 5000, connections: 64, headerBytes: 8192 }

/** What may be asked: GET and HEAD by what is read, POST by what is ordered; of neither is a body read. Must not throw. */
export interface Answers {
  readonly get: (url: URL) => Answer
  readonly post?: (url: URL) => Answer
}

/**
 * An HTTP server for a few small readers: GET and HEAD, and POST where there is something to order; one request a connection, no body, and nobody holds it up.
 * Whoever sends slowly, much, or from too many sockets is cut off.
 */
export function createBoundedServer(answers: Answers, limits: ServerLimits): Server {
  const server = createServer(
    {
      headersTimeout: limits.requestMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.requestMs,
      connectionsCheckingInterval: Math.min(1000, limits.requestMs),
      maxHeaderSize: limits.headerBytes,
    },
    (request, response) => {
      const { status, body, type } = reply(request, answers)
      const bytes = Buffer.from(body)
      response.writeHead(status, {
        'content-type': type ?? 'text/plain; charset=utf-8',
        'content-length': bytes.length,
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
        connection: 'close',
      })
      response.end(request.method === 'HEAD' ? undefined : bytes)
    },
  )
  server.maxConnections = limits.connections
  // A reader that does not take the answer is cut off as well.
  server.setTimeout(limits.requestMs * 2, (socket) => socket.destroy())
  server.unref()
  return server
}

function reply(request: IncomingMessage, { get, post }: Answers): Answer {
  const isRead = request.method === 'GET' || request.method === 'HEAD'
  const answer = isRead ? get : request.method === 'POST' ? post : undefined
  if (answer === undefined) return { status: 405, body: 'method not allowed' }
  // A path with dots would be resolved by URL; none of ours has any.
  const target = request.url ?? ''
  if (!target.startsWith('/') || /\.\.|%2e/i.test(target) || target.length > 1024)
    return { status: 404, body: 'not found' }
  try {
    return answer(new URL(`http://localhost${target}`))
  } catch (cause) {
    if (cause instanceof TypeError && 'code' in cause && cause.code === 'ERR_INVALID_URL')
      return { status: 404, body: 'not found' }
    throw cause
  }
}

/** Stops listening and cuts every connection. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
