import type { SavedChain, SavedRules, SavedTable } from '../../rules/iptables-text.ts'
import { ruleWords } from '../../rules/iptables-words.ts'
import { commentOfChain, instanceOfChain } from '../../rules/names.ts'
import type { IptablesChain, IptablesJump } from './chain.ts'

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
