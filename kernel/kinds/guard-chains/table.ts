import type { ObjectTable, Op, OpResult } from '../../table.ts'
import { GuardTable } from '../guard-table.ts'
import type { GuardChains } from './kind.ts'
import { chainsRemoval, chainsScript } from './kind.ts'

/** The chains of ingress guards, one object for all of a table. Read by netlink; written, once in a while, by `nft`. */
export class GuardChainsTable extends GuardTable implements ObjectTable<GuardChains> {
  readonly kind = 'guard-chains'

  async dump(): Promise<readonly GuardChains[]> {
    const found: GuardChains[] = []
    for (const table of await this.guard.tables()) {
      const chains = await this.guard.chains(table)
      if (chains.length > 0) found.push({ kind: 'guard-chains', table, chains })
    }
    return found
  }

  async apply(ops: readonly Op<GuardChains>[]): Promise<readonly OpResult[]> {
    return await this.runScripts(ops.map(scriptOf))
  }
}

function scriptOf(op: Op<GuardChains>): string {
  if (op.verb === 'remove') return chainsRemoval(op.object)
  return chainsScript(op.object, op.verb === 'create' ? undefined : op.actual)
}
