import type { Family } from '../../../lib/address.ts'
import { instanceOfTable, NFT_CHAINS } from '../../rules/names.ts'
import { type NftRule, nftFamily, nftInput, prefixJson } from '../../rules/nft-text.ts'
import type { Kind, Ownership, OwnershipScope } from '../kind.ts'

/** A whole nftables table, rewritten in one transaction. */
export interface NftTable {
  readonly kind: 'nft-table'
  readonly family: Family
  readonly name: string
  readonly chains: readonly NftChain[]
  /** Of a table that was read: it holds what neither we nor flannel make (sets, chains without a hook). */
  readonly alien?: true
}

export interface NftChain {
  readonly name: string
  readonly type: 'nat' | 'filter'
  readonly hook: 'postrouting' | 'forward'
  readonly priority: number
  readonly policy: 'accept' | 'drop'
  readonly rules: readonly NftRule[]
}

export const nftTable: Kind<NftTable> = {
  name: 'nft-table',
  events: true,
  removed: true,
  paced: true,
  alsoDoneBy: ['iptables-chain'],
  key: ({ family, name }) => `nft-table ${nftFamily(family)} ${name}`,
  compare: (actual, desired) => (shapeOf(actual) === shapeOf(desired) ? 'same' : 'update'),
  ownership: (actual, wanted, { scope }) => ownershipOf(actual, wanted, scope),
  describe({ family, name, chains }) {
    const texts = chains.map(
      (chain) => `${chain.name} ${chain.rules.length} rule${chain.rules.length === 1 ? '' : 's'}`,
    )
    return `table ${nftFamily(family)} ${name}: ${texts.join(', ') || 'empty'}`
  },
  commands: {
    create: (object) => nftInput(nftScript(object)),
    update: (object) => nftInput(nftScript(object)),
    remove: (object) => `nft ${nftRemoval(object).trim()}`,
  },
}

/**
 * The name tells: one with our instance in it is ours. flannel's own names belong to the default instance; another one takes
 * away what stands there only if it speaks of a network of its own: flannel ran here in its place.
 */
function ownershipOf(actual: NftTable, wanted: NftTable | undefined, scope: OwnershipScope): Ownership {
  const known: readonly string[] = Object.values(NFT_CHAINS)
  if (actual.alien || actual.chains.some(({ name }) => !known.includes(name))) return 'foreign'
  if (wanted !== undefined) return 'adoptable'
  const named = instanceOfTable(actual.name)
  if (named === (scope.instance ?? '')) return 'ours'
  const rules = actual.chains.flatMap((chain) => chain.rules)
  // Rules with a mark are another instance's, whatever network they speak of.
  if (named !== '' || rules.some(({ mark }) => mark !== '')) return 'foreign'
  return scope.networks.some(({ network }) => rules.some(({ text }) => text.includes(prefixJson(network))))
    ? 'leftover'
    : 'foreign'
}

/** The transaction that makes the table what it shall be, whatever it was. Source: nft(8). */
export function nftScript(table: NftTable): string {
  const name = `${nftFamily(table.family)} ${table.name}`
  const lines = [`add table ${name}`, `delete table ${name}`, `table ${name} {`, `\tcomment "rules for ${table.name}"`]
  for (const chain of table.chains) {
    lines.push(`\tchain ${chain.name} {`)
    lines.push(`\t\ttype ${chain.type} hook ${chain.hook} priority ${chain.priority}; policy ${chain.policy};`)
    for (const { text, mark } of chain.rules) lines.push(`\t\t${text} comment "${mark}"`)
    lines.push('\t}')
  }
  return `${[...lines, '}'].join('\n')}\n`
}

/** Source: nft(8). */
export function nftRemoval(table: NftTable): string {
  return `delete table ${nftFamily(table.family)} ${table.name}\n`
}

function shapeOf(table: NftTable): string {
  return JSON.stringify(
    table.chains.map(({ name, type, hook, priority, policy, rules }) => [
      name,
      type,
      hook,
      priority,
      policy,
      rules.map(({ mark }) => mark),
    ]),
  )
}
