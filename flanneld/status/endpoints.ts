import type { BackendTables } from '../../backends/backend.ts'
import { createNotifier } from '../../kernel/ffi/notify.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Lifecycle } from '../../lib/lifecycle.ts'
import type { Logger } from '../../lib/log.ts'
import type { Agent } from '../node/agent.ts'
import type { GuardWatch } from '../node/guard-watch.ts'
import type { Options } from '../options/options.ts'
import type { ProcessPort } from '../process-port.ts'
import type { FinishOutcome } from '../switch/change-status.ts'
import { Systemd } from '../systemd.ts'
import { EventLoopLag } from './event-loop-lag.ts'
import { HealthServer } from './health.ts'
import { type Histogram, renderMetrics } from './metrics.ts'
import type { Condition, ConditionSet, StatusDocument } from './status.ts'
import { type Orders, StatusSocket } from './status-socket.ts'
import { statusDocument } from './status-view.ts'

export interface EndpointNeeds {
  readonly agent: Agent
  readonly dataplanes: readonly BackendTables[]
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
/** Between two tries to open what cannot be opened. */
const AGAIN_MS = 5_000

/** A place where somebody may ask, and the condition that holds while it cannot be opened. */
interface Endpoint extends Condition {
  /** Returns what closes it. */
  readonly open: () => Promise<() => Promise<void>>
}

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

  /** What cannot be opened now is a condition and is tried again: nobody's traffic needs it. */
  async open(): Promise<void> {
    const { agent, conditions, lifecycle } = this.#needs
    const { healthzIp, healthzPort } = this.#options
    if (healthzPort !== 0) {
      await this.#openWhenPossible({
        code: 'health-port',
        severity: 'warning',
        text: `the health port ${healthzIp}:${healthzPort} cannot be opened`,
        remedy: 'end what listens there (`ss -ltnp`), or name another by --healthz-port',
        open: async () => {
          await this.#health.listen(healthzIp, healthzPort)
          return () => this.#health.stop()
        },
      })
    }
    if (this.#identity.socketPath !== undefined) await this.#openWhenPossible(this.#socket(this.#identity.socketPath))
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

  #socket(path: string): Endpoint {
    return {
      code: 'status-socket',
      severity: 'info',
      text: '`flanneld status` cannot ask this daemon',
      remedy: 'name another place by --status-socket',
      open: async () => {
        const socket = new StatusSocket({ status: () => this.#status(), orders: ordersOf(this.#needs) }, { path })
        try {
          await socket.listen()
        } catch (cause) {
          await socket.stop()
          throw cause
        }
        return () => socket.stop()
      },
    }
  }

  async #openWhenPossible(endpoint: Endpoint): Promise<void> {
    const { clock, lifecycle } = this.#needs
    if (await this.#tryToOpen(endpoint)) return
    lifecycle.run(endpoint.code, async (stop) => {
      do await clock.sleep(AGAIN_MS, stop).catch(() => {})
      while (!stop.aborted && !(await this.#tryToOpen(endpoint)))
    })
  }

  async #tryToOpen({ open, ...condition }: Endpoint): Promise<boolean> {
    const { conditions } = this.#needs
    try {
      this.#closing.push(await open())
      conditions.clear(condition.code)
      return true
    } catch (cause) {
      conditions.set({ ...condition, text: `${condition.text}: ${messageOf(cause)}` })
      return false
    }
  }

  #isAlive(): boolean {
    return this.#needs.agent.reconciler.busyMs() < STUCK_MS
  }

  #status(): StatusDocument {
    const { agent, dataplanes, guard, conditions, clock, port } = this.#needs
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
      dataPlane: dataplanes.flatMap((dataplane) => dataplane.counts() ?? [])[0],
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

const FINISH_ANSWERS: Readonly<Record<FinishOutcome, string>> = {
  finished: 'the old backend ends as soon as the lease says so, whoever still needs it',
  'no change': 'no change of the backend is under way',
  'not received by': 'this host does not receive by the new backend yet: the old one stays (flanneld status says why)',
}

function ordersOf({ agent, log }: Pick<EndpointNeeds, 'agent' | 'log'>): Orders {
  return {
    switch: () => {
      const changes = agent.useWaitingConfiguration()
      if (changes === undefined) return 'nothing waits: what the network configuration says is followed'
      log.info('network configuration used by order of the operator', { changes: changes.join('; ') })
      return `the network configuration that waited is used now: ${changes.join('; ')}`
    },
    finish: () => FINISH_ANSWERS[agent.finishChange()],
  }
}

function readyText({ view }: Agent): string {
  const peers = view.verdicts?.planned.size ?? 0
  return `ready: ${view.ways?.[0].backend.type ?? ''}, ${peers} peer${peers === 1 ? '' : 's'}`
}
