import { closeSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { MessagePort, Worker } from 'node:worker_threads'
import { type IpAddr, ipToBytes } from '../../lib/address.ts'
import { Backoff } from '../../lib/backoff.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Logger } from '../../lib/log.ts'
import { standsStill } from './heartbeat.ts'
import { buildPeerTable, type ProxyPeer } from './peer-table.ts'
import { Control, type CounterName, ProxyMemory } from './proxy-memory.ts'
import type { Offloads, WorkerFailed, WorkerMessage, WorkerReady, WorkerStart } from './worker-messages.ts'

export interface EngineOptions {
  /** Name of the tun; made when absent, and never deleted here. Address, MTU and "up" are the caller's. */
  readonly device: string
  /** Address of the socket: one of this host. */
  readonly local: IpAddr
  /** UDP port of this node and of every peer. */
  readonly port: number
  /** File that is run; another one, of plain JavaScript, only in tests. */
  readonly workerFile?: URL
}

/** What the proxy is to carry; replaced as a whole. */
export interface ProxyTable {
  /** The tun's address: source of "net unreachable". */
  readonly own: IpAddr
  readonly peers: readonly ProxyPeer[]
}

export type EngineState =
  | { readonly at: 'stopped' }
  | { readonly at: 'starting' }
  | { readonly at: 'running' }
  /** Tried again after a while. */
  | { readonly at: 'failed'; readonly error: Error }

/** The tun, the socket or the eventfd could not be opened: EBUSY, another process holds the device; EADDRINUSE, the port. */
export class EngineFailure extends Error {
  override readonly name = 'EngineFailure'
  readonly what: WorkerFailed['what']
  readonly errno: number

  constructor({ what, errno }: WorkerFailed) {
    super(`the udp proxy could not open its ${what}: ${errnoNames[-errno] ?? `errno ${-errno}`}`)
    this.what = what
    this.errno = errno
  }

  /** `EBUSY`; undefined for one that is not expected. */
  get code(): string | undefined {
    return errnoNames[-this.errno]
  }
}

const errnoNames: Readonly<Record<number, string>> = {
  1: 'EPERM',
  2: 'ENOENT',
  13: 'EACCES',
  16: 'EBUSY',
  19: 'ENODEV',
  22: 'EINVAL',
  24: 'EMFILE',
  98: 'EADDRINUSE',
  99: 'EADDRNOTAVAIL',
}

/** Loaded when the first worker starts: a daemon without one saves 3 ms and 0.8 MB. */
const threads = (): typeof import('node:worker_threads') => createRequire(import.meta.url)('node:worker_threads')

/** In the bundle the worker is a file of its own beside the daemon. */
const ownWorker = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './udp-worker.js', import.meta.url)

/**
 * The userspace udp proxy: a worker that carries packets, and the one supervisor of it. It is started again, with the same table, when it
 * cannot start, dies or hangs, until `stop`. The tun stays then, so packets are lost, and none leaves in clear.
 */
export class UdpEngine {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #options: EngineOptions
  readonly #memory = new ProxyMemory()
  readonly #backoff: Backoff
  readonly #onState: (state: EngineState) => void
  readonly #abort = new AbortController()
  #table: SharedArrayBuffer
  #state: EngineState = { at: 'stopped' }
  #messages: MessagePort | undefined
  #deaths = 0
  #worker: Worker | undefined
  #running: Promise<void> | undefined

  /** `onState` is called with every change; a failure like the one before is none. */
  constructor(
    needs: {
      clock: Clock
      log: Logger
      random: () => number
      table: ProxyTable
      onState?: (state: EngineState) => void
    },
    options: EngineOptions,
  ) {
    this.#clock = needs.clock
    this.#log = needs.log
    this.#options = options
    this.#table = buildPeerTable(needs.table.own, needs.table.peers)
    this.#onState = needs.onState ?? (() => {})
    this.#backoff = new Backoff({ random: needs.random }, { firstMs: 50, mostMs: 5_000 })
  }

  get state(): EngineState {
    return this.#state
  }

  /** How often a worker that had been running ended without being asked to, or had to be ended because it hung. */
  get deaths(): number {
    return this.#deaths
  }

  /** Since the engine was made, over all workers. */
  counters(): Record<CounterName, number> {
    return this.#memory.read()
  }

  /** Starts the worker; resolves when it carries packets or the first try has failed: see `state`. */
  async start(): Promise<void> {
    if (this.#running !== undefined) throw new Error('the udp proxy was started before')
    await new Promise<void>((tried) => {
      this.#running = this.#keepRunning(tried)
    })
  }

  /** The worker goes over to it between two packets; one that starts later begins with it. */
  replaceTable(table: ProxyTable): void {
    this.#table = buildPeerTable(table.own, table.peers)
    this.#send({ type: 'table', table: this.#table })
  }

  /** The tun stays, and loses what is sent into it. */
  async stop(): Promise<void> {
    this.#abort.abort(new Error('stopping'))
    this.#send({ type: 'stop' })
    const ended = new AbortController()
    const late = this.#clock.sleep(STOP_MS, ended.signal).then(
      async () => await this.#worker?.terminate(),
      () => undefined,
    )
    await this.#running
    ended.abort()
    await late
  }

