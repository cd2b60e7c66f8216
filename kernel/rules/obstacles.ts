import { type Cidr, overlaps, parseCidr } from '../../lib/address.ts'
import type { SavedRules } from './iptables-text.ts'
import { instanceOfChain } from './names.ts'
import { type ClearPath, type IptablesWorld, type Obstacle, programName, ruleWords } from './objects.ts'
import { prefixJson } from './ownership.ts'

/** A base chain of somebody's own nftables table on the forward hook. */
export interface ForeignChain {
  /** As in `inet firewalld filter_FORWARD`. */
  readonly name: string
  readonly policy: 'accept' | 'drop'
  /** The expressions of each rule as `nft -j` lists them. */
  readonly rules: readonly (readonly Record<string, unknown>[])[]
}

export interface ForeignRules {
  readonly iptables: readonly { readonly world: IptablesWorld; readonly rules: SavedRules }[]
  readonly chains: readonly ForeignChain[]
}

const MOST = 5

/**
 * What stands in the way of the network's packets, by reading alone. Looks at rules without further conditions in the chains that
 * packets enter first: what a rule with a connection state, a port or an interface does cannot be told for all of the traffic.
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
}

function forwardObstacles(network: Cidr, program: string, saved: SavedRules): readonly Obstacle[] {
  const filter = saved.get('filter')
  const forward = filter?.get('FORWARD')
  if (filter === undefined || forward === undefined) return []
  const open = { from: false, to: false }
  const remedy = ['-s', '-d'].map((side) => `${program} -I FORWARD ${side} ${network} -j ACCEPT`).join('; ')
  for (const [index, text] of forward.rules.entries()) {
    const rule = readRule(text)
    if (leadsToUs(rule.target)) return []
    // What Docker leaves to its users to open.
    if (
      rule.target === 'DOCKER-USER' &&
      filter.get(rule.target)?.rules.some((inner) => leadsToUs(readRule(inner).target))
    )
      return []
    if (rule.target === 'ACCEPT' && opens(rule, network, open)) return []
    if (!['DROP', 'REJECT'].includes(rule.target) || !concerns(rule, network) || rule.device !== undefined) continue
    return [{ text: `rule ${index + 1} of ${program} FORWARD drops overlay traffic: ${text}`, command: remedy }]
  }
  if (forward.policy !== 'DROP') return []
  return [{ text: `the policy of ${program} FORWARD drops what no rule accepts`, command: remedy }]
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
  const open = { from: false, to: false }
  const ip = path.family === 4 ? 'ip' : 'ip6'
  const command = ['saddr', 'daddr'].map((side) => `nft insert rule ${chain.name} ${ip} ${side} ${path.network} accept`)
  for (const expressions of chain.rules) {
    const text = JSON.stringify(expressions)
    const verdict = ['accept', 'drop', 'reject'].find((word) => expressions.some((expression) => word in expression))
    const bare = expressions.every((expression) => !('match' in expression) && !('vmap' in expression))
    if (verdict === 'accept') {
      if (bare) return []
      if (expressions.length <= 3 && text.includes(prefixJson(path.network))) {
        open.from ||= text.includes('"field":"saddr"')
        open.to ||= text.includes('"field":"daddr"')
      }
      if (open.from && open.to) return []
    } else if (verdict !== undefined && bare) {
      return [{ text: `chain ${chain.name} drops what no rule before accepts`, command: command.join('; ') }]
    }
  }
  if (chain.policy !== 'drop') return []
  return [{ text: `the policy of chain ${chain.name} drops what no rule accepts`, command: command.join('; ') }]
}

function opens(rule: Rule, network: Cidr, open: { from: boolean; to: boolean }): boolean {
  if (rule.conditional || rule.negated || rule.device !== undefined) return false
  if (rule.from === undefined && rule.to === undefined) return true
  if (rule.from === network && rule.to === undefined) open.from = true
  if (rule.to === network && rule.from === undefined) open.to = true
  return open.from && open.to
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
  return { from, to, target, device, conditional, negated }
}
