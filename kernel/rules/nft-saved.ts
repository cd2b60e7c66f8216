import type { NftExpressions } from '../obstacles/nft-rule.ts'
import type { SavedChain, SavedTable } from './iptables-text.ts'
import { commentOfChain, instanceOfChain } from './names.ts'

/** A condition that cannot be written in iptables' words: whoever reads such a rule must not take it for one without conditions. */
export const UNSHOWN = '-m unshown'

interface Listed {
  readonly chain?: { readonly name: string; readonly policy?: string }
  readonly rule?: {
    readonly chain: string
    readonly handle: number
    readonly comment?: string
    readonly expr?: NftExpressions
  }
}

/**
 * A table of iptables-nft as `nft -j list table` shows it, in the words of `iptables-save` as far as it has any: iptables shows nothing
 * of a table with a single rule that it cannot read. Throws a SyntaxError for anything that is no listing.
 */
export function savedFromNft(json: string): SavedTable {
  const items = (JSON.parse(json) as { nftables?: unknown }).nftables
  if (!Array.isArray(items)) throw new SyntaxError('no list of objects')
  const chains = new Map<string, SavedChain & { rules: string[]; handles: number[] }>()
  for (const { chain, rule } of items as readonly Listed[]) {
    if (chain !== undefined) chains.set(chain.name, { policy: chain.policy?.toUpperCase(), rules: [], handles: [] })
    if (rule === undefined) continue
    const here = chains.get(rule.chain)
    here?.rules.push(iptablesWords(rule.expr ?? [], rule.comment))
    here?.handles.push(rule.handle)
  }
  return chains
}

/** A rule in the words of `iptables-save`; what it has no words for becomes `UNSHOWN`. */
export function iptablesWords(expressions: NftExpressions, comment?: string): string {
  const words: string[] = []
  let target = ''
  let commented = comment === undefined ? '' : commentWords(comment)
  for (const expression of expressions) {
    const [key = ''] = Object.keys(expression)
    const value = expression[key]
    const xt = key === 'xt' ? ((value ?? {}) as { type?: string; name?: string }) : undefined
    if (key === 'counter') continue
    const aim = xt?.type === 'target' ? `-j ${xt.name}` : targetWords(key, value)
    if (aim !== undefined) target = aim
    // nft says that there is a comment, not which one; see below.
    else if (xt?.name === 'comment') commented ||= '?'
    else words.push(key === 'match' ? matchWords(value as Match) : UNSHOWN)
  }
  const to = /^-[jg] (\S+)$/.exec(target)?.[1] ?? ''
  // Such a jump into a chain of ours is ours: those of others bear no comment or further conditions.
  if (commented === '?') commented = instanceOfChain(to) === undefined ? '' : commentWords(commentOfChain(to))
  return [...words, commented, target].filter((word) => word !== '').join(' ')
}

interface Match {
  readonly op?: string
  readonly left?: {
    readonly payload?: { readonly protocol?: string; readonly field?: string }
    readonly meta?: { readonly key?: string }
    readonly ct?: { readonly key?: string }
  }
  readonly right?: unknown
}

const OPTIONS: Readonly<Record<string, string>> = { saddr: '-s', daddr: '-d', iifname: '-i', oifname: '-o' }

function matchWords({ op, left, right }: Match): string {
  const states = left?.ct?.key === 'state' && op !== '!=' ? statesOf(right) : undefined
  if (states !== undefined) return `-m conntrack --ctstate ${states}`
  const isAddress = left?.payload?.protocol === 'ip' || left?.payload?.protocol === 'ip6'
  const option = OPTIONS[(isAddress ? left?.payload?.field : left?.meta?.key) ?? '']
  const value = scalar(right)
  if (option === undefined || value === undefined || (op !== '==' && op !== '!=')) return UNSHOWN
  return `${op === '!=' ? '! ' : ''}${option} ${value}`
}

function statesOf(right: unknown): string | undefined {
  const { set } = (right ?? {}) as { set?: unknown }
  const states: readonly unknown[] = [Array.isArray(right) ? right : (set ?? right)].flat()
  const isTold = states.every((state) => typeof state === 'string' && !state.startsWith('@'))
  return isTold ? states.join(',').toUpperCase() : undefined
}

// Names of sets begin with an @.
function scalar(right: unknown): string | undefined {
  if (typeof right === 'string') return right.startsWith('@') ? undefined : right
  const { prefix } = (right ?? {}) as { prefix?: { addr?: unknown; len?: unknown } }
  return prefix === undefined ? undefined : `${prefix.addr}/${prefix.len}`
}

function targetWords(key: string, value: unknown): string | undefined {
  switch (key) {
    case 'accept':
    case 'drop':
    case 'return':
    case 'reject':
    case 'masquerade':
      return `-j ${key.toUpperCase()}`
    case 'jump':
    case 'goto':
      return `${key === 'jump' ? '-j' : '-g'} ${(value as { target?: unknown }).target}`
    default:
      return undefined
  }
}

function commentWords(text: string): string {
  return `-m comment --comment "${text}"`
}

/** iptables prints these in full, too, whatever is on their right side but a set. */
const PRINTED = new Set(['xt', 'counter', 'log', 'limit', 'accept', 'drop', 'reject', 'return', 'jump', 'goto'])
const PRINTED_TARGETS = new Set(['masquerade', 'snat', 'dnat', 'redirect', 'mangle', 'notrack', 'queue'])

/** Whether `iptables-save` prints the rule with all of its conditions: it leaves out sets and maps without a word. */
function isTold(expressions: NftExpressions): boolean {
  return expressions.every((expression) =>
    Object.entries(expression).every(([key, value]) => {
      if (key !== 'match') return PRINTED.has(key) || PRINTED_TARGETS.has(key)
      const text = JSON.stringify((value as Match).right) ?? ''
      const left = Object.keys((value as Match).left ?? {})
      return !/"@|"set":/.test(text) && left.every((word) => ['payload', 'meta', 'ct', '&'].includes(word))
    }),
  )
}

/** What iptables printed, with a mark on each rule of which nft shows conditions that iptables has left out. */
export function withUnshown(saved: SavedTable, json: string): SavedTable {
  const expressions = new Map<string, NftExpressions[]>()
  for (const { rule } of (JSON.parse(json) as { nftables: readonly Listed[] }).nftables) {
    if (rule !== undefined) expressions.set(rule.chain, [...(expressions.get(rule.chain) ?? []), rule.expr ?? []])
  }
  const marked = new Map<string, SavedChain>()
  for (const [name, chain] of saved) {
    const here = expressions.get(name) ?? []
    // Changed between the two readings: nothing is known of any of them.
    const isSame = here.length === chain.rules.length
    const rules = chain.rules.map((rule, index) => (isSame && isTold(here[index] ?? []) ? rule : `${rule} ${UNSHOWN}`))
    marked.set(name, { ...chain, rules })
  }
  return marked
}
