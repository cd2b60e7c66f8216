import type { ObjectKind } from '../objects.ts'
import type { GuardKernel } from '../rules/guard-kernel.ts'
import type { RuleMonitor } from '../rules/rule-monitor.ts'
import { nftResults } from '../rules/rule-result.ts'
import type { OpResult } from '../table.ts'

/** What tables of the parts of ingress guards have in common: they are read by netlink, and nf_tables tells of changes. */
export abstract class GuardTable {
  abstract readonly kind: ObjectKind
  protected readonly guard: GuardKernel
  protected readonly monitor: RuleMonitor

  constructor(needs: { guard: GuardKernel; monitor: RuleMonitor }) {
    this.guard = needs.guard
    this.monitor = needs.monitor
  }

  async watch(onChange: () => void, signal: AbortSignal): Promise<void> {
    await this.monitor.watch(this.kind, onChange, signal)
  }

  /** What `nft` does here is no change: else the elements of all peers would be read again after each start. */
  protected async runScripts(scripts: readonly string[]): Promise<readonly OpResult[]> {
    return await this.monitor.passOver((onStart) => nftResults(scripts, onStart))
  }
}
