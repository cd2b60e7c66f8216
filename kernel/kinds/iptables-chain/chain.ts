import type { Family } from '../../../lib/address.ts'
import { canonicalRule, type IptablesWorld } from '../../rules/iptables-words.ts'

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

/** Whether a chain that was read is what is wanted. */
export function sameChain(actual: IptablesChain, desired: IptablesChain): boolean {
  if (actual.rules.length !== desired.rules.length) return false
  if (actual.rules.some((rule, index) => canonicalRule(rule) !== canonicalRule(desired.rules[index] ?? '')))
    return false
  const missing = new Set(actual.jumps.flatMap(({ from, nowhere }) => (nowhere ? [from] : [])))
  const wanted = desired.jumps.filter(({ from, optional }) => !(optional && missing.has(from)))
  const found = actual.jumps.filter(({ nowhere }) => !nowhere)
  return jumpTexts(found) === jumpTexts(wanted)
}

function jumpTexts(jumps: readonly IptablesJump[]): string {
  return JSON.stringify(jumps.map(jumpText).sort())
}

/** The same for jumps that mean the same. */
export function jumpText({ from, rule }: IptablesJump): string {
  return `${from} ${canonicalRule(rule)}`
}
