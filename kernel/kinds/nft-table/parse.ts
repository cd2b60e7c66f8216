import type { NftRule } from '../../rules/nft-text.ts'
import type { NftChain, NftTable } from './kind.ts'

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
