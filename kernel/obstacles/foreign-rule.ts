import { type Cidr, parseCidr } from '../../lib/address.ts'
import type { SavedTable } from '../rules/iptables-text.ts'
import { ruleWords } from '../rules/iptables-words.ts'
import { instanceOfChain } from '../rules/names.ts'
import { UNSHOWN } from '../rules/nft-saved.ts'
import type { Verdict } from './packet-walk.ts'

/** A rule of `iptables-save` as far as it holds for all of a network's traffic. */
export interface ForeignRule {
  readonly from: Cidr | undefined
  readonly to: Cidr | undefined
  readonly target: string
  /** Other conditions than addresses. */
  readonly device: string | undefined
  readonly conditional: boolean
  /** By a device or a set: all of the traffic may meet it, or none: which, is not known. */
  readonly unknown: boolean
  /** `! -s`, `! -d`: all addresses but these. */
  readonly notFrom: boolean
  readonly notTo: boolean
  /** One of the addresses is negated. */
  readonly negated: boolean
  /** By `-g`: what the target does not decide does not come back. */
  readonly goes: boolean
  /** For packets of connections that exist. */
  readonly answers: boolean
}

/** Where the rule sends a packet. */
export function readTarget(text: string, chains: SavedTable): Verdict {
  const { target, goes } = readRule(text)
  return verdictOf(target, chains, goes)
}

export function verdictOf(target: string, chains: SavedTable, goes: boolean): Verdict {
  // Ours accepts all of it.
  if (target === 'ACCEPT' || leadsToUs(target)) return 'accept'
  if (target === 'DROP' || target === 'REJECT') return 'drop'
  if (target === 'RETURN') return 'return'
  return chains.has(target) ? { to: target, comesBack: !goes } : 'nothing'
}

export function leadsToUs(target: string): boolean {
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

export function readRule(text: string): ForeignRule {
  const words = ruleWords(text)
  let from: Cidr | undefined
  let to: Cidr | undefined
  let target = ''
  let device: string | undefined
  let conditional = false
  let notFrom = false
  let notTo = false
  let unknown = false
  for (const [index, word] of words.entries()) {
    const value = words[index + 1] ?? ''
    const not = words[index - 1] === '!'
    if (word === '-s') [from, notFrom] = [parseCidr(value), not]
    else if (word === '-d') [to, notTo] = [parseCidr(value), not]
    else if (word === '-j' || word === '-g') target = value
    else if (word === '-i' || word === '-o') device = value
    else if (word === '-m') {
      if (value === 'set' || UNSHOWN.endsWith(value)) unknown = true
      else conditional ||= value !== 'comment'
    } else if (word === '--match-set') unknown = true
    else if (/^--?[a-z]/.test(word)) conditional ||= !HARMLESS.has(word)
  }
  const goes = words.includes('-g')
  const answers = words.some((word) => word.split(',').includes('ESTABLISHED'))
  return { from, to, target, device, conditional, unknown, notFrom, notTo, negated: notFrom || notTo, goes, answers }
}
