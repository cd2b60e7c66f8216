import { chmod, lstat, mkdir, rename, rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import { connect } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { AlreadyRunningError } from '../../lib/errors.ts'
import { type Answer, closeServer, createBoundedServer, type ServerLimits, USUAL_LIMITS } from './bounded-server.ts'
import type { StatusDocument } from './status.ts'

/** Longest path of a unix socket in bytes. Source: sockaddr_un. */
const MOST_PATH_BYTES = 107

const NOT_FOUND: Answer = { status: 404, body: 'not found' }

/** What `flanneld switch` brings about, and the answer to the operator. */
export interface Orders {
  readonly switch: () => string
  /** With `--finish`. */
  readonly finish: () => string
}

/**
 * Serves the status document to `flanneld status` and to anybody in the socket's group: `curl --unix-socket PATH http://localhost/`;
 * and takes the operator's orders, `POST /switch` and `POST /switch?finish`.
 */
export class StatusSocket {
  readonly #server: Server
  readonly #path: string
  #inode: number | undefined

  constructor(
    needs: { status: () => StatusDocument; orders: Orders },
    options: { path: string; limits?: ServerLimits },
  ) {
    this.#path = options.path
    const get = (url: URL): Answer => {
      if (url.pathname !== '/') return NOT_FOUND
      return { status: 200, body: `${JSON.stringify(needs.status())}\n`, type: 'application/json' }
    }
    const post = (url: URL): Answer => {
      if (url.pathname !== '/switch') return NOT_FOUND
      const order = url.searchParams.has('finish') ? needs.orders.finish : needs.orders.switch
      return { status: 200, body: `${order()}\n` }
    }
    this.#server = createBoundedServer({ get, post }, options.limits ?? USUAL_LIMITS)
  }

  /**
   * A socket that nobody listens on any more is replaced, one that is served is not, nor anything that is no socket.
   * @throws AlreadyRunningError, or an Error with the reason
   */
  async listen(): Promise<void> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o755 })
    await this.#refuseOccupied()
    // Bound under another name first: at no moment is there a socket with other rights, or one that nobody serves.
    const temporary = join(dirname(this.#path), `.${basename(this.#path)}.new`)
    if (Buffer.byteLength(temporary) > MOST_PATH_BYTES) throw new Error(`${this.#path} is too long for a unix socket`)
    await rm(temporary, { force: true })
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ path: temporary }, () => {
        this.#server.off('error', reject)
        this.#server.on('error', () => {})
        resolve()
      })
    })
    await chmod(temporary, 0o660)
    this.#inode = (await lstat(temporary)).ino
    await rename(temporary, this.#path)
  }

  async stop(): Promise<void> {
    await closeServer(this.#server)
    const now = await lstat(this.#path).catch(() => undefined)
    // A successor may have put its own there meanwhile.
    if (now !== undefined && now.ino === this.#inode) await rm(this.#path, { force: true })
  }

  async #refuseOccupied(): Promise<void> {
    const found = await lstat(this.#path).catch(() => undefined)
    if (found === undefined) return
    if (!found.isSocket()) throw new Error(`${this.#path} exists and is no socket; remove it`)
    if (await isServed(this.#path)) throw new AlreadyRunningError(`another process serves ${this.#path}`)
  }
}

function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    const done = (served: boolean) => {
      socket.destroy()
      resolve(served)
    }
    socket.once('connect', () => done(true))
    // A full queue means that somebody listens and is slow.
    socket.once('error', (cause: NodeJS.ErrnoException) => done(cause.code === 'EAGAIN'))
  })
}
