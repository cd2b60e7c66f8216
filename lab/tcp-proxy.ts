import type { Server, Socket } from 'node:net'
import { connect, createServer } from 'node:net'

/** What the proxy does to connections. */
export type ProxyMode =
  /** New ones are passed on. */
  | 'allow'
  /** The port is closed: a connect is refused. Those that exist go on. */
  | 'refuse'
  /** Connections stay open, new ones are taken, and nothing passes in either direction. */
  | 'black-hole'

export interface ProxyOptions {
  /** Where to listen; port 0 picks a free one, `address` and `port` tell. 127.0.0.1 and 0 unless told. */
  readonly listen?: { readonly host?: string; readonly port?: number }
  readonly target: { readonly host: string; readonly port: number }
}

/** What a test does to a proxy, be it in this process or in a namespace. */
export interface TcpFaults {
  /** Existing connections are reset, in this moment. New ones as the mode says. */
  cut(): Promise<void>
  /**
   * Passes that many more bytes from target to client, over all connections, then resets every connection once. The
   * answer's end is lost, as when a peer dies amid a long reply.
   */
  cutAfter(bytes: number): Promise<void>
  setMode(mode: ProxyMode): Promise<void>
  /** How many connections are open, and the bytes passed so far, target to client. */
  counts(): Promise<ProxyCounts>
}

export interface ProxyCounts {
  readonly open: number
  /** Connections taken since the start. */
  readonly accepted: number
  readonly bytesToClient: number
}

/** A TCP proxy that fails on demand. */
export class TcpProxy implements TcpFaults {
  readonly #target: { readonly host: string; readonly port: number }
  readonly #pairs = new Set<Pair>()
  readonly #host: string
  #port: number
  #server: Server | undefined
  #mode: ProxyMode = 'allow'
  #budget = Number.POSITIVE_INFINITY
  #accepted = 0
  #bytesToClient = 0

  private constructor(options: ProxyOptions) {
    this.#target = options.target
    this.#host = options.listen?.host ?? '127.0.0.1'
    this.#port = options.listen?.port ?? 0
  }

  static async listen(options: ProxyOptions): Promise<TcpProxy> {
    const proxy = new TcpProxy(options)
    await proxy.#open()
    return proxy
  }

  get host(): string {
    return this.#host
  }

  get port(): number {
    return this.#port
  }

  /** `127.0.0.1:34567` */
  get address(): string {
    return `${this.#host}:${this.#port}`
  }

  async cut(): Promise<void> {
    for (const pair of this.#pairs) pair.reset()
  }

  async cutAfter(bytes: number): Promise<void> {
    this.#budget = bytes
  }

  async setMode(mode: ProxyMode): Promise<void> {
    this.#mode = mode
    if (mode === 'refuse') this.#shut()
    else await this.#open()
    for (const pair of this.#pairs) {
      if (mode === 'black-hole') pair.hold()
      else pair.release()
    }
  }

  async counts(): Promise<ProxyCounts> {
    return { open: this.#pairs.size, accepted: this.#accepted, bytesToClient: this.#bytesToClient }
  }

  /** Resets what is open and frees the port. */
  async close(): Promise<void> {
    this.#shut()
    await this.cut()
  }

  async #open(): Promise<void> {
    if (this.#server !== undefined) return
    const server = createServer({ pauseOnConnect: true }, (client) => this.#accept(client))
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#port, this.#host, resolve)
    })
    const bound = server.address()
    if (bound !== null && typeof bound === 'object') this.#port = bound.port
  }

  // Stops listening at once; the callback of close() would only come after the last connection.
  #shut(): void {
    this.#server?.close()
    this.#server = undefined
  }

  #accept(client: Socket): void {
    this.#accepted += 1
    const pair = new Pair(client, connect(this.#target), {
      onEnd: () => this.#pairs.delete(pair),
      toClient: (chunk) => this.#ration(chunk),
    })
    this.#pairs.add(pair)
    if (this.#mode === 'black-hole') pair.hold()
    else pair.release()
  }

  // What of a chunk may still pass; the cut itself follows once that part is with the kernel.
  #ration(chunk: Buffer): Buffer {
    const part = chunk.subarray(0, Math.min(chunk.length, this.#budget))
    this.#bytesToClient += part.length
    this.#budget -= part.length
    if (this.#budget === 0) {
      this.#budget = Number.POSITIVE_INFINITY
      for (const pair of this.#pairs) pair.resetAfterFlush()
    }
    return part
  }
}

/** A connection from the client and the one to the target. */
class Pair {
  readonly #client: Socket
  readonly #target: Socket
  #ending = false
  #held = true

  constructor(client: Socket, target: Socket, hooks: { onEnd: () => void; toClient: (chunk: Buffer) => Buffer }) {
    this.#client = client
    this.#target = target
    target.pause()
    client.on('data', (chunk) => {
      if (!target.write(chunk)) client.pause()
    })
    target.on('drain', () => this.#resume(client))
    target.on('data', (chunk) => {
      if (this.#ending) return
      const part = hooks.toClient(chunk)
      if (!client.write(part)) target.pause()
    })
    client.on('drain', () => this.#resume(target))
    client.on('end', () => target.end())
    target.on('end', () => client.end())
    // A fault on one side is the end of both; which fault it was is the tested program's business.
    for (const socket of [client, target]) {
      socket.setNoDelay(true)
      socket.on('error', () => this.reset())
      socket.on('close', () => {
        this.reset()
        hooks.onEnd()
      })
    }
  }

  hold(): void {
    this.#held = true
    this.#client.pause()
    this.#target.pause()
  }

  release(): void {
    this.#held = false
    this.#client.resume()
    this.#target.resume()
  }

  reset(): void {
    this.#client.resetAndDestroy()
    this.#target.resetAndDestroy()
  }

  /** Nothing more is passed; the reset comes when what was written has left this process. */
  resetAfterFlush(): void {
    this.#ending = true
    // In a later step: the caller has yet to write the last part of its chunk. An empty write ends behind all others.
    queueMicrotask(() => this.#client.write(new Uint8Array(0), () => this.reset()))
  }

  #resume(socket: Socket): void {
    if (!this.#held) socket.resume()
  }
}
