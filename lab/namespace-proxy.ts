import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { execPath } from 'node:process'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Namespace } from './namespace.ts'
import type { ProxyCall, ProxyReply } from './proxy-process.ts'
import type { ProxyCounts, ProxyMode, ProxyOptions, TcpFaults } from './tcp-proxy.ts'

/** A TcpProxy in a namespace of the lab, before etcd for one. It ends with the lab or by `close`. */
export class NamespaceProxy implements TcpFaults {
  readonly port: number
  readonly #child: ChildProcess
  readonly #replies: Replies

  private constructor(child: ChildProcess, replies: Replies, port: number) {
    this.#child = child
    this.#replies = replies
    this.port = port
  }

  static async start(namespace: Namespace, options: ProxyOptions): Promise<NamespaceProxy> {
    const [program = '', ...enter] = namespace.enter
    const script = fileURLToPath(new URL('./proxy-process.ts', import.meta.url))
    const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
    const child = spawn(program, [...enter, execPath, '--import', loader, script], {
      env: namespace.environment(),
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      detached: true,
    })
    const replies = new Replies(child)
    const port = (await replies.to({ options })) as number
    return new NamespaceProxy(child, replies, port)
  }

  async cut(): Promise<void> {
    await this.#call('cut')
  }

  async cutAfter(bytes: number): Promise<void> {
    await this.#call('cutAfter', bytes)
  }

  async setMode(mode: ProxyMode): Promise<void> {
    await this.#call('setMode', mode)
  }

  async counts(): Promise<ProxyCounts> {
    return (await this.#call('counts')) as ProxyCounts
  }

  async close(): Promise<void> {
    await this.#replies.end(() => this.#child.disconnect())
  }

  async #call(call: ProxyCall, argument?: unknown): Promise<unknown> {
    return await this.#replies.to({ call, argument })
  }
}

/** Numbers requests and brings their answers together with them. */
class Replies {
  readonly #child: ChildProcess
  readonly #open = new Map<number, { resolve: (value: unknown) => void; reject: (cause: Error) => void }>()
  readonly #ended: Promise<void>
  #last = 0

  constructor(child: ChildProcess) {
    this.#child = child
    child.on('message', (reply: ProxyReply) => {
      const waiting = this.#open.get(reply.n)
      this.#open.delete(reply.n)
      if (reply.error === undefined) waiting?.resolve(reply.value)
      else waiting?.reject(new Error(reply.error))
    })
    this.#ended = new Promise((resolve) => {
      const fail = () => {
        for (const waiting of this.#open.values()) waiting.reject(new Error('the proxy has ended'))
        this.#open.clear()
        resolve()
      }
      child.on('exit', fail)
      child.on('error', fail)
    })
  }

  async to(request: object): Promise<unknown> {
    this.#last += 1
    const n = this.#last
    return await new Promise((resolve, reject) => {
      this.#open.set(n, { resolve, reject })
      this.#child.send({ n, ...request }, (cause) => {
        if (cause !== null) reject(cause)
      })
    })
  }

  async end(how: () => void): Promise<void> {
    if (this.#child.connected) how()
    await this.#ended
  }
}
