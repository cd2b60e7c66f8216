import { randomBytes } from 'node:crypto'
import { openTables } from '../backends/registry.ts'
import { createKernel } from '../kernel/kernel.ts'
import { tunHolder, udpPortHolder } from '../kernel/kinds/holders.ts'
import type { OpFailure } from '../kernel/table.ts'
import type { Clock } from '../lib/clock.ts'
import { AlreadyRunningError } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { untilFirst } from '../lib/signals.ts'
import { checkDockerAtStart } from './check/checks/docker.ts'
import { watchDocker } from './check/docker-watch.ts'
import { judge } from './check/judge.ts'
import type { Line } from './check/line.ts'
import { readDocker } from './check/read/docker.ts'
import { readVariables } from './check/read/variables.ts'
import { openCni } from './cni/open-cni.ts'
import { exitCodeOf } from './exit-code.ts'
import { collectAfterStart, keepHeapSmall, optimiseBesideCrowd } from './heap.ts'
import { momentReader } from './last-known/moment.ts'
import { openLeases } from './leases/open-leases.ts'
import { Agent } from './node/agent.ts'
import { GuardWatch } from './node/guard-watch.ts'
import { reportNetwork } from './node/network-report.ts'
import { agentOptions, podOf, requireNetAdmin } from './options/node-options.ts'
import type { Options } from './options/options.ts'
import { OtherDaemons } from './other-daemons/watch.ts'
import type { ProcessPort } from './process-port.ts'
import { bootMark } from './state/boot-mark.ts'
import { claimFootprint } from './state/claim-footprint.ts'
import { DiskWrites } from './state/disk-writes.ts'
import { instanceOf } from './state/instance.ts'
import { InstanceClaim } from './state/instance-claim.ts'
import { type Holder, type InstanceLock, lockFileOf, lockInstance, noteRefusal } from './state/instance-lock.ts'
import { StateDir } from './state/state-dir.ts'
import { StatusEndpoints } from './status/endpoints.ts'
import { Histogram, RECONCILE_BOUNDS } from './status/metrics.ts'
import { ConditionSet } from './status/status.ts'
import { UdpProbes } from './switch/udp-probes.ts'
import { createLifecycle, faultGroup, sayFault } from './task-faults.ts'
import { untilHad } from './until-had.ts'

export interface DaemonNeeds {
  readonly clock: Clock
  readonly log: Logger
  readonly port: ProcessPort
  /** Options that were given, by flag or variable. */
  readonly given: Iterable<string>
}

