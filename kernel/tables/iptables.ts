import { FAMILIES } from '../../lib/address.ts'
import { ownChains, removalText, restoreText } from '../rules/iptables-text.ts'
import { FORWARD_COMMENT, MASQUERADE_CHAIN, MASQUERADE_COMMENT } from '../rules/names.ts'
import type { IptablesChain, IptablesWorld } from '../rules/objects.ts'
import { type RuleSets, WORLDS } from '../rules/rule-sets.ts'
import type { ObjectTable, Op, OpResult } from '../table.ts'
import { ruleResult } from './rule-result.ts'

/** Chains with flannel's names, ours and others', of both worlds and families, each together with the rules that lead into it. */
export class IptablesTable implements ObjectTable<IptablesChain> {
  readonly kind = 'iptables-chain'
  readonly #sets: RuleSets
  /** Worlds in which nothing is wanted and that could not be read: not asked again. */
  readonly #unreadable = new Set<IptablesWorld>()

  constructor(needs: { sets: RuleSets }) {
    this.#sets = needs.sets
  }

  async dump(wanted: Iterable<IptablesChain>): Promise<readonly IptablesChain[]> {
    const wishes = [...wanted]
    const found: IptablesChain[] = []
    for (const world of WORLDS) found.push(...(await this.#dumpWorld(world, wishes)))
    return found
  }

  async apply(ops: readonly Op<IptablesChain>[]): Promise<readonly OpResult[]> {
    const results: OpResult[] = []
    for (const op of ops) results.push(await ruleResult(() => this.#apply(op)))
    return results
  }

  async #dumpWorld(world: IptablesWorld, wishes: readonly IptablesChain[]): Promise<IptablesChain[]> {
    const wanted = wishes.filter((wish) => wish.world === world)
    if (wanted.length === 0 && this.#unreadable.has(world)) return []
    const found: IptablesChain[] = []
    try {
      for (const family of FAMILIES) {
        const saved = await this.#sets.iptables(world, family).read()
        const chains = ownChains(saved, { world, family }, commentOf)
        const wishesHere = wanted.filter((wish) => wish.family === family)
        for (const chain of chains) {
          const wish = wishesHere.find(({ table, name }) => table === chain.table && name === chain.name)
          const exists = (name: string) => saved.get(chain.table)?.has(name) ?? false
          found.push(wish === undefined ? chain : withAbsentPlaces(chain, wish, exists))
        }
        for (const { role: _role, ...wish } of wishesHere as readonly (IptablesChain & { role?: unknown })[]) {
          if (wish.onlyBeside === undefined || saved.get(wish.table)?.has(wish.onlyBeside)) continue
          // There is nothing to open, so nothing is missing.
          if (!found.some((chain) => chain.family === family && chain.name === wish.name)) found.push(wish)
        }
      }
      this.#unreadable.delete(world)
      return found
    } catch (cause) {
      // A world whose tool is missing or broken must not stop what is wanted in the other one.
      if (wanted.length > 0) throw cause
      this.#unreadable.add(world)
      return []
    }
  }

  async #apply(op: Op<IptablesChain>): Promise<void> {
    const { object } = op
    const reader = this.#sets.iptables(object.world, object.family)
    if (op.verb === 'remove') {
      await reader.restore(removalText(object))
      return
    }
    const saved = await reader.read()
    const exists = (name: string) => saved.get(object.table)?.has(name) ?? false
    if (object.onlyBeside !== undefined && !exists(object.onlyBeside)) {
      // Left from a time when it was wanted for more.
      if (op.verb !== 'create') await reader.restore(removalText(op.actual))
      return
    }
    await reader.restore(restoreText(object, op.verb === 'create' ? undefined : op.actual, exists))
  }
}

function withAbsentPlaces(
  chain: IptablesChain,
  wish: IptablesChain,
  exists: (chain: string) => boolean,
): IptablesChain {
  const absent = wish.jumps.filter(({ from, optional }) => optional && !exists(from))
  return { ...chain, jumps: [...chain.jumps, ...absent.map((jump) => ({ ...jump, nowhere: true }))] }
}

function commentOf(chain: string): string {
  return chain.startsWith(MASQUERADE_CHAIN) ? MASQUERADE_COMMENT : FORWARD_COMMENT
}
