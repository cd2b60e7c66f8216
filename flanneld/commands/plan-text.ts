import type { Failure } from '../../kernel/desired.ts'
import { kindOf } from '../../kernel/kinds/kinds.ts'
import { type KernelObject, keyOf } from '../../kernel/objects.ts'
import type { Op } from '../../kernel/table.ts'
import type { Interruption } from '../config/interruptions.ts'
import type { Objection } from '../config/objection.ts'

/** What a daemon would do. */
export interface Plan {
  /** Sentences that change nothing. */
  readonly notes: readonly string[]
  readonly hasLease: boolean
  /** In the order of their application. */
  readonly ops: readonly { readonly op: Op<KernelObject>; readonly commands: readonly string[] }[]
  readonly failures: ReadonlyMap<string, Pick<Failure, 'text'>>
  /** Rules of others that would be in the way. */
  readonly obstacles: readonly string[]
  /** From the configuration that the daemons have to one that was given. */
  readonly change?: PlannedChange
}

export interface PlannedChange {
  readonly isSame: boolean
  readonly differences: readonly string[]
  readonly refused: readonly Objection[]
  readonly needsRestart: boolean
  /** Why. */
  readonly obstacle?: string
  /** Steps of a change that has two ways beside each other for a while; none: it is done in one. */
  readonly order: readonly string[]
  readonly interruptions: readonly Interruption[]
}

const NO_LEASE = 'this node holds no lease yet: at its start the daemon leases a subnet first'

/** One command a line; everything else as comments, so that a shell may read it. */
export function planText(plan: Plan): string {
  const { notes, hasLease, ops, failures, obstacles, change } = plan
  const lines = [...notes, ...(change === undefined ? [] : changeLines(change))].map(commented)
  if (change !== undefined && change.refused.length > 0) return `${lines.join('\n')}\n`
  if (!hasLease) return `${[...lines, commented(NO_LEASE)].join('\n')}\n`
  const steps = [...failures].map(([key, { text }]) => commented(`${key}: ${text}`))
  const behindRules = ops.findIndex(({ op: { verb, object } }) => verb === 'remove' || kindOf(object.kind).announces)
  const end = behindRules < 0 ? ops.length : behindRules
  // What stands in the way is named behind the rules that it would be in the way of.
  steps.push(...ops.slice(0, end).flatMap(({ commands }) => commands))
  steps.push(...obstacles.map(commented))
  steps.push(...ops.slice(end).flatMap(({ commands }) => commands))
  if (steps.length === 0 && !change?.order.length) steps.push(commented('nothing to change'))
  return `${[...lines, ...steps].join('\n')}\n`
}

function changeLines(change: PlannedChange): readonly string[] {
  const { isSame, differences, refused, needsRestart, obstacle, order, interruptions } = change
  if (isSame) return ['the configuration is the one that the daemons have']
  const lines = differences.map((text) => `changes ${text}`)
  for (const { path, text, remedy } of refused) lines.push(`refused: ${path}: ${text}; ${remedy}`)
  if (refused.length > 0) return [...lines, 'a running daemon stays as it is']
  const why = obstacle === undefined ? '' : `: ${obstacle}`
  lines.push(
    needsRestart ? `goes into use when the daemon is started again${why}` : 'goes into use while the daemon runs',
  )
  lines.push(...order.map((step, at) => `${at + 1}. ${step}`))
  if (interruptions.length === 0) lines.push('interrupts nothing')
  for (const { text } of interruptions) lines.push(`may interrupt: ${text}`)
  return lines
}

/** It only grows. */
export function planDocument({ notes, hasLease, ops, failures, obstacles, change }: Plan): string {
  const document = {
    apiVersion: 'flannel.plan/v1',
    hasLease,
    ...(change && { change }),
    steps: ops.map(({ op: { verb, object }, commands }) => ({ verb, object: keyOf(object), commands })),
    failures: Array.from(failures, ([object, { text }]) => ({ object, text })),
    obstacles,
    notes,
  }
  return `${JSON.stringify(document, null, 2)}\n`
}

function commented(text: string): string {
  return `# ${text}`
}
