import { createKernel, type Kernel } from '../../kernel/kernel.ts'
import { kindOf } from '../../kernel/kinds/kinds.ts'
import { commandsFor } from '../../kernel/kinds/words.ts'
import { type Obstacle, obstacleText } from '../../kernel/obstacles/packet-path.ts'
import { withJournal } from '../../kernel/reconciler/journal.ts'
import { type OpPlan, preview } from '../../kernel/reconciler/preview.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Folded } from '../node/fold.ts'
import { lookAhead } from '../node/look-ahead.ts'
import type { Options } from '../options/options.ts'
import type { ProcessPort } from '../process-port.ts'
import { instanceOf } from '../state/instance.ts'
import { NOTHING_ON_RECORD, type PeekedState, peekState } from '../state/state-dir.ts'

interface PlanNeeds {
  readonly clock: Clock
  readonly port: ProcessPort
  readonly print: (text: string) => void
}

/**
 * `flanneld plan`: prints, as commands, what the daemon would change on this host now. Leases nothing, so a node without
 * a lease has nothing to plan yet.
 */
export async function runPlan(needs: PlanNeeds, options: Options): Promise<number> {
  const kernel = await createKernel()
  try {
    const state = (await peekState(instanceOf(options).stateDir, needs.port.uid)) ?? NOTHING_ON_RECORD
    const found = await lookAhead({ ...needs, kernel }, { options, state, leases: 'held' }, needs.port.stop)
    for (const warning of found.configuration.warnings) needs.print(`# ${warning}\n`)
    needs.print(found.folded === undefined ? NO_LEASE : await textOf(found.folded, kernel, state))
    return 0
  } finally {
    kernel.close()
  }
}

const NO_LEASE = '# this node holds no lease yet: at its start the daemon leases a subnet first\n'

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
