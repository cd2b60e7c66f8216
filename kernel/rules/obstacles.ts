import { type Cidr, contains, overlaps, parseCidr } from '../../lib/address.ts'
import type { SavedRules, SavedTable } from './iptables-text.ts'
import { instanceOfChain } from './names.ts'
import { type NftExpressions, readNftRule } from './nft-rule.ts'
import { type ClearPath, type IptablesWorld, type Obstacle, programName, ruleWords } from './objects.ts'
import { DIRECTIONS, dropOf, type WalkRule } from './packet-walk.ts'

/** A base chain of somebody's own nftables table on the forward hook. */
export interface ForeignChain {
  /** As in `inet firewalld filter_FORWARD`. */
  readonly name: string
  readonly policy: 'accept' | 'drop'
  /** The expressions of each rule as `nft -j` lists them. */
  readonly rules: readonly NftExpressions[]
  /** The other chains of its table, by name. */
  readonly inner?: ReadonlyMap<string, readonly NftExpressions[]>
}

export interface ForeignRules {
  readonly iptables: readonly { readonly world: IptablesWorld; readonly rules: SavedRules }[]
  readonly chains: readonly ForeignChain[]
}

const MOST = 5

/**
 * What stands in the way of the network's packets, by reading alone. Looks at rules without further conditions, in the chains that
 * packets enter first and those that these lead to: what a rule with a port or an interface does cannot be told for all of the traffic.
 */
export function obstaclesOf(path: Omit<ClearPath, 'obstacles'>, foreign: ForeignRules): readonly Obstacle[] {
  const found: Obstacle[] = []
  for (const { world, rules } of foreign.iptables) {
    const program = programName({ world, family: path.family })
    found.push(...(path.hook === 'forward' ? forwardObstacles : postroutingObstacles)(path.network, program, rules))
  }
  if (path.hook === 'forward') for (const chain of foreign.chains) found.push(...chainObstacles(path, chain))
  return found.slice(0, MOST)
}

interface Rule {
  readonly from: Cidr | undefined
  readonly to: Cidr | undefined
  readonly target: string
  /** Other conditions than addresses. */
  readonly device: string | undefined
  readonly conditional: boolean
  /** One of the addresses is negated. */
  readonly negated: boolean
  /** By `-g`: what the target does not decide does not come back. */
  readonly goes: boolean
  /** For packets of connections that exist. */
  readonly answers: boolean
}

function forwardObstacles(network: Cidr, program: string, saved: SavedRules): readonly Obstacle[] {
  const filter = saved.get('filter')
  const forward = filter?.get('FORWARD')
  if (filter === undefined || forward === undefined) return []
  const rulesOf = (name: string) => filter.get(name)?.rules.map((text) => walkRule(readRule(text), network, filter))
  const found = dropOf('FORWARD', forward.policy === 'DROP' ? 'drop' : 'accept', rulesOf)
  if (found === undefined) return []
  const command = ['-s', '-d'].map((side) => `${program} -I FORWARD ${side} ${network} -j ACCEPT`).join('; ')
  const { drop } = found
  if (drop === undefined) return [{ text: `the policy of ${program} FORWARD drops what no rule accepts`, command }]
  const rule = filter.get(drop.chain)?.rules[drop.rule - 1] ?? ''
  return [{ text: `rule ${drop.rule} of ${program} ${drop.chain} drops overlay traffic: ${rule}`, command }]
}

function walkRule(rule: Rule, network: Cidr, chains: SavedTable): WalkRule {
  const { from, to, target, device, conditional, negated, goes, answers } = rule
  const told = !conditional && !negated && device === undefined
  const whole = (side: Cidr | undefined) => side === undefined || contains(side, network)
  const all = DIRECTIONS.filter((direction) =>
    direction === 'from' ? to === undefined && whole(from) : from === undefined && whole(to),
  )
  return {
    all: told ? all : [],
    some: told && concerns(rule, network) ? DIRECTIONS : [],
    verdict: verdictOf(target, chains, goes),
    answers: answers && target === 'ACCEPT',
  }
}

