import { randomBytes } from 'node:crypto'
import { createKernel } from '../../kernel/kernel.ts'
import { kindOf } from '../../kernel/kinds/kinds.ts'
import { commandsFor } from '../../kernel/kinds/words.ts'
import { type Obstacle, obstacleText } from '../../kernel/obstacles/packet-path.ts'
import { NO_ENTRIES, originalsOf, scopeWith, withJournal } from '../../kernel/reconciler/journal.ts'
import { type OpPlan, preview } from '../../kernel/reconciler/preview.ts'
import type { Clock } from '../../lib/clock.ts'
import { firstOf } from '../../lib/latest.ts'
import { Lifecycle } from '../../lib/lifecycle.ts'
import { silentLogger } from '../../lib/log.ts'
import { untilFirst } from '../../lib/signals.ts'
import { StoreAddresses } from '../host/store-addresses.ts'
import { chooseTraffic } from '../host/traffic-choice.ts'
import { openEtcd } from '../leases/lease-source.ts'
import { PeerView } from '../leases/peer-view.ts'
import { ConfigWatch } from '../node/config-watch.ts'
import { footprintOf, openHost, planAll, prepareBackend, previousLease } from '../node/node-setup.ts'
import { Planner } from '../node/planner.ts'
import { guardOptions, interfaceWish, previousSubnets, trafficWish } from '../options/node-options.ts'
import type { Options } from '../options/options.ts'
import type { ProcessPort } from '../process-port.ts'
import { instanceOf } from '../state/instance.ts'
import { type PeekedState, peekState } from '../state/state-dir.ts'
import { ConditionSet } from '../status/status.ts'

interface PlanNeeds {
  readonly clock: Clock
  readonly port: ProcessPort
  readonly print: (text: string) => void
}

/** What the daemon would find at its start, read without writing anything anywhere. */
const NOTHING_KNOWN: PeekedState = {
  nodeId: '',
  entries: NO_ENTRIES,
}

/**
 * `flanneld plan`: prints, as commands, what the daemon would change on this host now. Leases nothing, so a node without
 * a lease has nothing to plan yet.
 */
export async function runPlan(needs: PlanNeeds, options: Options): Promise<number> {
  const lifecycle = new Lifecycle({ clock: needs.clock, onFault: () => 'ended' })
  const { stop } = needs.port
  return await untilFirst([stop, lifecycle.signal], (signal) => plan({ ...needs, lifecycle }, options, signal))
}

async function plan(
  { clock, port, print, lifecycle }: PlanNeeds & { lifecycle: Lifecycle },
  options: Options,
  signal: AbortSignal,
): Promise<number> {
  const conditions = new ConditionSet({ clock })
  const kernel = await createKernel()
  try {
    const etcd = openEtcd({ clock, log: silentLogger, conditions, random: Math.random, env: port.env }, options)
    const source = etcd.configSource
    const watch = new ConfigWatch({ source, conditions, log: silentLogger, onFirst: async () => {} })
    const first = firstOf(watch.changes.watch(signal), signal)
    const configuration = await Promise.race([first, fault(watch.run(signal))])
    const { network, backend, config } = configuration
    for (const warning of configuration.warnings) print(`# ${warning}\n`)
    const { nodeId, entries } = (await peekState(instanceOf(options).stateDir, port.uid)) ?? NOTHING_KNOWN
    const { devices } = scopeWith(footprintOf(configuration), entries)
    const leases = etcd.store
    lifecycle.run('lease store', (stop) => leases.run(stop))
    const snapshot = await firstOf(leases.watch(signal), signal)
    const host = openHost(
      { kernel: kernel.host, clock },
      { wish: await interfaceWish(options), network, devices },
      { nodeId, previousSubnets: await previousSubnets(options.subnetFile, silentLogger), snapshot },
    )
    await host.read()
    const own = previousLease(snapshot, nodeId, host)
    if (own === undefined) {
      print('# this node holds no lease yet: at its start the daemon leases a subnet first\n')
      return 0
    }
    const context = { network, previous: own.primary, randomBytes }
    const way = { backend, config, ...(await prepareBackend(configuration, context, host)), since: clock.now() }
    const store = new StoreAddresses({ clock }, { endpoints: options.etcdEndpoints })
    await store.first(signal)
    const beyond = { storeAddresses: store.current, isPlanned: () => false }
    const known = { ours: devices, originals: originalsOf(entries) }
    const sources = { network, ways: [way], host, own, snapshot, ...known, ...beyond }
    const peers = new PeerView({ clock, log: silentLogger }, { protectedRanges: options.protectedCidrs, holdMs: 0 })
    const { subnetFile, ipMasq, ipBlackholeRoute } = options
    const { options: traffic } = await chooseTraffic(kernel.rules.sets, trafficWish(options), network.nftables)
    const memory = { peers, planner: new Planner() }
    const rules = { traffic, guard: guardOptions(options) }
    const planned = await planAll(sources, memory, { subnetFile, ipMasq, blackholeRoute: ipBlackholeRoute, ...rules })
    for (const { id, text } of planned.verdicts.rejected) print(`# lease ${id} is rejected: ${text}\n`)
    for (const { text } of planned.plan.notices) print(`# ${text}\n`)
    for (const { id, text } of planned.plan.skipped) print(`# peer ${id} is skipped: ${text}\n`)
    const changes = await preview(kernel.tables, withJournal(planned.plan.desired, entries))
    const obstacles = await kernel.rules.obstacles.read(planned.plan.packetPaths)
    print(planText(changes, obstacles.flat()))
    return 0
  } finally {
    await lifecycle.stop()
    kernel.close()
  }
}

/** One command a line; what stands in the way as comments, behind the rules that these would be in the way of. */
export function planText({ ops, failures }: OpPlan, obstacles: readonly Obstacle[]): string {
  const lines = [...failures].map(([key, { text }]) => `# ${key}: ${text}`)
  const behindRules = ops.findIndex(({ verb, object }) => verb === 'remove' || kindOf(object.kind).announces)
  const end = behindRules < 0 ? ops.length : behindRules
  lines.push(...ops.slice(0, end).flatMap(commandsFor))
  lines.push(...obstacles.map((obstacle) => `# ${obstacleText(obstacle)}`))
  lines.push(...ops.slice(end).flatMap(commandsFor))
  return lines.length === 0 ? '# nothing to change\n' : `${lines.join('\n')}\n`
}

async function fault(running: Promise<void>): Promise<never> {
  await running
  throw new Error('interrupted')
}
