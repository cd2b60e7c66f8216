import { messageOf } from '../../../lib/errors.ts'
import { instanceOfTable } from '../../rules/names.ts'
import { runProgram } from '../../rules/program.ts'
import { nftResults } from '../../rules/rule-result.ts'
import type { RuleSets } from '../../rules/rule-sets.ts'
import { type ObjectTable, type Op, OpFailure, type OpResult } from '../../table.ts'
import type { NftTable } from './kind.ts'
import { nftRemoval, nftScript } from './kind.ts'
import { parseNftTable } from './parse.ts'

/**
 * Tables with flannel's names, ours and others'. Read by `nft -j`, written as text: nft 1.0.6 drops the comments of tables from
 * its JSON. `nft` is started only when a rule set has changed since and one of these tables is there.
 */
export class NftablesTable implements ObjectTable<NftTable> {
  readonly kind = 'nft-table'
  readonly #sets: RuleSets
  #known: { readonly generation: number; readonly tables: readonly NftTable[] } | undefined

  constructor(needs: { sets: RuleSets }) {
    this.#sets = needs.sets
  }

  async watch(onChange: () => void, signal: AbortSignal): Promise<void> {
    await this.#sets.monitor.watch(this.kind, onChange, signal)
  }

  async dump(wanted: Iterable<NftTable>): Promise<readonly NftTable[]> {
    const { netfilter } = this.#sets
    const generation = await netfilter.generation()
    if (this.#known !== undefined && this.#known.generation === generation) return this.#known.tables
    const found: NftTable[] = []
    try {
      const own = (await netfilter.tables()).filter(
        ({ family, name }) => family !== 'inet' && instanceOfTable(name) !== undefined,
      )
      const texts = own.map(async ({ family, name }) => await runProgram('nft', ['-j', 'list', 'table', family, name]))
      for (const text of await Promise.all(texts)) {
        const table = parse(text)
        if (table !== undefined) found.push(table)
      }
    } catch (cause) {
      const isWanted = [...wanted].length > 0
      // Without nft nothing can be removed either; where nothing is wanted that is not worth trying again and again.
      if (isWanted || !(cause instanceof OpFailure) || cause.code !== 'ENOSYS') throw cause
    }
    this.#known = generation === undefined ? undefined : { generation, tables: found }
    return found
  }

  async apply(ops: readonly Op<NftTable>[]): Promise<readonly OpResult[]> {
    this.#known = undefined
    return await nftResults(ops.map(({ verb, object }) => (verb === 'remove' ? nftRemoval(object) : nftScript(object))))
  }
}

function parse(json: string): NftTable | undefined {
  try {
    return parseNftTable(json)
  } catch (cause) {
    throw new OpFailure({ code: 'EBADMSG', message: `nft printed what cannot be read: ${messageOf(cause)}` })
  }
}
