import type { BackendTables } from '../../backends/backend.ts'
import { createNotifier } from '../../kernel/ffi/notify.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Lifecycle } from '../../lib/lifecycle.ts'
import type { Logger } from '../../lib/log.ts'
import type { Agent } from '../agent.ts'
import type { GuardWatch } from '../guard-watch.ts'
import type { Options } from '../options/options.ts'
import type { ProcessPort } from '../process-port.ts'
import { Systemd } from '../systemd.ts'
import { EventLoopLag } from './event-loop-lag.ts'
import { HealthServer } from './health.ts'
import { type Histogram, renderMetrics } from './metrics.ts'
import type { ConditionSet, StatusDocument } from './status.ts'
import { StatusSocket } from './status-socket.ts'
import { statusDocument } from './status-view.ts'

export interface EndpointNeeds {
  readonly agent: Agent
  readonly planes: readonly BackendTables[]
  readonly guard: GuardWatch | undefined
  readonly conditions: ConditionSet
  readonly durations: Histogram
  readonly lifecycle: Lifecycle
  readonly clock: Clock
  readonly log: Logger
  readonly port: ProcessPort
}

/** A pass of the reconciler that takes longer than this means that the process no longer does its work. */
const STUCK_MS = 90_000

/** Everywhere the daemon shows its state: health port, status socket, service manager, log. */
export class StatusEndpoints {
  readonly #needs: EndpointNeeds
  readonly #options: Options
  readonly #identity: { readonly nodeId: string; readonly startedAt: number; readonly socketPath: string | undefined }
  readonly #lag: EventLoopLag
  readonly #health: HealthServer
  readonly #systemd: Systemd
  readonly #closing: (() => Promise<void> | void)[] = []
  #wasReady = false

  constructor(
    needs: EndpointNeeds,
    options: { options: Options; nodeId: string; startedAt: number; socketPath: string | undefined },
  ) {
    const { clock, port } = needs
    this.#needs = needs
    this.#options = options.options
    this.#identity = options
    this.#lag = new EventLoopLag({ clock })
    this.#health = new HealthServer({
      live: () => [
        { name: 'reconciler', ok: this.#isAlive(), text: `a pass has been running for ${STUCK_MS / 1000} s` },
      ],
      ready: () => needs.agent.readiness(),
      metrics: () => this.#metrics(),
    })
    const notifier = createNotifier(port.env['NOTIFY_SOCKET'])
    this.#closing.push(() => notifier.close())
    this.#systemd = new Systemd(
      { notifier, clock, isAlive: () => this.#isAlive() },
      { watchdogUsec: port.env['WATCHDOG_USEC'], watchdogPid: port.env['WATCHDOG_PID'], pid: port.pid },
    )
  }

  /** Throws when the health port, which somebody asked for, cannot be opened; without the socket the daemon goes on. */
  async open(): Promise<void> {
    const { agent, conditions, lifecycle } = this.#needs
    const { healthzIp, healthzPort } = this.#options
    if (healthzPort !== 0) {
      await this.#health.listen(healthzIp, healthzPort)
      this.#closing.push(() => this.#health.stop())
    }
    await this.#openSocket()
    lifecycle.run('watchdog', (stop) => this.#systemd.run(stop))
    lifecycle.run('event loop lag', (stop) => this.#lag.run(stop))
    for (const source of [agent.changes, conditions.changes]) {
      lifecycle.run(`readiness by ${source.name}`, async (stop) => {
        for await (const _ of source.watch(stop)) this.#announce()
      })
    }
  }

  stopping(): void {
    this.#systemd.stopping()
  }

  async close(): Promise<void> {
    for (const close of this.#closing.reverse()) await close()
  }

  async #openSocket(): Promise<void> {
    const { socketPath } = this.#identity
    if (socketPath === undefined) return
    const socket = new StatusSocket({ status: () => this.#status() }, { path: socketPath })
    try {
      await socket.listen()
      this.#closing.push(() => socket.stop())
    } catch (cause) {
      this.#needs.conditions.set({
        code: 'status-socket',
        severity: 'info',
        text: `\`flanneld status\` cannot ask this daemon: ${messageOf(cause)}`,
        remedy: 'name another place by --status-socket',
      })
    }
  }

  #isAlive(): boolean {
    return this.#needs.agent.reconciler.busyMs() < STUCK_MS
  }

  #status(): StatusDocument {
    const { agent, planes, guard, conditions, clock, port } = this.#needs
    const { nodeId, startedAt } = this.#identity
    return statusDocument({
      version: port.version,
      pid: port.pid,
      nodeId,
      subnetFile: this.#options.subnetFile,
      startedAt,
      now: clock.wall(),
      notReady: agent.notReady(),
      conditions: conditions.list(),
      view: agent.view,
      failures: agent.reconciler.failures(),
      counts: agent.reconciler.counts(),
      dataPlane: planes.flatMap((plane) => plane.counts() ?? [])[0],
      guard: guard?.status,
    })
  }

  #metrics(): string {
    const { durations, port } = this.#needs
    return renderMetrics({
      status: this.#status(),
      reconcileDuration: durations,
      eventLoopLagSeconds: this.#lag.seconds,
      process: { ...port.usage(), startTimeSeconds: this.#identity.startedAt / 1000 },
    })
  }

  /** Tells log and service manager when the node becomes ready, and when it no longer is. */
  #announce(): void {
    const { agent, log } = this.#needs
    const [reason] = agent.notReady()
    const ready = reason === undefined
    if (ready) this.#systemd.ready()
    this.#systemd.status(ready ? readyText(agent) : `not ready: ${reason}`)
    if (ready && !this.#wasReady) log.info('node is ready')
    if (!ready && this.#wasReady) log.warn('node is not ready any more', { why: reason })
    this.#wasReady = ready
  }
}

function readyText({ view }: Agent): string {
  const peers = view.verdicts?.planned.size ?? 0
  return `ready: ${view.active?.backend.type ?? ''}, ${peers} peer${peers === 1 ? '' : 's'}`
}
