import type { IptablesWorld } from '../../kernel/rules/iptables-words.ts'
import type { IptablesChoice, RuleSets } from '../../kernel/rules/rule-sets.ts'
import type { Cidr } from '../../lib/address.ts'
import { messageOf } from '../../lib/errors.ts'
import type { TrafficOptions } from '../node/traffic-rules.ts'
import type { Condition } from '../status/status.ts'

/** What the command line says about rules. */
export interface WantedTraffic {
  readonly masquerade: boolean
  readonly randomFully: boolean
  readonly exempt: readonly Cidr[]
  readonly forward: boolean
  readonly instance: string
}

export interface TrafficChoice {
  readonly options: TrafficOptions
  /** Why the rules go where they go. */
  readonly reason: string
  readonly conditions: readonly Condition[]
}

/** Decides which tool the rules are written with. `choice`: which iptables that would be. */
export function chooseTraffic(choice: IptablesChoice, wanted: WantedTraffic, nftables: boolean): TrafficChoice {
  const { world, mixed, reason } = choice
  const randomFully = wanted.randomFully && (nftables || choice.randomFully)
  return {
    options: { ...wanted, randomFully, tool: nftables ? 'nftables' : 'iptables', world },
    reason: nftables ? 'EnableNFTables' : reason,
    conditions: mixed ? [MIXED] : [],
  }
}

/** What is to be said when the choice would be another one by now. */
export function movedRules(chosen: IptablesWorld, now: IptablesWorld): readonly Condition[] {
  if (chosen === now) return []
  const text = `the rules of others are in iptables-${now} now, those of this daemon in iptables-${chosen}`
  const remedy = 'restart the daemon: it decides at its start where rules go'
  return [{ code: 'iptables-other-world', severity: 'warning', text, remedy }]
}

const UNASKED: IptablesChoice = { world: 'nft', reason: 'no rules are wanted', mixed: false, randomFully: true }

const MIXED: Condition = {
  code: 'iptables-two-worlds',
  severity: 'warning',
  text: 'both iptables-nft and iptables-legacy hold rules on this host: a packet passes both, and each shows only its own',
  remedy: 'look at both (iptables-nft-save, iptables-legacy-save) and move all to one of them',
}

/** Asks the host which iptables others use. */
export async function chooseWorld(sets: RuleSets, { masquerade, forward }: WantedTraffic): Promise<IptablesChoice> {
  if (!(masquerade || forward)) return UNASKED
  try {
    return await sets.chooseIptables()
  } catch (cause) {
    // The rules themselves will fail for the same reason, be retried, and say it.
    return { ...UNASKED, reason: `the rules of this host could not be read: ${messageOf(cause)}` }
  }
}