  /** `tried` is called when the first worker carries packets or could not start. */
  async #keepRunning(tried: () => void): Promise<void> {
    this.#set({ at: 'starting' })
    while (!this.#abort.signal.aborted) {
      const worker = await this.#launch()
      tried()
      const wasWell = worker !== undefined && (await this.#untilDeath(worker))
      // At once, unless it just started: then what killed it is likely to be still there.
      if (wasWell) this.#backoff.succeeded()
      else await this.#clock.sleep(this.#backoff.next(), this.#abort.signal).catch(() => undefined)
    }
    tried()
    this.#set({ at: 'stopped' })
  }

  /** A worker that carries packets; undefined: it could not start. */
  async #launch(): Promise<Running | undefined> {
    try {
      return await this.#startWorker()
    } catch (cause) {
      const error = cause instanceof Error ? cause : new Error(messageOf(cause))
      const { at } = this.#state
      // Why the first one could not start is the answer to `start`.
      if (this.#set({ at: 'failed', error }) && at === 'failed')
        this.#log.warn('udp proxy could not start', { cause: error.message })
      return undefined
    }
  }

  /** Whether it had run for so long that it was well. */
  async #untilDeath({ ended }: Running): Promise<boolean> {
    const since = this.#clock.now()
    const cause = await ended
    if (!this.#abort.signal.aborted) {
      this.#deaths += 1
      this.#log.warn('udp proxy worker died', { cause: cause.message, deaths: this.#deaths })
      // One that hung was said to have failed before it ended.
      if (this.#state.at !== 'failed') this.#set({ at: 'failed', error: cause })
    }
    return this.#clock.now() - since > SETTLED_MS
  }

  /** Resolves when a worker carries packets; rejects when it ended before, with its descriptors closed. */
  async #startWorker(): Promise<Running> {
    const { MessageChannel, Worker } = threads()
    const { port1, port2 } = new MessageChannel()
    const { device, local, port, workerFile = ownWorker } = this.#options
    const start: WorkerStart = {
      device,
      local: ipToBytes(local),
      port,
      shared: this.#memory.buffer,
      messages: port2,
      table: this.#table,
    }
    const watch = new AbortController()
    const own = { workerData: start, transferList: [port2], name: 'udp proxy' }
    const worker = new Worker(workerFile, workerFile === ownWorker ? own : { ...own, execArgv: [] })
    this.#worker = worker
    this.#messages = port1
    let failure: Error | undefined
    worker.on('error', (cause) => {
      failure ??= cause instanceof Error ? cause : new Error(messageOf(cause))
    })
    const ended = new Promise<Error>((resolve) => {
      worker.on('exit', (code) => {
        watch.abort()
        port1.close()
        this.#closeDescriptors()
        resolve(failure ?? new Error(`the worker ended with code ${code}`))
      })
    })
    const offloads = await new Promise<Offloads>((resolve, reject) => {
      worker.on('message', (message: WorkerReady | WorkerFailed) => {
        if (message.type === 'ready') resolve(message.offloads)
        else failure = new EngineFailure(message)
      })
      ended.then(reject)
    })
    this.#set({ at: 'running' })
    // The next ones are made in the place of one that died.
    if (this.#deaths === 0) this.#log.info('udp proxy started', { device, local, port, ...offloads })
    const turns = () => Atomics.load(this.#memory.control, Control.turns)
    void standsStill({ clock: this.#clock, turns }, watch.signal).then((hangs) => {
      if (!hangs) return
      failure = new Error('the worker hung')
      this.#set({ at: 'failed', error: failure })
      // Ends what JavaScript does; a thread that hangs inside the kernel ends when the kernel lets it.
      void worker.terminate()
    })
    return { ended }
  }

  #send(message: WorkerMessage): void {
    this.#messages?.postMessage(message)
    Atomics.add(this.#memory.control, Control.doorbell, 1)
    // It may wait in the kernel, where it receives no message. Without a descriptor it has yet to look at the doorbell.
    const event = Atomics.load(this.#memory.control, Control.eventFd)
    if (event > 0) writeSync(event, new BigUint64Array([1n]))
  }

  // A thread that dies leaves its descriptors open, and with them the device busy and the port taken.
  #closeDescriptors(): void {
    for (const place of [Control.eventFd, Control.tunFd, Control.socketFd]) {
      const fd = Atomics.exchange(this.#memory.control, place, 0)
      if (fd <= 0) continue
      try {
        closeSync(fd)
      } catch (cause) {
        this.#log.warn('udp proxy descriptor was not open', { fd, cause: messageOf(cause) })
      }
    }
  }

  /** False: it was so before. */
  #set(state: EngineState): boolean {
    const isSame = state.at === this.#state.at && textOf(state) === textOf(this.#state)
    this.#state = state
    if (!isSame) this.#onState(state)
    return !isSame
  }
}

function textOf(state: EngineState): string {
  return state.at === 'failed' ? state.error.message : ''
}

interface Running {
  /** Never rejects; with why it ended, once its descriptors are closed. */
  readonly ended: Promise<Error>
}

/** So long may a worker take to notice that it shall stop. */
const STOP_MS = 2_000
/** A worker that ran so long was well. */
const SETTLED_MS = 5_000
