import type { Family, IpAddr } from '../../../lib/address.ts'
import { FAMILIES } from '../../../lib/address.ts'
import {
  addElement,
  addElements,
  deleteElement,
  type SetElement,
  type SetName,
} from '../../netlink/set-element-messages.ts'
import { type GuardKernel, MOST_BYTES } from '../../rules/guard-kernel.ts'
import type { RuleMonitor } from '../../rules/rule-monitor.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../../table.ts'
import { type GuardPeer, type Path, type Sender, samePath, sameSender } from './kind.ts'

/** Bytes of one element's message. */
const LARGEST = 256
/** So many are not worth a try together. */
const FEW = 16

const KEYS = { subnets: 'address', vteps: 'address', senders: 'device', paths: 'pair' } as const
const NAMES = ['subnets', 'vteps', 'senders', 'paths'] as const

/** Few, and each the same value again. */
const sets = new Map<string, SetName>()

function setOf(name: keyof typeof KEYS, table: string, family: Family): SetName {
  const key = `${name}${family} ${table}`
  let set = sets.get(key)
  if (set === undefined) {
    set = { table, set: `${name}${family}`, keys: KEYS[name] }
    sets.set(key, set)
  }
  return set
}

/** One element that comes or goes. */
interface Step {
  /** Of the operation that it belongs to. */
  readonly index: number
  readonly set: SetName
  readonly item: SetElement
  readonly verb: 'add' | 'delete'
  /** It may be there under whatever name. */
  readonly anyName?: true
}

interface Change {
  readonly index: number
  readonly adds: readonly Step[]
  readonly deletes: readonly Step[]
}

interface FoundPeer extends GuardPeer {
  readonly subnets: IpAddr[]
  readonly vteps: IpAddr[]
  readonly senders: Sender[]
  readonly paths: Path[]
}

/**
 * What the sets of ingress guards hold for each peer, read and written by netlink. Where there are no sets nothing can be held, and
 * everything counts as in place: that the sets are missing is told once, not once a peer. That sets made anew hold nothing is
 * known by their kind (`empties` in order.ts), to the pass as to the plan.
 */
export class GuardPeersTable implements ObjectTable<GuardPeer> {
  readonly kind = 'guard-peer'
  readonly #guard: GuardKernel
  readonly #monitor: RuleMonitor
  #generation: number | undefined

  constructor(needs: { guard: GuardKernel; monitor: RuleMonitor }) {
    this.#guard = needs.guard
    this.#monitor = needs.monitor
  }

  async watch(onChange: () => void, signal: AbortSignal): Promise<void> {
    await this.#monitor.watch(this.kind, onChange, signal)
  }

