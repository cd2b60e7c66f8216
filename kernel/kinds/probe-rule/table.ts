import { type NetlinkNeeds, resultOf } from '../../netlink/device-batch.ts'
import { deleteProbeRule, dumpRules, parseProbeRule, writeProbeRule } from '../../netlink/rule-messages.ts'
import type { ObjectTable, Op, OpResult } from '../../table.ts'
import type { ProbeRule } from './kind.ts'

/** Rules of our protocol that lead to the table of probes, and those behind them. */
export class ProbeRuleTable implements ObjectTable<ProbeRule> {
  readonly kind = 'probe-rule'
  readonly #needs: Pick<NetlinkNeeds, 'channel'>

  constructor(needs: Pick<NetlinkNeeds, 'channel'>) {
    this.#needs = needs
  }

  async dump(): Promise<readonly ProbeRule[]> {
    return await this.#needs.channel.dump(dumpRules(), parseProbeRule)
  }

  async apply(ops: readonly Op<ProbeRule>[]): Promise<readonly OpResult[]> {
    const messages = ops.map(({ verb, object }) => (verb === 'remove' ? deleteProbeRule : writeProbeRule)(object))
    return (await this.#needs.channel.request(messages)).map(resultOf)
  }
}