/** Runs until the process shall stop. What it throws decides on the exit code. */
export async function runDaemon(needs: DaemonNeeds, options: Options): Promise<void> {
  const { clock, log, port } = needs
  keepHeapSmall()
  const startedAt = clock.wall()
  await requireNetAdmin()
  const conditions = conditionsOf(clock, log)
  let wasReady = false
  const writes = new DiskWrites({ conditions, clock, isStarting: () => !wasReady })
  const me = { pid: port.pid, pod: podOf(port.env) }
  const lock = await takeLock(writes, options.subnetFile, me)
  const instance = instanceOf(options)
  const state = await StateDir.open({ log, writes, randomBytes, bootMark, uid: port.uid }, instance.stateDir)
  const nodeId = await state.nodeId()
  log.info('flanneld started', { version: port.version, nodeId, stateDir: instance.stateDir })

  const fatal = new AbortController()
  const lifecycle = createLifecycle(
    { clock, log, conditions },
    { end: (cause) => fatal.abort(cause), wasReady: () => wasReady },
  )
  port.onFault((cause) => lifecycle.fault('process', cause))
  lifecycle.run('disk writes', (stop) => writes.run(stop))
  const onUnsteady = (told: OpFailure) => lifecycle.fault('reading of the kernel', told)
  const kernel = await untilHad({ clock, conditions }, 'kernel', () => createKernel({ onUnsteady }), port.stop)
  const dataplanes = openTables({
    clock,
    log,
    random: Math.random,
    portHolder: udpPortHolder,
    tunHolder,
  })
  const tables = [...kernel.tables, ...dataplanes.flatMap((dataplane) => dataplane.tables)]
  const moment = await momentReader(clock)
  const source = await openLeases({ clock, log, conditions, random: Math.random, env: port.env }, options, nodeId)
  const durations = new Histogram(RECONCILE_BOUNDS)
  const { etcdPrefix, subnetFile } = options
  const claim = new InstanceClaim(
    { writes, clock, signal: port.stop },
    { instance, pid: port.pid, etcdPrefix, subnetFile },
  )
  lifecycle.run('state directory', (stop) => keepState(clock, state, claim, stop))
  const onPass = (seconds: number) => {
    durations.observe(seconds)
    conditions.replace(faultGroup('reconciler'), [])
  }
  const onPassFault = (cause: unknown) => {
    // A state directory where the journal may not be written, say.
    if (!wasReady && exitCodeOf(cause) !== 1) fatal.abort(cause)
    else sayFault({ log, conditions }, 'reconciler', cause)
  }
  const settings = await agentOptions(options, { nodeId, storeEndpoints: source.endpoints }, log)
  const others = new OtherDaemons({ conditions, clock }, { subnetFile, me })
  lifecycle.run('other daemons', (stop) => others.run(stop))
  const agent = new Agent(
    {
      kernel: { ...kernel, tables },
      ...source,
      moment,
      state,
      claim: (footprint) => claimFootprint({ claim, journal: state.journal }, footprint),
      conditions,
      lifecycle,
      clock,
      log,
      randomBytes,
      random: Math.random,
      probes: new UdpProbes({ clock, randomBytes }),
      onPass,
      onPassFault,
      onFlannelsRoute: (route) => others.onFlannelsRoute(route),
    },
    settings,
  )
  const guard = settings.guard && new GuardWatch({ guard: kernel.rules.guard, clock, log, conditions }, settings.guard)
  if (guard !== undefined) lifecycle.run('ingress guard', (stop) => guard.run(stop))
  const cni = await openCni({ kernel, agent, files: state.files, conditions, clock, log }, options)
  if (cni !== undefined) lifecycle.run('CNI', (stop) => cni.run(stop))
  const { nodeNetwork } = source
  if (nodeNetwork !== undefined) {
    lifecycle.run('condition of the Node', (stop) => reportNetwork({ agent, node: nodeNetwork, clock, log }, stop))
  }
  const endpoints = new StatusEndpoints(
    { agent, dataplanes, guard, conditions, durations, lifecycle, clock, log, port },
    { options, nodeId, startedAt, socketPath: instance.statusSocket },
  )
  port.onReload(() => {
    log.info('SIGHUP received, reading the configuration again')
    source.configSource.refresh()
  })

  lifecycle.run('checks', async (stop) => {
    const variables = await readVariables(port.env, needs.given)
    sayFindings(log, judge({ variables }))
    await untilReady(agent, stop)
    if (!stop.aborted) sayFindings(log, checkDockerAtStart(await readDocker(options.subnetFile)))
  })

  const { passes } = agent.reconciler
  lifecycle.run('Docker', (stop) => watchDocker({ conditions, clock, passes }, subnetFile, stop))

  lifecycle.run('optimising compiler', (stop) => optimiseBesideCrowd(source.store, stop))
  lifecycle.run('heap', async (stop) => {
    await untilReady(agent, stop)
    if (stop.aborted) return
    wasReady = true
    await collectAfterStart({ clock }, agent.changes, stop)
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
    await Promise.all(dataplanes.map((dataplane) => dataplane.stop()))
    await endpoints.close()
    kernel.close()
    lock.release()
  }
  if (fatal.signal.aborted && !port.stop.aborted) throw fatal.signal.reason
}

/** Of `flanneld check` what the daemon does not find out by its own work, and so would never name. */
function sayFindings(log: Logger, lines: readonly Line[]): void {
  for (const { check, level, text, remedy } of lines) if (level !== 'ok') log.warn(text, { check, remedy })
}

async function untilReady(agent: Agent, signal: AbortSignal): Promise<void> {
  for await (const _ of agent.changes.watch(signal)) if (agent.notReady().length === 0) return
}

/** The lock that cannot be made now (a full disk) is taken when it can be; until then the daemon works without it. */
async function takeLock(writes: DiskWrites, subnetFile: string, me: Holder): Promise<InstanceLock> {
  let lock: InstanceLock | undefined
  const write = async () => {
    try {
      lock ??= lockInstance(subnetFile, me.pid, me.pod)
    } catch (cause) {
      if (cause instanceof AlreadyRunningError) noteRefusal(subnetFile, me)
      throw cause
    }
  }
  const effect = 'a second daemon for this subnet file would not be noticed'
  await writes.attempt({ path: lockFileOf(subnetFile), effect, write })
  return { release: () => lock?.release() }
}

const LOOK_MS = 30_000

/** What somebody removes from the state directory is written again. */
async function keepState(clock: Clock, state: StateDir, claim: InstanceClaim, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await clock.sleep(LOOK_MS, signal).catch(() => {})
    if (signal.aborted) return
    await state.files.look()
    await claim.look()
  }
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
