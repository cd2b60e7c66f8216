import type { ObjectTable, Op, OpResult } from '../../table.ts'
import { GuardTable } from '../guard-table.ts'
import type { GuardSets } from './kind.ts'
import { isGuardMark, setsRemoval, setsScript } from './kind.ts'

/** Tables of ingress guards with their sets and counters. Read by netlink; written, once in a while, by `nft`. */
export class GuardSetsTable extends GuardTable implements ObjectTable<GuardSets> {
  readonly kind = 'guard-sets'

  async dump(): Promise<readonly GuardSets[]> {
    const found: GuardSets[] = []
    for (const table of await this.guard.tables()) {
      const sets = await this.guard.sets(table)
      const counters = [...(await this.guard.counters(table)).keys()]
      const isOurs = sets.some(({ mark }) => isGuardMark(mark)) || (await this.#isEmpty(table, sets.length))
      found.push({ kind: 'guard-sets', table, sets, counters, ...(isOurs ? {} : { alien: true as const }) })
    }
    return found
  }

  // Of an empty table nobody can be robbed.
  async #isEmpty(table: string, sets: number): Promise<boolean> {
    return sets === 0 && (await this.guard.chains(table)).length === 0
  }

  async apply(ops: readonly Op<GuardSets>[]): Promise<readonly OpResult[]> {
    return await this.runScripts(
      ops.map(({ verb, object }) => (verb === 'remove' ? setsRemoval(object) : setsScript(object))),
    )
  }
}
