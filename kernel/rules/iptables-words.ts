import type { Family } from '../../lib/address.ts'

/** iptables keeps its rules in nf_tables or in the older x_tables; each has tools of its own, and a packet passes both. */
export type IptablesWorld = 'nft' | 'legacy'

/** The program of a world and family, `iptables-nft` or `ip6tables-legacy`. */
export function programName({ world, family }: { readonly world: IptablesWorld; readonly family: Family }): string {
  return `${family === 4 ? 'iptables' : 'ip6tables'}-${world}`
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
