import { randomBytes } from 'node:crypto'
import { createNotifier } from '../kernel/ffi/notify.ts'
import { createKernel } from '../kernel/kernel.ts'
import type { Clock } from '../lib/clock.ts'
import { describeFault, Lifecycle } from '../lib/lifecycle.ts'
import type { Logger } from '../lib/log.ts'
import { Agent } from './agent.ts'
import { openEtcd } from './leases/lease-source.ts'
import { knownGaps } from './options/availability.ts'
import { agentOptions, requireNetAdmin } from './options/node-options.ts'
import type { Options } from './options/options.ts'
import type { ProcessPort } from './process-port.ts'
import { instanceOf } from './state/instance.ts'
import { lockInstance } from './state/instance-lock.ts'
import { StateDir } from './state/state-dir.ts'
import { EventLoopLag } from './status/event-loop-lag.ts'
import { HealthServer } from './status/health.ts'
import { Histogram, RECONCILE_BOUNDS, renderMetrics } from './status/metrics.ts'
import { ConditionSet, type StatusDocument } from './status/status.ts'
import { StatusSocket } from './status/status-socket.ts'
import { statusDocument } from './status/status-view.ts'
import { Systemd } from './systemd.ts'

export interface DaemonNeeds {
  readonly clock: Clock
  readonly log: Logger
  readonly port: ProcessPort
}

/** A pass of the reconciler that takes longer than this means that the process no longer does its work. */
const STUCK_MS = 90_000

/** Runs until the process shall stop. What it throws decides on the exit code. */
export async function runDaemon(needs: DaemonNeeds, options: Options): Promise<void> {
  const { clock, log, port } = needs
  const startedAt = clock.wall()
  await requireNetAdmin()
  const lock = lockInstance(options.subnetFile, port.pid)
  const instance = instanceOf(options)
  const state = await StateDir.open({ log, randomBytes, uid: port.uid }, instance.stateDir)
  const nodeId = await state.nodeId()
  log.info('flanneld started', { version: port.version, nodeId, stateDir: instance.stateDir })
  for (const gap of knownGaps(options)) log.info(gap)

  const fatal = new AbortController()
  const lifecycle = new Lifecycle({
    onFault: (task, cause) => {
      log.error(describeFault(task, cause))
      fatal.abort(cause)
    },
  })
  const conditions = new ConditionSet({
    clock,
    onChange: ({ condition: { code, severity, text, remedy }, holds }) => {
      if (holds) log[severity === 'error' ? 'warn' : 'info'](text, { code, remedy })
      else log.info('condition ended', { code })
    },
  })
  const kernel = await createKernel()
  const etcd = openEtcd({ clock, log, conditions, random: Math.random }, options)
  const durations = new Histogram(RECONCILE_BOUNDS)
  const onPass = (seconds: number) => durations.observe(seconds)
  const agent = new Agent(
    { kernel, onPass, ...etcd, state, conditions, lifecycle, clock, log, randomBytes },
    await agentOptions(options, nodeId, log),
  )

  const lag = new EventLoopLag({ clock })
  const status = (): StatusDocument =>
    statusDocument({
      version: port.version,
      pid: port.pid,
      nodeId,
      subnetFile: options.subnetFile,
      startedAt,
      now: clock.wall(),
      notReady: agent.notReady(),
      conditions: conditions.list(),
      view: agent.view,
      failures: agent.reconciler.failures(),
      counts: agent.reconciler.counts(),
    })
  const isAlive = () => agent.reconciler.busyMs() < STUCK_MS
  const health = new HealthServer({
    live: () => [{ name: 'reconciler', ok: isAlive(), text: `a pass has been running for ${STUCK_MS / 1000} s` }],
    ready: () => agent.notReady().map((text) => ({ name: text.split(':')[0] ?? text, ok: false, text })),
    metrics: () =>
      renderMetrics({
        status: status(),
        reconcileDuration: durations,
        eventLoopLagSeconds: lag.seconds,
        process: { ...port.usage(), startTimeSeconds: startedAt / 1000 },
      }),
  })
  const socket =
    instance.statusSocket === undefined ? undefined : new StatusSocket({ status }, { path: instance.statusSocket })
  const notifier = createNotifier(port.env['NOTIFY_SOCKET'])
  const systemd = new Systemd(
    { notifier, clock, isAlive },
    { watchdogUsec: port.env['WATCHDOG_USEC'], watchdogPid: port.env['WATCHDOG_PID'], pid: port.pid },
  )
  port.onReload(() => {
    log.info('SIGHUP received, reading the configuration again')
    etcd.configSource.refresh()
  })

  try {
    if (options.healthzPort !== 0) await health.listen(options.healthzIp, options.healthzPort)
    await socket?.listen()
    lifecycle.run('watchdog', (stop) => systemd.run(stop))
    lifecycle.run('event loop lag', (stop) => lag.run(stop))
    lifecycle.run('readiness', (stop) => announce({ agent, systemd, log }, stop))
    await agent.run(AbortSignal.any([port.stop, fatal.signal]))
  } catch (cause) {
    if (!port.stop.aborted) throw fatal.signal.aborted ? fatal.signal.reason : cause
  } finally {
    log.info('flanneld stopping, the kernel keeps what it has')
    systemd.stopping()
    await lifecycle.stop()
    await agent.reconciler.stop()
    await Promise.all([health.stop(), socket?.stop()])
    kernel.close()
    notifier.close()
    lock.release()
  }
  if (fatal.signal.aborted && !port.stop.aborted) throw fatal.signal.reason
}

/** Tells log and service manager when the node becomes ready, and when it no longer is. */
async function announce(needs: { agent: Agent; systemd: Systemd; log: Logger }, stop: AbortSignal): Promise<void> {
  let wasReady = false
  for await (const _ of needs.agent.changes.watch(stop)) {
    const [reason] = needs.agent.notReady()
    const ready = reason === undefined
    if (ready) needs.systemd.ready()
    needs.systemd.status(ready ? readyText(needs.agent) : `not ready: ${reason}`)
    if (ready !== wasReady)
      needs.log.info(ready ? 'node is ready' : 'node is not ready any more', ready ? {} : { why: reason })
    wasReady = ready
  }
}

function readyText({ view }: Agent): string {
  const peers = view.verdicts?.planned.length ?? 0
  return `ready: ${view.active?.backend.type ?? ''}, ${peers} peer${peers === 1 ? '' : 's'}`
}
