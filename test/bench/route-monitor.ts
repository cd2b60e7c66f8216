import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import type { Host } from '../../lab/host.ts'

/**
 * Hears of every route that comes to a device of a host, through `ip monitor`: polling a table of thousands would take
 * the processor from the daemon that is measured.
 */
export class RouteMonitor {
  readonly #child: ChildProcess
  readonly #seen = new Map<string, number>()
  #wake: () => void = () => {}

  private constructor(child: ChildProcess, device: string) {
    this.#child = child
    const ending = new RegExp(` dev ${device.replaceAll('.', '\\.')}( |$)`)
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
    lines.on('line', (line) => {
      const dst = line.slice(0, line.indexOf(' '))
      if (!dst.includes('/') || !line.includes(' via ') || !ending.test(line)) return
      if (!this.#seen.has(dst)) this.#seen.set(dst, performance.now())
      this.#wake()
    })
  }

  static async start(host: Host, device = 'flannel.1'): Promise<RouteMonitor> {
    const [program = '', ...args] = [...host.enter, 'ip', '-rcvbuf', '268435456', 'monitor', 'route', 'address']
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'], env: host.environment() })
    const monitor = new RouteMonitor(child, device)
    // It does not say when it begins to listen, so something is changed until it tells of it.
    let heard = false
    child.stdout?.once('data', () => {
      heard = true
    })
    while (!heard) {
      await host.ip('route', 'add', 'blackhole', '203.0.113.1')
      await host.ip('route', 'del', 'blackhole', '203.0.113.1')
      await delay(10)
    }
    return monitor
  }

  /** The time (`performance.now()`) at which the last of `count` different destinations came. */
  async arrivalOf(count: number, timeoutMs: number): Promise<number> {
    await this.#until(() => this.#seen.size >= count, timeoutMs, `${count} routes`)
    return [...this.#seen.values()][count - 1] ?? Number.NaN
  }

  /** The time at which the route to `dst` came. */
  async arrival(dst: string, timeoutMs: number): Promise<number> {
    await this.#until(() => this.#seen.has(dst), timeoutMs, `a route to ${dst}`)
    return this.#seen.get(dst) ?? Number.NaN
  }

  close(): void {
    this.#child.kill()
  }

  async #until(done: () => boolean, timeoutMs: number, what: string): Promise<void> {
    if (done()) return
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Error(`no ${what} within ${timeoutMs} ms, ${this.#seen.size} seen`)),
        timeoutMs,
      )
      this.#wake = () => {
        if (!done()) return
        clearTimeout(late)
        this.#wake = () => {}
        resolve()
      }
    })
  }
}
