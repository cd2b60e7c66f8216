import type { Family } from '../../lib/address.ts'
import { FAMILIES } from '../../lib/address.ts'
import { IptablesReader } from './iptables-reader.ts'
import { IptablesTools } from './iptables-tools.ts'
import type { IptablesWorld } from './iptables-words.ts'
import { instanceOfChain } from './names.ts'
import type { Netfilter } from './netfilter.ts'
import type { RuleMonitor } from './rule-monitor.ts'

export const WORLDS: readonly IptablesWorld[] = ['nft', 'legacy']

/** Where iptables rules of ours belong on this host. */
export interface IptablesChoice {
  readonly world: IptablesWorld
  /** Why, for the log. */
  readonly reason: string
  /** Both worlds hold rules of others: a packet passes both. */
  readonly mixed: boolean
  /** `--random-fully` is known since 1.6.2. */
  readonly randomFully: boolean
}

/** The packet filters of this network namespace, both worlds and both families. */
export class RuleSets {
  readonly netfilter: Netfilter
  readonly monitor: RuleMonitor
  readonly tools = new IptablesTools()
  readonly #readers = new Map<string, IptablesReader>()

  constructor(needs: { netfilter: Netfilter; monitor: RuleMonitor }) {
    this.netfilter = needs.netfilter
    this.monitor = needs.monitor
    for (const world of WORLDS) {
      for (const family of FAMILIES) {
        const readerNeeds = { tools: this.tools, netfilter: this.netfilter }
        this.#readers.set(`${world} ${family}`, new IptablesReader(readerNeeds, { world, family }))
      }
    }
  }

  iptables(world: IptablesWorld, family: Family): IptablesReader {
    const reader = this.#readers.get(`${world} ${family}`)
    if (reader === undefined) throw new TypeError(`no such rules: ${world} ${family}`)
    return reader
  }

  /** Reads the legacy tables of these families, without a program where there are none; true: they differ from what was read before, and who watches rules has been called. */
  async legacyChanged(families: readonly Family[], ifUnreadable: boolean): Promise<boolean> {
    const answers = families.map((family) => this.iptables('legacy', family).poll())
    const changed = (await Promise.all(answers.map((answer) => answer.catch(() => ifUnreadable)))).includes(true)
    if (changed) this.monitor.legacyChanged()
    return changed
  }

  /**
   * Our rules go where the host's own rules live: a rule in the other world would come before or after all of them. @throws
   * OpFailure
   */
  async chooseIptables(): Promise<IptablesChoice> {
    const counts = { nft: await this.#foreignRules('nft'), legacy: await this.#foreignRules('legacy') }
    const standard = await this.tools.standard().catch(() => undefined)
    const mixed = counts.nft > 0 && counts.legacy > 0
    const world: IptablesWorld =
      counts.nft === counts.legacy ? (standard?.world ?? 'nft') : counts.nft > counts.legacy ? 'nft' : 'legacy'
    const tool = await this.tools.of(world).catch(() => undefined)
    const reason =
      counts.nft === counts.legacy
        ? `iptables is iptables-${world} on this host`
        : `rules of others: ${counts.nft} in nf_tables, ${counts.legacy} in the legacy tables`
    return { world, reason, mixed, randomFully: tool === undefined || atLeast(tool.version, [1, 6, 2]) }
  }

  async #foreignRules(world: IptablesWorld): Promise<number> {
    let count = 0
    for (const family of FAMILIES) {
      const tables = await this.iptables(world, family).read()
      for (const chains of tables.values()) {
        for (const [name, { rules }] of chains) {
          if (instanceOfChain(name) !== undefined) continue
          count += rules.filter((rule) => !rule.includes('flanneld ')).length
        }
      }
    }
    return count
  }
}

function atLeast(version: readonly number[], least: readonly number[]): boolean {
  for (const [index, number] of least.entries()) {
    const actual = version[index] ?? 0
    if (actual !== number) return actual > number
  }
  return true
}
