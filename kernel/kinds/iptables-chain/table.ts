import { FAMILIES } from '../../../lib/address.ts'
import type { IptablesReader } from '../../rules/iptables-reader.ts'
import { NO_RULES, type SavedRules } from '../../rules/iptables-text.ts'
import { type IptablesWorld, programName } from '../../rules/iptables-words.ts'
import { runProgram } from '../../rules/program.ts'
import { ruleResult } from '../../rules/rule-result.ts'
import { type RuleSets, WORLDS } from '../../rules/rule-sets.ts'
import type { ObjectTable, Op, OpResult } from '../../table.ts'
import type { IptablesChain } from './kind.ts'
import { ownChains } from './own-chains.ts'
import { removalText, restoreText, unreadableJumps } from './script.ts'

/** Chains with flannel's names, ours and others', of both worlds and families, each together with the rules that lead into it. */
export class IptablesTable implements ObjectTable<IptablesChain> {
  readonly kind = 'iptables-chain'
  readonly #sets: RuleSets
  /** Worlds in which nothing is wanted and that could not be read: not asked again. */
  readonly #unreadable = new Set<IptablesWorld>()

  constructor(needs: { sets: RuleSets }) {
    this.#sets = needs.sets
  }

  async watch(onChange: () => void, signal: AbortSignal): Promise<void> {
    await this.#sets.monitor.watch(this.kind, onChange, signal)
  }

  async dump(wanted: Iterable<IptablesChain>): Promise<readonly IptablesChain[]> {
    const chains = [...wanted]
    const found: IptablesChain[] = []
    for (const world of WORLDS) found.push(...(await this.#dumpWorld(world, chains)))
    return found
  }

  /** One program for each world and family, both families at once: four chains must be healed well within a second. */
  async apply(ops: readonly Op<IptablesChain>[]): Promise<readonly OpResult[]> {
    const places = new Map<string, Op<IptablesChain>[]>()
    for (const op of ops) {
      const place = programName(op.object)
      places.set(place, [...(places.get(place) ?? []), op])
    }
    const results = new Map<Op<IptablesChain>, OpResult>()
    await Promise.all([...places.values()].map(async (here) => await this.#applyHere(here, results)))
    return ops.map((op) => results.get(op) ?? { ok: true })
  }

  async #dumpWorld(world: IptablesWorld, ofBoth: readonly IptablesChain[]): Promise<IptablesChain[]> {
    const wanted = ofBoth.filter((chain) => chain.world === world)
    if (wanted.length === 0 && this.#unreadable.has(world)) return []
    const found: IptablesChain[] = []
    try {
      const readings = await this.#readings(world, wanted)
      for (const [index, family] of FAMILIES.entries()) {
        const saved = readings[index] ?? NO_RULES
        const chains = ownChains(saved, { world, family })
        const wantedHere = wanted.filter((chain) => chain.family === family)
        for (const chain of chains) {
          const desired = wantedHere.find(({ table, name }) => table === chain.table && name === chain.name)
          const exists = (name: string) => saved.get(chain.table)?.has(name) ?? false
          found.push(desired === undefined ? chain : withAbsentPlaces(chain, desired, exists))
        }
        for (const { role: _role, ...desired } of wantedHere as readonly (IptablesChain & { role?: unknown })[]) {
          if (desired.onlyBeside === undefined || saved.get(desired.table)?.has(desired.onlyBeside)) continue
          // There is nothing to open, so nothing is missing.
          if (!found.some((chain) => chain.family === family && chain.name === desired.name)) found.push(desired)
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

  /** Undefined for a family that cannot be read while another one can: who wants to write there fails by himself. @throws OpFailure */
  async #readings(
    world: IptablesWorld,
    wanted: readonly IptablesChain[],
  ): Promise<readonly (SavedRules | undefined)[]> {
    const readings = await Promise.allSettled(FAMILIES.map((family) => this.#sets.iptables(world, family).read()))
    const refusal = readings.find((reading) => reading.status === 'rejected')
    const isRead = ({ family }: IptablesChain) => readings[FAMILIES.indexOf(family)]?.status === 'fulfilled'
    if (refusal !== undefined && !wanted.some(isRead)) throw refusal.reason
    return readings.map((reading) => (reading.status === 'fulfilled' ? reading.value : undefined))
  }

  async #applyHere(ops: readonly Op<IptablesChain>[], results: Map<Op<IptablesChain>, OpResult>): Promise<void> {
    const [first] = ops
    if (first === undefined) return
    const reader = this.#sets.iptables(first.object.world, first.object.family)
    let before = NO_RULES
    const together = await ruleResult(async () => {
      before = await reader.read()
      const now = before
      await restore(
        reader,
        now,
        ops.map((op) => asFound(op, now)),
      )
    })
    for (const op of ops) results.set(op, together)
    // A program that hangs or is missing would be so for each of them.
    if (together.ok || together.error.code !== 'ESTALE' || ops.length === 1) return
    for (const op of ops) results.set(op, await ruleResult(() => this.#applyAlone(reader, before, op)))
  }

  /** After a transaction in which something was refused: what came before that may be done. */
  async #applyAlone(reader: IptablesReader, before: SavedRules, op: Op<IptablesChain>): Promise<void> {
    const { object } = op
    const now = await reader.read()
    const actual = ownChains(now, object).find(({ table, name }) => table === object.table && name === object.name)
    if (op.verb === 'remove' && actual === undefined && before.get(object.table)?.has(object.name)) return
    if (actual === undefined) await restore(reader, now, [op.verb === 'remove' ? op : { verb: 'create', object }])
    else
      await restore(reader, now, [
        op.verb === 'remove' ? { ...op, object: actual } : { verb: 'update', object, actual },
      ])
  }
}

/** What could not be read when it was not wanted yet may be there already: made once more, its jumps would stand twice. */
function asFound(op: Op<IptablesChain>, now: SavedRules): Op<IptablesChain> {
  const { object } = op
  const actual = ownChains(now, object).find(({ table, name }) => table === object.table && name === object.name)
  return op.verb === 'create' && actual !== undefined ? { verb: 'update', object, actual } : op
}

async function restore(reader: IptablesReader, saved: SavedRules, ops: readonly Op<IptablesChain>[]): Promise<void> {
  const beside = ops.map(unreadableOf).join('')
  if (beside !== '') await runProgram('nft', ['-f', '-'], { input: beside })
  const input = ops.map((op) => textOf(op, (name) => saved.get(op.object.table)?.has(name) ?? false)).join('')
  if (input !== '') await reader.restore(input)
}

function unreadableOf(op: Op<IptablesChain>): string {
  if (op.verb === 'create') return ''
  return op.verb === 'remove' ? unreadableJumps(op.object, undefined) : unreadableJumps(op.actual, op.object)
}

function textOf(op: Op<IptablesChain>, exists: (chain: string) => boolean): string {
  const { object } = op
  if (op.verb === 'remove') return removalText(object, exists)
  if (object.onlyBeside !== undefined && !exists(object.onlyBeside)) {
    // Left from a time when it was wanted for more.
    return op.verb === 'create' ? '' : removalText(op.actual, exists)
  }
  return restoreText(object, op.verb === 'create' ? undefined : op.actual, exists)
}

function withAbsentPlaces(
  chain: IptablesChain,
  desired: IptablesChain,
  exists: (chain: string) => boolean,
): IptablesChain {
  const absent = desired.jumps.filter(({ from, optional }) => optional && !exists(from))
  return { ...chain, jumps: [...chain.jumps, ...absent.map((jump) => ({ ...jump, nowhere: true }))] }
}
