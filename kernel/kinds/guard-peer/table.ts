import { FAMILIES, type Family, type IpAddr } from '../../../lib/address.ts'
import { addElements, type SetElement, type SetName } from '../../netlink/set-element-messages.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../../table.ts'
import { GuardTable } from '../guard-table.ts'
import { batches, type Change, deleteStep, messageOf, SET_NAMES, type Step, setOf } from './changes.ts'
import type { GuardPeer, Path, Sender } from './kind.ts'

/** So many are not worth a try together. */
const FEW = 16

interface FoundPeer extends GuardPeer {
  readonly subnets: IpAddr[]
  readonly vteps: IpAddr[]
  readonly senders: Sender[]
  readonly paths: Path[]
}

/**
 * What the sets of ingress guards hold for each peer, read and written by netlink. Where there are no sets nothing can be held, and
 * everything counts as in place: that the sets are missing is told once, not once a peer. That sets made anew hold nothing is
 * known by their kind (`empties` of guard-sets), to the pass as to the plan.
 */
export class GuardPeersTable extends GuardTable implements ObjectTable<GuardPeer> {
  readonly kind = 'guard-peer'
  #generation: number | undefined

  async dump(wanted: Iterable<GuardPeer>): Promise<readonly GuardPeer[]> {
    this.#generation = await this.guard.netfilter.generation()
    const peers: GuardPeer[] = []
    const tables = new Set<string>()
    for (const table of await this.guard.tables()) {
      const sets = new Set((await this.guard.sets(table)).map(({ name }) => name))
      const needed = FAMILIES.flatMap((family) => SET_NAMES.map((name) => setOf(name, table, family).set))
      if (!needed.every((name) => sets.has(name))) continue
      tables.add(table)
      for (const family of FAMILIES) peers.push(...(await this.#peers(table, family)))
    }
    return [...peers, ...[...wanted].filter(({ table }) => !tables.has(table))]
  }

  async unchanged(): Promise<boolean> {
    return this.#generation !== undefined && this.#generation === (await this.guard.netfilter.generation())
  }

  async #peers(table: string, family: Family): Promise<readonly GuardPeer[]> {
    const found = new Map<string, FoundPeer>()
    const peerOf = (comment: string) => {
      const name = comment === '' ? `?${family}` : comment
      const known = found.get(name)
      if (known !== undefined) return known
      const peer: FoundPeer = {
        kind: 'guard-peer',
        table,
        family,
        name,
        subnets: [],
        vteps: [],
        senders: [],
        paths: [],
      }
      found.set(name, peer)
      return peer
    }
    for (const { comment, source } of await this.guard.elements(setOf('subnets', table, family))) {
      peerOf(comment).subnets.push(source)
    }
    for (const { comment, source } of await this.guard.elements(setOf('vteps', table, family))) {
      peerOf(comment).vteps.push(source)
    }
    for (const { comment, source, device } of await this.guard.elements(setOf('senders', table, family))) {
      peerOf(comment).senders.push({ device: device ?? '', source })
    }
    for (const { comment, source, outer } of await this.guard.elements(setOf('paths', table, family))) {
      peerOf(comment).paths.push({ outer: outer ?? source, source })
    }
    return [...found.values()]
  }

  async apply(ops: readonly Op<GuardPeer>[]): Promise<readonly OpResult[]> {
    const results: OpResult[] = ops.map(() => ({ ok: true }))
    for (const batch of batches(ops)) {
      for (const [index, error] of await this.#applyBatch(batch)) results[index] = { ok: false, error }
      this.monitor.catchUp()
    }
    return results
  }

  /** A refused change leaves the transaction, the rest is tried again without it. */
  async #applyBatch(batch: readonly Change[]): Promise<ReadonlyMap<number, OpError>> {
    const refused = new Map<number, OpError>()
    const taken = new Set<Step>()
    let rest = await this.#ownDeletes(batch)
    for (;;) {
      // Deletes first: what one peer gives up another one may take.
      const steps = [...rest.flatMap(({ deletes }) => deletes), ...rest.flatMap(({ adds }) => adds)]
      if (steps.length === 0) return refused
      if (steps.length > FEW && taken.size === 0 && refused.size === 0 && (await this.#addTogether(steps)))
        return refused
      const verdicts = await this.guard.transact(steps.map(messageOf))
      const again = new Map(rest.map((change) => [change.index, change]))
      const inTheWay = new Set<Step>()
      for (const [at, step] of steps.entries()) {
        const verdict = verdicts[at]
        if (verdict === undefined) continue
        // Another name is on it: an address has gone from one peer to another, or is shared.
        if (verdict.code === 'EEXIST' && !taken.has(step)) inTheWay.add(step)
        else {
          refused.set(step.index, verdict)
          again.delete(step.index)
        }
      }
      if (verdicts.every((verdict) => verdict === undefined)) return refused
      rest = await this.#clearing([...again.values()], inTheWay)
      for (const step of inTheWay) taken.add(step)
    }
  }

  /** True: it is done. In half the time, but what was refused is not known. */
  async #addTogether(steps: readonly Step[]): Promise<boolean> {
    if (steps.some(({ verb, anyName }) => verb === 'delete' || anyName)) return false
    const bySet = new Map<SetName, SetElement[]>()
    for (const { set, item } of steps) {
      const known = bySet.get(set)
      if (known === undefined) bySet.set(set, [item])
      else known.push(item)
    }
    const messages = [...bySet].flatMap(([set, items]) => addElements(set, items))
    return (await this.guard.transact(messages)).every((verdict) => verdict === undefined)
  }

  /** Without what another peer's name is on by now: a peer that leaves must not take along what has become another's. */
  async #ownDeletes(changes: readonly Change[]): Promise<readonly Change[]> {
    const doomed = changes.flatMap(({ deletes }) => deletes)
    if (doomed.length === 0) return changes
    const comments = await this.guard.commentsOf(doomed)
    let at = 0
    return changes.map((change) => ({
      ...change,
      deletes: change.deletes.filter(({ item }) => comments[at++] === item.comment),
    }))
  }

  /** With deletes of what is in the way; of what may bear any name the addition is left out. */
  async #clearing(changes: readonly Change[], inTheWay: ReadonlySet<Step>): Promise<readonly Change[]> {
    const result: Change[] = []
    for (const change of changes) {
      const adds = change.adds.filter((step) => !(step.anyName && inTheWay.has(step)))
      const clashes = adds.filter((step) => inTheWay.has(step))
      const comments = await this.guard.commentsOf(clashes)
      // One that is not there came earlier in this very transaction: it will be refused again, and that is right.
      const deletes = clashes.filter((_step, at) => comments[at] !== undefined).map(deleteStep)
      result.push({ ...change, adds, deletes: [...change.deletes, ...deletes] })
    }
    return result
  }
}
