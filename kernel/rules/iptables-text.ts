import { commentOfChain, instanceOfChain } from './names.ts'
import { canonicalRule, type IptablesChain, type IptablesJump, nftFamily, ruleWords } from './objects.ts'

/** Everything that one `iptables-save` printed. */
export type SavedRules = ReadonlyMap<string, SavedTable>
export type SavedTable = ReadonlyMap<string, SavedChain>

export interface SavedChain {
  /** Undefined for chains that users made. */
  readonly policy: string | undefined
  /** Without `-A CHAIN`, in order. */
  readonly rules: readonly string[]
  /** The rules' numbers in nft, of a chain that iptables cannot read. */
  readonly handles?: readonly number[]
}

export const NO_RULES: SavedRules = new Map()

/** Source: iptables-save(8); lines that it does not know are skipped. Throws a SyntaxError for a text that ends within a table. */
export function parseSaved(text: string): SavedRules {
  const tables = new Map<string, Map<string, { policy: string | undefined; rules: string[] }>>()
  let chains: Map<string, { policy: string | undefined; rules: string[] }> | undefined
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      if (chains !== undefined) throw new SyntaxError('a table does not end')
      chains = new Map()
      tables.set(line.slice(1).trim(), chains)
    } else if (line === 'COMMIT') chains = undefined
    else if (line.startsWith(':')) {
      const [name = '', policy = '-'] = line.slice(1).split(' ')
      chains?.set(name, { policy: policy === '-' ? undefined : policy, rules: [] })
    } else if (line.startsWith('-A ')) {
      const end = line.indexOf(' ', 3)
      const name = end < 0 ? line.slice(3) : line.slice(3, end)
      chains?.get(name)?.rules.push(end < 0 ? '' : line.slice(end + 1).trim())
    }
  }
  if (chains !== undefined) throw new SyntaxError('the last table does not end')
  return tables
}

/** Chains of ours, of other instances and of flannel, with the rules that lead into them. */
export function ownChains(saved: SavedRules, where: Pick<IptablesChain, 'world' | 'family'>): readonly IptablesChain[] {
  const found: IptablesChain[] = []
  for (const table of ['nat', 'filter'] as const) {
    const chains = saved.get(table) ?? new Map<string, SavedChain>()
    for (const [name, { rules }] of chains) {
      if (instanceOfChain(name) === undefined) continue
      const jumps = jumpsInto(name, commentOfChain(name), chains)
      found.push({ kind: 'iptables-chain', ...where, table, name, rules, jumps })
    }
  }
  return found
}

// A jump without our comment was laid by somebody who knows what he does.
function jumpsInto(target: string, comment: string, chains: SavedTable): readonly IptablesJump[] {
  const jumps: IptablesJump[] = []
  for (const [from, { rules, handles }] of chains) {
    for (const [index, rule] of rules.entries()) {
      if (!rule.includes(target)) continue
      const words = ruleWords(rule)
      if (words[words.indexOf('-j') + 1] === target && words.includes(comment))
        jumps.push({ from, rule, place: 'last', ...(handles && { handle: handles[index] ?? 0 }) })
    }
  }
  return jumps
}

/**
 * Input of `iptables-restore --noflush` that makes the chain and its jumps what they shall be, in one transaction. A jump that
 * is right stays where it is. `exists` tells whether a chain that an optional jump would stand in is there.
 */
export function restoreText(
  chain: IptablesChain,
  actual: IptablesChain | undefined,
  exists: (chain: string) => boolean,
): string {
  const lines = [`*${chain.table}`, `:${chain.name} - [0:0]`]
  const wanted = chain.jumps.filter(({ from, optional }) => !optional || exists(from))
  const missing = new Map(wanted.map((jump) => [jumpText(jump), jump]))
  for (const jump of actual?.jumps ?? []) {
    if (jump.nowhere) continue
    // What is wanted stays once; of two equal rules the first goes.
    if (!missing.delete(jumpText(jump)) && jump.handle === undefined) lines.push(`-D ${jump.from} ${jump.rule}`)
  }
  for (const rule of chain.rules) lines.push(`-A ${chain.name} ${rule}`)
  for (const { from, rule, place } of missing.values()) lines.push(`${place === 'first' ? '-I' : '-A'} ${from} ${rule}`)
  return `${[...lines, 'COMMIT'].join('\n')}\n`
}

export function removalText(chain: IptablesChain): string {
  const jumps = chain.jumps
    .filter(({ nowhere, handle }) => !nowhere && handle === undefined)
    .map(({ from, rule }) => `-D ${from} ${rule}`)
  return `${[`*${chain.table}`, ...jumps, `-F ${chain.name}`, `-X ${chain.name}`, 'COMMIT'].join('\n')}\n`
}

/**
 * The same for jumps that iptables cannot take away, because it cannot read the rules beside them: a script for nft, to be run before;
 * empty where there are none. Removes all of them where nothing is wanted.
 */
export function unreadableJumps(actual: IptablesChain, wanted: IptablesChain | undefined): string {
  const missing = new Set(wanted?.jumps.map(jumpText))
  return actual.jumps
    .filter((jump) => !missing.delete(jumpText(jump)) && jump.handle !== undefined)
    .map(({ from, handle }) => `delete rule ${nftFamily(actual.family)} ${actual.table} ${from} handle ${handle}\n`)
    .join('')
}

function jumpText({ from, rule }: IptablesJump): string {
  return `${from} ${canonicalRule(rule)}`
}
