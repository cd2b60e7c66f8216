import { instanceOfGuard } from '../../rules/names.ts'
import { type NftRule, nftInput } from '../../rules/nft-text.ts'
import type { Kind } from '../kind.ts'

/** The chains of an ingress guard, all of them in one object. */
export interface GuardChains {
  readonly kind: 'guard-chains'
  readonly table: string
  readonly chains: readonly GuardChain[]
}

export interface GuardChain {
  readonly name: string
  /** Absent of a chain that others jump to. */
  readonly base?: { readonly hook: GuardHook; readonly priority: number }
  readonly rules: readonly NftRule[]
}

/** `other`: of a chain that was read, any hook that is none of ours. */
export type GuardHook = 'prerouting' | 'input' | 'forward' | 'other'

export const guardChains: Kind<GuardChains> = {
  name: 'guard-chains',
  events: true,
  removed: true,
  key: ({ table }) => `guard-chains ${table}`,
  compare: (actual, desired) => (chainsText(actual) === chainsText(desired) ? 'same' : 'update'),
  ownership: ({ table }, _wanted, { scope }) =>
    instanceOfGuard(table) === (scope.instance ?? '') ? 'ours' : 'foreign',
  describe({ table, chains }) {
    const rules = chains.reduce((sum, chain) => sum + chain.rules.length, 0)
    return `table inet ${table}: ${chains.length} chains, ${rules} rules`
  },
  commands: {
    create: (object) => nftInput(chainsScript(object, undefined)),
    update: (object, actual) => nftInput(chainsScript(object, actual)),
    remove: (object) => nftInput(chainsRemoval(object)).join('\n'),
  },
}

/** What is in the table's chains is replaced; its sets keep their elements and its counters their numbers. A script for `nft -f -`, one transaction. Source: nft(8). */
export function chainsScript(desired: GuardChains, actual: GuardChains | undefined): string {
  const lines = [...(actual?.chains ?? []).map(({ name }) => `flush chain inet ${desired.table} ${name}`)]
  for (const chain of actual?.chains ?? []) {
    if (!isKept(chain, desired)) lines.push(`delete chain inet ${desired.table} ${chain.name}`)
  }
  lines.push(`table inet ${desired.table} {`)
  // A chain must be there before a rule jumps to it: those that others jump to come first.
  const ordered = [...desired.chains].sort((a, b) => Number(a.base !== undefined) - Number(b.base !== undefined))
  for (const { name, base, rules } of ordered) {
    lines.push(`\tchain ${name} {`)
    if (base !== undefined) lines.push(`\t\ttype filter hook ${base.hook} priority ${base.priority}; policy accept;`)
    for (const { text, mark } of rules) lines.push(`\t\t${text} comment "${mark}"`)
    lines.push('\t}')
  }
  return `${[...lines, '}'].join('\n')}\n`
}

function isKept(chain: GuardChain, { chains }: GuardChains): boolean {
  const wanted = chains.find(({ name }) => name === chain.name)
  return (
    wanted !== undefined && wanted.base?.hook === chain.base?.hook && wanted.base?.priority === chain.base?.priority
  )
}

export function chainsRemoval({ table, chains }: GuardChains): string {
  const lines = chains.map(({ name }) => `flush chain inet ${table} ${name}`)
  return `${[...lines, ...chains.map(({ name }) => `delete chain inet ${table} ${name}`)].join('\n')}\n`
}

function chainsText({ chains }: GuardChains): string {
  return JSON.stringify(
    chains
      .map(({ name, base, rules }) => [name, base?.hook, base?.priority, rules.map(({ mark }) => mark)] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )
}
