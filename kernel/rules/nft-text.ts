import { fingerprint } from '../../lib/fingerprint.ts'
import { type NftChain, type NftRule, type NftTable, nftFamily } from './objects.ts'

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

/**
 * A device's name in a script. A star at its end would stand for all names that begin so; a quote has no escape in nft's language, so that
 * the whole script of such a name is refused and nothing of it is done.
 */
export function nftName(device: string): string {
  return `"${device.replace(/\*$/, '\\*')}"`
}

export function nftRemoval(table: NftTable): string {
  return `delete table ${nftFamily(table.family)} ${table.name}\n`
}

/**
 * Rules with comments that tell them from all others: number and fingerprint of the whole list, so that a rule that is
 * missing, moved, inserted or written by another version shows.
 */
export function markedRules(comment: string, texts: readonly string[]): readonly NftRule[] {
  const version = fingerprint(texts.join('\n')).slice(0, 8)
  return texts.map((text, index) => ({ text, mark: `${comment} ${index + 1}/${texts.length} ${version}` }))
}

/** What `nft -j list table` says; throws a SyntaxError for anything else. */
export function parseNftTable(json: string): NftTable | undefined {
  const items = (JSON.parse(json) as { nftables?: readonly Record<string, unknown>[] }).nftables
  if (!Array.isArray(items)) throw new SyntaxError('no list of objects')
  const chains = new Map<string, NftChain & { rules: NftRule[] }>()
  let table: { readonly family: 4 | 6; readonly name: string } | undefined
  let alien = false
  for (const item of items as readonly Record<string, Record<string, unknown>>[]) {
    if (item['metainfo']) continue
    if (item['table'])
      table = { family: item['table']['family'] === 'ip6' ? 6 : 4, name: String(item['table']['name']) }
    else if (item['chain']) {
      const chain = readChain(item['chain'])
      if (chain === undefined) alien = true
      else chains.set(chain.name, chain)
    } else if (item['rule']) {
      const { chain, comment, expr } = item['rule']
      chains.get(String(chain))?.rules.push({ text: JSON.stringify(expr), mark: String(comment ?? '') })
    } else alien = true
  }
  if (table === undefined) return undefined
  return { kind: 'nft-table', ...table, chains: [...chains.values()], ...(alien ? { alien: true as const } : {}) }
}

function readChain(chain: Record<string, unknown>): (NftChain & { rules: NftRule[] }) | undefined {
  const { name, type, hook, prio, policy } = chain
  if ((type !== 'nat' && type !== 'filter') || (hook !== 'postrouting' && hook !== 'forward')) return undefined
  const priority = typeof prio === 'number' ? prio : Number.NaN
  return { name: String(name), type, hook, priority, policy: policy === 'drop' ? 'drop' : 'accept', rules: [] }
}
