import { randomBytes } from 'node:crypto'
import { createKernel, type Kernel } from '../../kernel/kernel.ts'
import { kindOf } from '../../kernel/kinds/kinds.ts'
import { commandsFor } from '../../kernel/kinds/words.ts'
import { type Obstacle, obstacleText } from '../../kernel/obstacles/packet-path.ts'
import { NO_ENTRIES, originalsOf, scopeOf, scopeWith, withJournal } from '../../kernel/reconciler/journal.ts'
import { type OpPlan, preview } from '../../kernel/reconciler/preview.ts'
import type { Clock } from '../../lib/clock.ts'
import { Lifecycle } from '../../lib/lifecycle.ts'
import { silentLogger } from '../../lib/log.ts'
import { untilFirst } from '../../lib/signals.ts'
import { previousLease } from '../leases/last-lease.ts'
import { openLeases } from '../leases/open-leases.ts'
import { PeerView } from '../leases/peer-view.ts'
import type { Configuration } from '../node/configuration.ts'
import { type Folded, fold } from '../node/fold.ts'
import { footprintOf } from '../node/footprint.ts'
import { LevelSet, type Levels } from '../node/levels.ts'
import { Planner } from '../node/planner.ts'
import { followSources } from '../node/sources.ts'
import { oneWay } from '../node/ways.ts'
import { agentOptions } from '../options/node-options.ts'
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
  const fault = new AbortController()
  const onFault = (_task: string, cause: unknown) => {
    fault.abort(cause)
    return 'ended' as const
  }
  const lifecycle = new Lifecycle({ clock: needs.clock, onFault })
  const kernel = await createKernel()
  try {
    const state = (await peekState(instanceOf(options).stateDir, needs.port.uid)) ?? NOTHING_KNOWN
    const signals = [needs.port.stop, fault.signal]
    const found = await untilFirst(signals, (signal) =>
      look({ ...needs, lifecycle, kernel }, { options, state }, signal),
    )
    for (const warning of found.configuration.warnings) needs.print(`# ${warning}\n`)
    needs.print(found.folded === undefined ? NO_LEASE : await textOf(found.folded, kernel, state))
    return 0
  } finally {
    await lifecycle.stop()
    kernel.close()
  }
}

const NO_LEASE = '# this node holds no lease yet: at its start the daemon leases a subnet first\n'

/** The daemon's fold, with nobody who leases or applies anything. Without an own lease there is nothing to fold. */
async function look(
  { clock, port, lifecycle, kernel }: PlanNeeds & { lifecycle: Lifecycle; kernel: Kernel },
  { options, state }: { options: Options; state: PeekedState },
  signal: AbortSignal,
): Promise<{ configuration: Configuration; folded: Folded | undefined }> {
  const conditions = new ConditionSet({ clock })
  const log = silentLogger
  const { nodeId, entries } = state
  const leases = await openLeases({ clock, log, conditions, random: Math.random, env: port.env }, options, nodeId)
  const agent = { ...(await agentOptions(options, { nodeId, storeEndpoints: leases.endpoints }, log)), holdMs: 0 }
  const levels = new LevelSet()
  const owned = ({ configuration }: Levels) =>
    configuration === undefined ? scopeOf(entries) : scopeWith(footprintOf([configuration]), entries)
  const parts = { kernel, conditions, lifecycle, clock, log, randomBytes, levels, claim: async () => {} }
  const host = { devices: () => owned(levels.current).devices, overlay: () => undefined }
  const sources = followSources({ ...leases, ...parts, ...host }, agent)
  const peers = new PeerView({ clock, log }, agent)
  const needs = { ...sources, peers, planner: new Planner(), keeper: { setWant: () => {} }, wantedWays: oneWay }
  for await (const known of levels.changes.watch(signal)) {
    const { configuration, leases, traffic } = known
    const own = leases && known.host && previousLease(leases, nodeId, known.host)
    if (configuration && known.host !== undefined && own === undefined) return { configuration, folded: undefined }
    const lease = own && ({ at: 'held', own: { lease: own, expiresAt: undefined, version: '' } } as const)
    const memory = { ours: owned(known).devices, originals: originalsOf(entries), isPlanned: () => false }
    const folded = await fold({ ...known, ...(lease && { lease }) }, needs, memory, agent)
    if (configuration && folded !== undefined && traffic !== undefined) return { configuration, folded }
  }
  throw signal.reason
}

async function textOf({ verdicts, plan }: Folded, kernel: Kernel, { entries }: PeekedState): Promise<string> {
  const lines = [
    ...verdicts.rejected.map(({ id, text }) => `# lease ${id} is rejected: ${text}\n`),
    ...plan.notices.map(({ text }) => `# ${text}\n`),
    ...plan.skipped.map(({ id, text }) => `# peer ${id} is skipped: ${text}\n`),
  ]
  const changes = await preview(kernel.tables, withJournal(plan.desired, entries))
  const obstacles = await kernel.rules.obstacles.read(plan.packetPaths)
  return `${lines.join('')}${planText(changes, obstacles.flat())}`
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
