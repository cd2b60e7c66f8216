import { fingerprint } from '../../../lib/fingerprint.ts'
import { GUARD_COMMENT, instanceOfGuard } from '../../rules/names.ts'
import { nftInput } from '../../rules/nft-text.ts'
import type { Kind } from '../kind.ts'

/**
 * The ingress guard in nf_tables is one table of the family inet in three kinds: sets and counters, then what each peer may send
 * (`guard-peer`), then the chains that judge by it (`guard-chains`). So a chain never stands before the elements without which
 * it would drop everything. Sets filled by peers and by refused packets outlive every rewriting of the chains.
 */
export interface GuardSets {
  readonly kind: 'guard-sets'
  readonly table: string
  readonly sets: readonly GuardSet[]
  /** Names of counters. */
  readonly counters: readonly string[]
  /** Of a table that was read: nothing in it bears our mark. */
  readonly alien?: true
}

export interface GuardSet {
  readonly name: string
  /** In nft's words, statements ended by semicolons; empty of a set that was read. */
  readonly body: string
  /** The set's comment, with a fingerprint of the body. */
  readonly mark: string
}

export const guardSets: Kind<GuardSets> = {
  name: 'guard-sets',
  events: true,
  removed: true,
  empties: ['guard-peer', 'guard-chains'],
  key: ({ table }) => `guard-sets ${table}`,
  compare: (actual, desired) => (setsText(actual) === setsText(desired) ? 'same' : 'recreate'),
  ownership({ alien, table }, _wanted, { scope }) {
    return !alien && instanceOfGuard(table) === (scope.instance ?? '') ? 'ours' : 'foreign'
  },
  describe: ({ table, sets, counters }) => `table inet ${table}: ${sets.length} sets, ${counters.length} counters`,
  commands: {
    create: (object) => nftInput(setsScript(object)),
    update: (object) => nftInput(setsScript(object)),
    remove: (object) => `nft ${setsRemoval(object).trim()}`,
  },
}

/** A set with a comment that tells it from every other one. `keys`: what its elements mean, where the types do not say it. */
export function markedSet(name: string, body: string, keys = ''): GuardSet {
  return { name, body, mark: `${GUARD_COMMENT} ${fingerprint(`${body}${keys}`).slice(0, 8)}` }
}

/** Whether a set of this comment was made by us, in whatever version. */
export function isGuardMark(mark: string): boolean {
  return mark.startsWith(`${GUARD_COMMENT} `)
}

/** Makes the table anew, whatever it was: a script for `nft -f -`, one transaction. Source: nft(8). */
export function setsScript({ table, sets, counters }: GuardSets): string {
  const lines = [`add table inet ${table}`, `delete table inet ${table}`, `table inet ${table} {`]
  for (const name of counters) lines.push(`\tcounter ${name} {`, '\t}')
  for (const { name, body, mark } of sets) lines.push(`\tset ${name} {`, `\t\t${body}`, `\t\tcomment "${mark}"`, '\t}')
  return `${[...lines, '}'].join('\n')}\n`
}

export function setsRemoval({ table }: GuardSets): string {
  return `delete table inet ${table}\n`
}

function setsText({ sets, counters }: GuardSets): string {
  return JSON.stringify([sets.map(({ name, mark }) => [name, mark]).sort(), [...counters].sort()])
}
