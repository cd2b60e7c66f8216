import type { Family, IpAddr } from '../../lib/address.ts'
import { FAMILIES } from '../../lib/address.ts'
import { type GuardKernel, MOST_BYTES } from '../guard/guard-kernel.ts'
import { type GuardPeer, type Sender, sameSender } from '../guard/objects.ts'
import { addElement, deleteElement, type SetElement, type SetName } from '../netlink/set-element-messages.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../table.ts'

/** One element of a set, as it stands in a message. */
interface Item {
  readonly set: SetName
  readonly item: SetElement
  /** Under whatever name it is there. */
  readonly anyName?: true
}

interface FoundPeer extends GuardPeer {
  readonly vteps: IpAddr[]
  readonly senders: Sender[]
}

interface Change {
  readonly index: number
  readonly adds: readonly Item[]
  readonly deletes: readonly Item[]
  readonly messages: readonly Uint8Array[]
}

/**
 * What the sets of ingress guards hold for each peer, read and written by netlink. Where there are no sets nothing can be held, and
 * everything counts as in place: that the sets are missing is told once, not once a peer.
 */
export class GuardPeersTable implements ObjectTable<GuardPeer> {
  readonly kind = 'guard-peer'
  readonly #guard: GuardKernel
  #generation: number | undefined

  constructor(needs: { guard: GuardKernel }) {
    this.#guard = needs.guard
  }

  async dump(wanted: Iterable<GuardPeer>): Promise<readonly GuardPeer[]> {
    this.#generation = await this.#guard.netfilter.generation()
    const peers: GuardPeer[] = []
    const tables = new Set<string>()
    for (const table of await this.#guard.tables()) {
      const sets = new Set((await this.#guard.sets(table)).map(({ name }) => name))
      if (!FAMILIES.every((family) => sets.has(`vteps${family}`) && sets.has(`senders${family}`))) continue
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
      const peer: FoundPeer = { kind: 'guard-peer', table, family, name, vteps: [], senders: [] }
      found.set(name, peer)
      return peer
    }
    for (const { comment, source } of await this.#guard.elements({ table, set: `vteps${family}` })) {
      peerOf(comment).vteps.push(source)
    }
    for (const { comment, source, device } of await this.#guard.elements({ table, set: `senders${family}` })) {
      peerOf(comment).senders.push({ device: device ?? '', source })
    }
    return [...found.values()]
  }

  async apply(ops: readonly Op<GuardPeer>[]): Promise<readonly OpResult[]> {
    const results: OpResult[] = ops.map(() => ({ ok: true }))
    const changes = await this.#ownDeletes(ops.map(changeOf))
    for (const batch of batches(changes)) {
      for (const [index, error] of await this.#applyBatch(batch)) results[index] = { ok: false, error }
    }
    return results
  }

  /** Without what another peer's name is on by now: of two peers that change places the one that leaves must not take it along. */
  async #ownDeletes(changes: readonly Change[]): Promise<readonly Change[]> {
    const doomed = changes.flatMap(({ deletes }) => deletes)
    if (doomed.length === 0) return changes
    const comments = await this.#guard.commentsOf(doomed)
    let at = 0
    return changes.map(({ index, adds, deletes }) =>
      encoded({ index, adds, deletes: deletes.filter(({ item }) => comments[at++] === item.comment) }),
    )
  }

  /** A refused change leaves the transaction, the rest is tried again without it. */
  async #applyBatch(batch: readonly Change[]): Promise<ReadonlyMap<number, OpError>> {
    const refused = new Map<number, OpError>()
    const taken = new Set<number>()
    let rest = batch
    while (rest.length > 0) {
      const owners: Change[] = []
      const messages: Uint8Array[] = []
      for (const change of rest) {
        messages.push(...change.messages)
        for (const _message of change.messages) owners.push(change)
      }
      const verdicts = await this.#guard.transact(messages)
      const again = new Set(rest)
      const takes = new Set<number>()
      for (const [at, verdict] of verdicts.entries()) {
        const change = owners[at]
        if (verdict === undefined || change === undefined) continue
        // It has another name on it: an address or a subnet has gone from one peer to another.
        if (verdict.code === 'EEXIST' && !taken.has(change.index)) takes.add(change.index)
        else {
          refused.set(change.index, verdict)
          again.delete(change)
        }
      }
      if (verdicts.every((verdict) => verdict === undefined)) break
      for (const index of takes) taken.add(index)
      rest = await this.#clearing([...again], takes)
    }
    return refused
  }

  /** With deletes of what is in the way of these changes; a delete of what is not there would spoil the transaction. */
  async #clearing(changes: readonly Change[], indexes: ReadonlySet<number>): Promise<readonly Change[]> {
    const result: Change[] = []
    for (const change of changes) {
      const comments = indexes.has(change.index) ? await this.#guard.commentsOf(change.adds) : []
      const isThere = (at: number) => comments[at] !== undefined
      const adds = change.adds.filter(({ anyName }, at) => !(anyName && isThere(at)))
      const inTheWay = change.adds.filter(({ anyName }, at) => !anyName && isThere(at))
      const missing = inTheWay.filter((add) => !change.deletes.some((other) => isSame(add, other)))
      result.push(encoded({ ...change, adds, deletes: [...change.deletes, ...missing] }))
    }
    return result
  }
}

function isSame(a: Item, b: Item): boolean {
  return a.set.set === b.set.set && a.item.source === b.item.source && a.item.device === b.item.device
}

function changeOf(op: Op<GuardPeer>, index: number): Change {
  if (op.verb === 'remove') return encoded({ index, adds: [], deletes: itemsOf(op.object) })
  if (op.verb === 'create') return encoded({ index, adds: itemsOf(op.object), deletes: [] })
  const { object, actual } = op
  return encoded({ index, adds: itemsOf(object, actual), deletes: itemsOf(actual, object) })
}

/** Elements of the peer that `without` has not. */
function itemsOf(peer: GuardPeer, without?: GuardPeer): readonly Item[] {
  const { table, family } = peer
  const comment = peer.name.startsWith('?') ? '' : peer.name
  const other = without?.family === family ? without : undefined
  const isHeld = (vtep: IpAddr) => other?.vteps.includes(vtep) || other?.aliases?.includes(vtep)
  const vteps = peer.vteps.filter((vtep) => !isHeld(vtep))
  const aliases = (peer.aliases ?? []).filter((vtep) => !isHeld(vtep) && !peer.vteps.includes(vtep))
  const senders = peer.senders.filter((sender) => !other?.senders.some((known) => sameSender(known, sender)))
  return [
    ...vteps.map((source) => ({ set: { table, set: `vteps${family}` }, item: { source, comment } })),
    ...aliases.map((source) => ({
      set: { table, set: `vteps${family}` },
      item: { source, comment },
      anyName: true as const,
    })),
    ...senders.map(({ device, source }) => ({
      set: { table, set: `senders${family}` },
      item: { device, source, comment },
    })),
  ]
}

/** Deletes first: the same element may come back under another name. */
function encoded({ index, adds, deletes }: Omit<Change, 'messages'>): Change {
  const messages = [
    ...deletes.map(({ set, item }) => deleteElement(set, item)),
    ...adds.map(({ set, item }) => addElement(set, item)),
  ]
  return { index, adds, deletes, messages }
}

function* batches(changes: readonly Change[]): Generator<readonly Change[]> {
  let batch: Change[] = []
  let bytes = 0
  for (const change of changes) {
    // Twice: in a second try what is in the way of an addition is deleted first.
    const size = 2 * change.messages.reduce((sum, message) => sum + message.length, 0)
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