  async dump(wanted: Iterable<GuardPeer>): Promise<readonly GuardPeer[]> {
    this.#generation = await this.#guard.netfilter.generation()
    const peers: GuardPeer[] = []
    const tables = new Set<string>()
    for (const table of await this.#guard.tables()) {
      const sets = new Set((await this.#guard.sets(table)).map(({ name }) => name))
      const needed = FAMILIES.flatMap((family) => NAMES.map((name) => setOf(name, table, family).set))
      if (!needed.every((name) => sets.has(name))) continue
      tables.add(table)
      for (const family of FAMILIES) peers.push(...(await this.#peers(table, family)))
    }
    return [...peers, ...[...wanted].filter(({ table }) => !tables.has(table))]
  }

  async unchanged(): Promise<boolean> {
    return this.#generation !== undefined && this.#generation === (await this.#guard.netfilter.generation())
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
    for (const { comment, source } of await this.#guard.elements(setOf('subnets', table, family))) {
      peerOf(comment).subnets.push(source)
    }
    for (const { comment, source } of await this.#guard.elements(setOf('vteps', table, family))) {
      peerOf(comment).vteps.push(source)
    }
    for (const { comment, source, device } of await this.#guard.elements(setOf('senders', table, family))) {
      peerOf(comment).senders.push({ device: device ?? '', source })
    }
    for (const { comment, source, outer } of await this.#guard.elements(setOf('paths', table, family))) {
      peerOf(comment).paths.push({ outer: outer ?? source, source })
    }
    return [...found.values()]
  }

  async apply(ops: readonly Op<GuardPeer>[]): Promise<readonly OpResult[]> {
    const results: OpResult[] = ops.map(() => ({ ok: true }))
    for (const batch of batches(ops)) {
      for (const [index, error] of await this.#applyBatch(batch)) results[index] = { ok: false, error }
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
      const verdicts = await this.#guard.transact(steps.map(messageOf))
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
    return (await this.#guard.transact(messages)).every((verdict) => verdict === undefined)
  }

  /** Without what another peer's name is on by now: a peer that leaves must not take along what has become another's. */
  async #ownDeletes(changes: readonly Change[]): Promise<readonly Change[]> {
    const doomed = changes.flatMap(({ deletes }) => deletes)
    if (doomed.length === 0) return changes
    const comments = await this.#guard.commentsOf(doomed)
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
      const comments = await this.#guard.commentsOf(clashes)
      // One that is not there came earlier in this very transaction: it will be refused again, and that is right.
      const deletes = clashes.filter((_step, at) => comments[at] !== undefined).map(deleteStep)
      result.push({ ...change, adds, deletes: [...change.deletes, ...deletes] })
    }
    return result
  }
}

function changeOf(op: Op<GuardPeer>, index: number): Change {
  if (op.verb === 'remove') return { index, adds: [], deletes: stepsOf(op.object, index).map(deleteStep) }
  if (op.verb === 'create') return { index, adds: stepsOf(op.object, index), deletes: [] }
  const { object, actual } = op
  return { index, adds: stepsOf(object, index, actual), deletes: stepsOf(actual, index, object).map(deleteStep) }
}

function deleteStep({ set, item, index }: Step): Step {
  return { index, set, item, verb: 'delete' }
}

function messageOf({ verb, set, item }: Step): Uint8Array {
  return verb === 'add' ? addElement(set, item) : deleteElement(set, item)
}

/** Additions of the peer's elements that `without` has not. */
function stepsOf(peer: GuardPeer, index: number, without?: GuardPeer): readonly Step[] {
  const { table, family } = peer
  const comment = peer.name.startsWith('?') ? '' : peer.name
  const other = without?.family === family ? without : undefined
  const step = (name: keyof typeof KEYS, key: Omit<SetElement, 'comment'>): Step => {
    return { index, set: setOf(name, table, family), item: { ...key, comment }, verb: 'add' }
  }
  const subnets = peer.subnets.filter((subnet) => !other?.subnets.includes(subnet))
  const isHeld = (vtep: IpAddr) => other?.vteps.includes(vtep) || other?.aliases?.includes(vtep)
  const vteps = peer.vteps.filter((vtep) => !isHeld(vtep))
  const aliases = (peer.aliases ?? []).filter((vtep) => !isHeld(vtep) && !peer.vteps.includes(vtep))
  const paths = pathsOf(peer).filter((path) => !other || !pathsOf(other).some((known) => samePath(path, known)))
  const senders = peer.senders.filter((sender) => !other?.senders.some((known) => sameSender(known, sender)))
  return [
    ...subnets.map((source) => step('subnets', { source })),
    ...vteps.map((source) => step('vteps', { source })),
    ...aliases.map((source): Step => ({ ...step('vteps', { source }), anyName: true })),
    ...paths.map(({ outer, source }) => step('paths', { outer, source })),
    ...senders.map(({ device, source }) => step('senders', { device, source })),
  ]
}

/** With those of aliases: a pair belongs to one peer, whoever else has the outer address. */
function pathsOf({ paths, aliases = [] }: GuardPeer): readonly Path[] {
  if (aliases.length === 0) return paths
  const sources = [...new Set(paths.map(({ source }) => source))]
  return [...paths, ...aliases.flatMap((outer) => sources.map((source) => ({ outer, source })))]
}

/** Encoded no earlier than they are sent: of thousands of messages only a few dozen live at a time. */
function* batches(ops: readonly Op<GuardPeer>[]): Generator<readonly Change[]> {
  let batch: Change[] = []
  let bytes = 0
  for (const [index, op] of ops.entries()) {
    const change = changeOf(op, index)
    // Twice: in a second try what is in the way of an addition is deleted first.
    const size = 2 * (change.deletes.length + change.adds.length) * LARGEST
    if (size === 0) continue
    if (bytes + size > MOST_BYTES && batch.length > 0) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(change)
    bytes += size
  }
  if (batch.length > 0) yield batch
}
