import { randomBytes } from 'node:crypto'
import { openTables } from '../backends/registry.ts'
import { createKernel } from '../kernel/kernel.ts'
import { tunHolder, udpPortHolder } from '../kernel/tables/holders.ts'
import type { Clock } from '../lib/clock.ts'
import { describeFault, Lifecycle } from '../lib/lifecycle.ts'
import type { Logger } from '../lib/log.ts'
import { untilFirst } from '../lib/signals.ts'
import { Agent } from './agent.ts'
import { exitCodeOf } from './exit-code.ts'
import { GuardWatch } from './guard-watch.ts'
import { collectAfterStart, keepHeapSmall } from './heap.ts'
import { openEtcd } from './leases/lease-source.ts'
import { agentOptions, requireNetAdmin } from './options/node-options.ts'
import type { Options } from './options/options.ts'
import type { ProcessPort } from './process-port.ts'
import { instanceOf } from './state/instance.ts'
import { InstanceClaim } from './state/instance-claim.ts'
import { lockInstance } from './state/instance-lock.ts'
import { type Footprint, StateDir } from './state/state-dir.ts'
import { StatusEndpoints } from './status/endpoints.ts'
import { Histogram, RECONCILE_BOUNDS } from './status/metrics.ts'
import { ConditionSet } from './status/status.ts'

export interface DaemonNeeds {
  readonly clock: Clock
  readonly log: Logger
  readonly port: ProcessPort
}

/** Runs until the process shall stop. What it throws decides on the exit code. */
export async function runDaemon(needs: DaemonNeeds, options: Options): Promise<void> {
  const { clock, log, port } = needs
  keepHeapSmall()
  const startedAt = clock.wall()
  await requireNetAdmin()
  const lock = lockInstance(options.subnetFile, port.pid)
  const instance = instanceOf(options)
  const state = await StateDir.open({ log, randomBytes, uid: port.uid }, instance.stateDir)
  const nodeId = await state.nodeId()
  log.info('flanneld started', { version: port.version, nodeId, stateDir: instance.stateDir })

  const fatal = new AbortController()
  const lifecycle = lifecycleOf(log, fatal)
  const conditions = conditionsOf(clock, log)
  const kernel = await createKernel()
  const planes = openTables({
    clock,
    log,
    random: Math.random,
    portHolder: udpPortHolder,
    tunHolder,
    onChange: (kinds) => agent.reconciler.onEvents([{ type: 'kinds', kinds }]),
  })
  const tables = [...kernel.tables, ...planes.flatMap((plane) => plane.tables)]
  const etcd = openEtcd({ clock, log, conditions, random: Math.random, env: port.env }, options)
  const durations = new Histogram(RECONCILE_BOUNDS)
  const { etcdPrefix, subnetFile } = options
  const claim = new InstanceClaim({ clock, signal: port.stop }, { instance, pid: port.pid, etcdPrefix, subnetFile })
  const record = async (footprint: Footprint) => {
    await claim.make(footprint)
    await state.record(footprint)
  }
  const onPass = (seconds: number) => durations.observe(seconds)
  const agentWish = await agentOptions(options, nodeId, log)
  const agent = new Agent(
    { kernel: { ...kernel, tables }, onPass, ...etcd, state, record, conditions, lifecycle, clock, log, randomBytes },
    agentWish,
  )
  const guard =
    agentWish.guard && new GuardWatch({ guard: kernel.rules.guard, clock, log, conditions }, agentWish.guard)
  if (guard !== undefined) lifecycle.run('ingress guard', (stop) => guard.run(stop))
  const endpoints = new StatusEndpoints(
    { agent, planes, guard, conditions, durations, lifecycle, clock, log, port },
    { options, nodeId, startedAt, socketPath: instance.statusSocket },
  )
  port.onReload(() => {
    log.info('SIGHUP received, reading the configuration again')
    etcd.configSource.refresh()
  })

  lifecycle.run('heap', async (stop) => {
    await untilReady(agent, stop)
    await collectAfterStart(clock, agent.changes, stop)
  })

  try {
    await endpoints.open()
    await untilFirst([port.stop, fatal.signal], (stop) => agent.run(stop))
  } catch (cause) {
    if (!port.stop.aborted && !fatal.signal.aborted) throw cause
  } finally {
    log.info('flanneld stopping, the kernel keeps what it has')
    endpoints.stopping()
    await lifecycle.stop()
    await agent.reconciler.stop()
    await Promise.all(planes.map((plane) => plane.stop()))
    await endpoints.close()
    kernel.close()
    lock.release()
  }
  if (fatal.signal.aborted && !port.stop.aborted) throw fatal.signal.reason
}

async function untilReady(agent: Agent, signal: AbortSignal): Promise<void> {
  for await (const _ of agent.changes.watch(signal)) if (agent.notReady().length === 0) return
}

/** What a background task throws ends the daemon; a fault of the program is logged with the task that had it. */
function lifecycleOf(log: Logger, fatal: AbortController): Lifecycle {
  return new Lifecycle({
    onFault: (task, cause) => {
      const isFault = exitCodeOf(cause) === 1
      if (isFault) log.error(describeFault(task, cause), { stack: cause instanceof Error ? cause.stack : undefined })
      fatal.abort(cause)
    },
  })
}

function conditionsOf(clock: Clock, log: Logger): ConditionSet {
  return new ConditionSet({
    clock,
    onChange: ({ condition: { code, severity, text, remedy }, holds }) => {
      if (!holds) log.info('condition ended', { condition: code })
      else if (severity === 'info') log.info(text, { code, remedy })
      else log.warn(text, { code, remedy })
    },
  })
}