function verdictOf(target: string, chains: SavedTable, goes: boolean): WalkRule['verdict'] {
  // Ours accepts all of it.
  if (target === 'ACCEPT' || leadsToUs(target)) return 'accept'
  if (target === 'DROP' || target === 'REJECT') return 'drop'
  if (target === 'RETURN') return 'return'
  return chains.has(target) ? { to: target, comesBack: !goes } : 'nothing'
}

function postroutingObstacles(network: Cidr, program: string, saved: SavedRules): readonly Obstacle[] {
  const found: Obstacle[] = []
  for (const [index, text] of (saved.get('nat')?.get('POSTROUTING')?.rules ?? []).entries()) {
    const rule = readRule(text)
    if (leadsToUs(rule.target)) break
    if (!['MASQUERADE', 'SNAT', 'ACCEPT', 'NETMAP'].includes(rule.target) || !concerns(rule, network)) continue
    if (rule.device === 'lo') continue
    const place = `rule ${index + 1} of ${program} -t nat POSTROUTING`
    found.push({ text: `${place} decides about overlay traffic before flannel's rules: ${text}`, command: '' })
  }
  return found
}

function chainObstacles(path: Omit<ClearPath, 'obstacles'>, chain: ForeignChain): readonly Obstacle[] {
  const table = chain.name.slice(0, chain.name.lastIndexOf(' '))
  const entry = chain.name.slice(table.length + 1)
  const found = dropOf(entry, chain.policy, (name) =>
    (name === entry ? chain.rules : chain.inner?.get(name))?.map((expressions) => readNftRule(expressions, path)),
  )
  if (found === undefined) return []
  const { drop } = found
  const ip = path.family === 4 ? 'ip' : 'ip6'
  const insert = ['saddr', 'daddr'].map((side) => `nft insert rule ${chain.name} ${ip} ${side} ${path.network} accept`)
  // firewalld rewrites its table as a whole, and has words of its own for it.
  const zone = `firewall-cmd --permanent --zone=trusted --add-source=${path.network} && firewall-cmd --reload`
  const command = table === 'inet firewalld' ? zone : insert.join('; ')
  if (drop === undefined) return [{ text: `the policy of chain ${chain.name} drops what no rule accepts`, command }]
  return [{ text: `chain ${table} ${drop.chain} drops what no rule before accepts (rule ${drop.rule})`, command }]
}

function concerns(rule: Rule, network: Cidr): boolean {
  if (rule.conditional || rule.negated) return false
  return [rule.from, rule.to].every((side) => side === undefined || overlaps(side, network))
}

function leadsToUs(target: string): boolean {
  return instanceOfChain(target) !== undefined
}

const HARMLESS = new Set([
  '--comment',
  '--random-fully',
  '--random',
  '--reject-with',
  '--to-source',
  '--to-ports',
  '--to',
])

function readRule(text: string): Rule {
  const words = ruleWords(text)
  let from: Cidr | undefined
  let to: Cidr | undefined
  let target = ''
  let device: string | undefined
  let conditional = false
  let negated = false
  for (const [index, word] of words.entries()) {
    const value = words[index + 1] ?? ''
    const not = words[index - 1] === '!'
    if (word === '-s' || word === '-d') {
      negated ||= not
      if (word === '-s') from = parseCidr(value)
      else to = parseCidr(value)
    } else if (word === '-j' || word === '-g') target = value
    else if (word === '-i' || word === '-o') device = value
    else if (word === '-m') conditional ||= value !== 'comment'
    else if (/^--?[a-z]/.test(word)) conditional ||= !HARMLESS.has(word)
  }
  const goes = words.includes('-g')
  const answers = words.some((word) => word.split(',').includes('ESTABLISHED'))
  return { from, to, target, device, conditional, negated, goes, answers }
}
