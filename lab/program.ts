import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { open, readFile } from 'node:fs/promises'
import { systemClock } from '../lib/clock.ts'
import { missingProgram } from './command.ts'
import { isStopped } from './proc.ts'

export interface ProgramOptions {
  /** Standard output and error are appended to this file. */
  readonly log: string
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
}

/** How a program ended: one of the two is null. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A program that runs in the background, its output in a file. */
export class Program {
  readonly pid: number
  readonly log: string
  readonly argv: readonly string[]
  readonly #child: ChildProcess
  readonly #ended: Promise<Exit>
  #exit: Exit | undefined

  private constructor(child: ChildProcess & { pid: number }, argv: readonly string[], log: string) {
    this.#child = child
    this.pid = child.pid
    this.argv = argv
    this.log = log
    this.#ended = new Promise((resolve) => {
      child.on('exit', (code, signal) => {
        this.#exit = { code, signal }
        resolve(this.#exit)
      })
    })
  }

  static async start(argv: readonly string[], options: ProgramOptions): Promise<Program> {
    const [command = '', ...rest] = argv
    const file = await open(options.log, 'a')
    try {
      // Detached: Ctrl-C on the terminal is the lab's to handle, the programs must not get it beside.
      const child = spawn(command, rest, {
        stdio: ['ignore', file.fd, file.fd],
        detached: true,
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        ...(options.env === undefined ? {} : { env: options.env }),
      })
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve)
        child.once('error', (cause: NodeJS.ErrnoException) =>
          reject(cause.code === 'ENOENT' ? missingProgram(command) : cause),
        )
      })
      return new Program(child as ChildProcess & { pid: number }, argv, options.log)
    } finally {
      await file.close()
    }
  }

  /** Undefined while it runs. */
  get exit(): Exit | undefined {
    return this.#exit
  }

  get running(): boolean {
    return this.#exit === undefined
  }

  /** False when it has already ended. */
  kill(signal: NodeJS.Signals = 'SIGTERM'): boolean {
    return this.running && this.#child.kill(signal)
  }

  /** SIGSTOP; resolves when no thread of it works any more. SIGCONT lets it go on. */
  async freeze(): Promise<void> {
    this.kill('SIGSTOP')
    const limit = AbortSignal.timeout(5_000)
    while (this.running && !(await isStopped(this.pid))) await systemClock.sleep(1, limit)
  }

  /** Rejects with the signal's reason, or with a text that names the program after `timeout` ms (30,000 unless told). */
  async waitExit(options: { timeout?: number; signal?: AbortSignal } = {}): Promise<Exit> {
    if (this.#exit !== undefined) return this.#exit
    const timeout = options.timeout ?? 30_000
    const over = new AbortController()
    const stop = options.signal === undefined ? over.signal : AbortSignal.any([options.signal, over.signal])
    const late = systemClock.sleep(timeout, stop).then(() => {
      throw new Error(`${this.argv.join(' ')} (pid ${this.pid}) still runs after ${timeout} ms`)
    })
    try {
      return await Promise.race([this.#ended, late])
    } finally {
      over.abort()
      await late.catch(() => undefined)
    }
  }

  /** SIGTERM, then SIGKILL after `patience` ms. */
  async stop(patience = 5_000): Promise<Exit> {
    this.kill('SIGTERM')
    try {
      return await this.waitExit({ timeout: patience })
    } catch {
      this.kill('SIGKILL')
      return await this.waitExit()
    }
  }

  async logText(): Promise<string> {
    return await readFile(this.log, 'utf8')
  }
}
