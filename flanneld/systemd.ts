import type { Notifier } from '../kernel/ffi/notify.ts'
import type { Clock } from '../lib/clock.ts'

export interface SystemdEnvironment {
  /** $WATCHDOG_USEC and $WATCHDOG_PID as they are. */
  readonly watchdogUsec: string | undefined
  readonly watchdogPid: string | undefined
  readonly pid: number
}

/** How much longer a start may take, asked for anew in a third of it: one that hangs is ended after this. */
const MORE_MS = 60_000

/** What the service manager is told (systemd: Type=notify). Source: sd_notify(3), sd_watchdog_enabled(3). */
export class Systemd {
  readonly #notifier: Notifier
  readonly #clock: Clock
  readonly #isAlive: () => boolean
  readonly #watchdogMs: number | undefined
  #ready = false
  #status = ''

  /** `isAlive`: whether the parts that must move do; while not, the watchdog is left to bite. */
  constructor(needs: { notifier: Notifier; clock: Clock; isAlive: () => boolean }, options: SystemdEnvironment) {
    this.#notifier = needs.notifier
    this.#clock = needs.clock
    this.#isAlive = needs.isAlive
    this.#watchdogMs = watchdogInterval(options)
  }

  /** Once per process, when the node is ready for the first time. */
  ready(): void {
    if (this.#ready) return
    this.#ready = true
    this.#notifier.send('READY=1')
  }

  /** One line for `systemctl status`; repeated texts are not sent again. */
  status(text: string): void {
    const line = text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    if (line === this.#status) return
    this.#status = line
    this.#notifier.send(`STATUS=${line}`)
  }

  stopping(): void {
    this.#notifier.send('STOPPING=1')
  }

  /** Feeds the watchdog from the event loop until the signal is aborted; a blocked loop feeds nothing. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#feed(signal), this.#prolongStart(signal)])
  }

  async #feed(signal: AbortSignal): Promise<void> {
    if (this.#watchdogMs === undefined) return
    while (!signal.aborted) {
      if (this.#isAlive()) this.#notifier.send('WATCHDOG=1')
      await this.#clock.sleep(this.#watchdogMs, signal).catch(() => {})
    }
  }

  /** Until the node is ready: etcd or a configuration may be long in coming, and a manager ends a start after 90 s. */
  async #prolongStart(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !this.#ready) {
      if (this.#isAlive()) this.#notifier.send(`EXTEND_TIMEOUT_USEC=${MORE_MS * 1000}`)
      await this.#clock.sleep(MORE_MS / 3, signal).catch(() => {})
    }
  }
}

/** Half of the time the manager allows, in ms; undefined when the watchdog is off or meant for another process. */
export function watchdogInterval({ watchdogUsec, watchdogPid, pid }: SystemdEnvironment): number | undefined {
  if (watchdogPid !== undefined && watchdogPid !== '' && watchdogPid !== String(pid)) return undefined
  if (!/^[1-9]\d{0,14}$/.test(watchdogUsec ?? '')) return undefined
  // A timer of more than 2^31 ms would fire at once.
  return Math.min(Math.max(1, Math.floor(Number(watchdogUsec) / 2000)), 2 ** 31 - 1)
}
