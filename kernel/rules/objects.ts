import type { Family } from '../../lib/address.ts'

/** Rules of packet filters. They are read and written by the tools `nft` and `iptables`, one object per table or chain. */
export type RuleObject = NftTable | IptablesChain

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

export interface NftRule {
  /** In nft's words, without its comment; of a rule that was read, nft's JSON. */
  readonly text: string
  /** The rule's comment. It holds a fingerprint of the text: the kernel does not give a rule back as it was written. */
  readonly mark: string
}

/** iptables keeps its rules in nf_tables or in the older x_tables; each has tools of its own, and a packet passes both. */
export type IptablesWorld = 'nft' | 'legacy'

/** A chain of our own with the rules that lead into it, rewritten in one transaction. */
export interface IptablesChain {
  readonly kind: 'iptables-chain'
  readonly world: IptablesWorld
  readonly family: Family
  readonly table: 'nat' | 'filter'
  readonly name: string
  /** As `iptables-save` prints them, without `-A CHAIN`. */
  readonly rules: readonly string[]
  /** Of a chain that was read: all rules with our comment that lead here. */
  readonly jumps: readonly IptablesJump[]
  /** The whole chain is wanted only where this chain exists; elsewhere it counts as in place. */
  readonly onlyBeside?: string
}

export interface IptablesJump {
  /** The chain that the rule stands in. */
  readonly from: string
  readonly rule: string
  /** Where a new one goes. */
  readonly place: 'first' | 'last'
  /** Wanted only where `from` exists. */
  readonly optional?: boolean
  /** Of a chain that was read: stands for an optional jump whose `from` is not there. */
  readonly nowhere?: boolean
  /** Of a jump beside rules that iptables cannot read: its number in nft. */
  readonly handle?: number
}

export function isRules(object: { readonly kind: string }): object is RuleObject {
  return object.kind === 'nft-table' || object.kind === 'iptables-chain'
}

export function keyOfRules(object: RuleObject): string {
  switch (object.kind) {
    case 'nft-table':
      return `nft-table ${nftFamily(object.family)} ${object.name}`
    case 'iptables-chain':
      return `iptables-chain ${programName(object)} ${object.table} ${object.name}`
  }
}

/** Both have one key. */
export function sameRules(actual: RuleObject, desired: RuleObject): boolean {
  switch (desired.kind) {
    case 'nft-table':
      return actual.kind === desired.kind && shapeOf(actual) === shapeOf(desired)
    case 'iptables-chain':
      return actual.kind === desired.kind && sameChain(actual, desired)
  }
}

/** As nft calls a table's family. */
export function nftFamily(family: Family): 'ip' | 'ip6' {
  return family === 4 ? 'ip' : 'ip6'
}

/** The program of a world and family, `iptables-nft` or `ip6tables-legacy`. */
export function programName({ world, family }: { readonly world: IptablesWorld; readonly family: Family }): string {
  return `${family === 4 ? 'iptables' : 'ip6tables'}-${world}`
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

function sameChain(actual: IptablesChain, desired: IptablesChain): boolean {
  if (actual.rules.length !== desired.rules.length) return false
  if (actual.rules.some((rule, index) => canonicalRule(rule) !== canonicalRule(desired.rules[index] ?? '')))
    return false
  const missing = new Set(actual.jumps.flatMap(({ from, nowhere }) => (nowhere ? [from] : [])))
  const wanted = desired.jumps.filter(({ from, optional }) => !(optional && missing.has(from)))
  const found = actual.jumps.filter(({ nowhere }) => !nowhere)
  return jumpTexts(found) === jumpTexts(wanted)
}

function jumpTexts(jumps: readonly IptablesJump[]): string {
  return JSON.stringify(jumps.map(({ from, rule }) => `${from} ${canonicalRule(rule)}`).sort())
}

/** A rule as words, quotes removed. */
export function ruleWords(rule: string): readonly string[] {
  return (rule.match(/"(?:\\.|[^"\\])*"|\S+/g) ?? []).map((word) =>
    word.startsWith('"') ? word.slice(1, -1).replace(/\\(.)/g, '$1') : word,
  )
}

/** One text for rules that mean the same: versions of iptables print addresses, interfaces and matches in different orders. */
export function canonicalRule(rule: string): string {
  const parts: string[][] = []
  let negated = false
  for (const word of ruleWords(rule)) {
    if (word === '!') negated = true
    else if (/^--?[a-z]/.test(word)) {
      parts.push(negated ? ['!', word] : [word])
      negated = false
    } else parts.at(-1)?.push(word)
  }
  // `-m comment` says nothing beside `--comment`.
  const texts = parts.filter(([option]) => option !== '-m').map((part) => JSON.stringify(part))
  return texts.sort().join(' ')
}
