import type { ObjectKind } from '../objects.ts'
import type { GuardKernel } from '../rules/guard-kernel.ts'
import type { RuleMonitor } from '../rules/rule-monitor.ts'

/** What tables of the parts of ingress guards have in common: they are read by netlink, and nf_tables tells of changes. */
export abstract class GuardTable {
  abstract readonly kind: ObjectKind
  protected readonly guard: GuardKernel
  readonly #monitor: RuleMonitor

  constructor(needs: { guard: GuardKernel; monitor: RuleMonitor }) {
    this.guard = needs.guard
    this.#monitor = needs.monitor
  }

  async watch(onChange: () => void, signal: AbortSignal): Promise<void> {
    await this.#monitor.watch(this.kind, onChange, signal)
  }
}
