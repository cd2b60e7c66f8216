import { InvalidLease } from '../../lib/errors.ts'
import { PersistentMap } from '../../lib/persistent-map.ts'
import type { Lease, LeaseSnapshot, RejectedLease } from '../types.ts'
import type { AnnotationNames } from './annotations.ts'
import { type NodeFacts, nodeState, readNode } from './node.ts'
import { nodeLease } from './node-lease.ts'

interface Entry {
  readonly order: bigint
  /** What the Node said: where it says the same again, lease and rejection are the same. */
  readonly text: string
  readonly lease: Lease | undefined
  readonly rejected: RejectedLease | undefined
}

interface Read {
  readonly name: string
  readonly version: string
  readonly order: bigint | undefined
  readonly entry: Entry
  /** Of the own Node only. */
  readonly node: NodeFacts | undefined
}

/** Who this node is. Its Node's name is what counts; a NodeID that stands elsewhere, too, was copied with the state directory. */
export interface OwnName {
  readonly name: string
  readonly nodeId: string
}

/**
 * The Nodes as the API was last seen to have them: of each its lease, and of the own one all facts. Most changes of a Node (its
 * heartbeats) change neither, and then the snapshot stays the same.
 */
export class NodeMirror {
  readonly #names: AnnotationNames
  readonly #own: OwnName
  #entries = new Map<string, Entry>()
  #leases = PersistentMap.from<Lease>([])
  #unreadable: ReadonlyMap<string, RejectedLease> = new Map()
  #ownNode: NodeFacts | undefined
  #isWhole = false
  /** How far the watch has come. */
  #revision = ''
  /** The same as a number; undefined: it is none. */
  #order: bigint | undefined
  /** Version of the own Node that the API has answered and that list and watch have not come to yet. */
  #answered: bigint | undefined
  #snapshot: LeaseSnapshot | undefined

  constructor(needs: { readonly names: AnnotationNames; readonly own: OwnName }) {
    this.#names = needs.names
    this.#own = needs.own
  }

  get own(): NodeFacts | undefined {
    return this.#ownNode
  }

  /** Whether all Nodes have been listed; until then there is the own one at most. */
  get isWhole(): boolean {
    return this.#isWhole
  }

  snapshot(): LeaseSnapshot {
    this.#snapshot ??= { revision: this.#revision, leases: this.#leases, unreadable: [...this.#unreadable.values()] }
    return this.#snapshot
  }

  /**
   * What the watch tells. Whether anything of ours has changed, or the watch has come to what this node has written. States older than
   * the known one are ignored.
   */
  put(object: unknown): boolean {
    const read = this.#read(object)
    if (read === undefined) return false
    const hasPassed = this.#follow(read)
    return this.#take(read) || hasPassed
  }

  /** The own Node as the API has answered, to a write of it, say: list and watch may have things to tell that were before that. */
  putAnswered(object: unknown): boolean {
    const read = this.#read(object)
    if (read === undefined) return false
    if (isNewer(read.order, this.#order)) this.#answered = read.order
    return this.#take(read)
  }

  #take({ name, entry, node }: Read): boolean {
    const known = this.#entries.get(name)
    if (known !== undefined && known.order >= entry.order) return false
    const lease = sameOr(known?.lease, entry.lease)
    this.#entries.set(name, { ...entry, lease })
    const isOwnChange = node !== undefined && !isSameNode(this.#ownNode, node)
    if (node !== undefined) this.#ownNode = node
    const isSame = known !== undefined && lease === known.lease && isSameText(known.rejected, entry.rejected)
    if (!isSame) this.#change(name, lease, entry.rejected)
    this.#snapshot = undefined
    return isOwnChange || !isSame
  }

  /** As `put`, of a deleted Node in its last state. */
  remove(object: unknown): boolean {
    const read = this.#read(object)
    if (read === undefined) return false
    const { name, entry } = read
    const known = this.#entries.get(name)
    this.#follow(read)
    if (known === undefined || known.order > entry.order) return false
    this.#entries.delete(name)
    if (name === this.#own.name) this.#ownNode = undefined
    this.#change(name, undefined, undefined)
    return true
  }

  /** A whole list, which replaces everything at `commit`. */
  beginList(): { add(object: unknown): void; commit(revision: string): void } {
    const entries = new Map<string, Entry>()
    let ownNode: NodeFacts | undefined
    const answered = this.#answered
    return {
      add: (object) => {
        const read = this.#read(object)
        if (read === undefined) return
        const { name, entry, node } = read
        entries.set(name, { ...entry, lease: sameOr(this.#entries.get(name)?.lease, entry.lease) })
        ownNode = node ?? ownNode
      },
      commit: (revision) => {
        const listed = orderOf(revision)
        const known = this.#entries.get(this.#own.name)
        const isWritten = this.#answered !== answered && isNewer(this.#answered, listed)
        // Since the list began, whose pages are all as of its first one.
        if (known !== undefined && isWritten) entries.set(this.#own.name, known)
        else this.#ownNode = ownNode
        this.#entries = entries
        this.#isWhole = true
        this.#leases = PersistentMap.from(leasesOf(entries))
        const rejected = [...entries].flatMap(([name, entry]) =>
          entry.rejected ? [[name, entry.rejected] as const] : [],
        )
        this.#unreadable = new Map(rejected)
        this.#revision = revision
        this.#order = listed
        if (!isNewer(this.#answered, this.#order)) this.#answered = undefined
        this.#snapshot = undefined
      },
    }
  }

  #read(object: unknown): Read | undefined {
    const { prefix } = this.#names
    try {
      const { name, version, text } = nodeState(object, prefix)
      const order = orderOf(version)
      const isOwn = name === this.#own.name
      const known = this.#entries.get(name)
      if (known?.text === text && !isOwn) {
        const { lease, rejected } = known
        return { name, version, order, entry: { order: order ?? 0n, text, lease, rejected }, node: undefined }
      }
      const node = readNode(object, prefix)
      const found = nodeLease(node, this.#names)
      const [lease, rejected] =
        found === undefined || 'reason' in found ? [undefined, found] : [this.#named(found), undefined]
      const entry = { order: order ?? 0n, text, lease, rejected }
      return { name, version, order, entry, node: isOwn ? node : undefined }
    } catch (cause) {
      if (cause instanceof InvalidLease) return undefined
      throw cause
    }
  }

  /** flannel, and an earlier state directory, leave no NodeID of ours on the own Node. */
  #named(lease: Lease): Lease {
    const { name, nodeId } = this.#own
    if (lease.id === name) return lease.node === nodeId ? lease : { ...lease, node: nodeId }
    return lease.node !== '' && lease.node === nodeId ? { ...lease, node: '' } : lease
  }

  #change(name: string, lease: Lease | undefined, rejected: RejectedLease | undefined): void {
    this.#leases = lease === undefined ? this.#leases.patched([name], []) : this.#leases.patched([], [[name, lease]])
    const unreadable = new Map(this.#unreadable)
    if (rejected === undefined) unreadable.delete(name)
    else unreadable.set(name, rejected)
    this.#unreadable = unreadable
  }

  /** Whether the own write is told of now. */
  #follow({ version, order }: Read): boolean {
    if (!isNewer(order, this.#order)) return false
    this.#revision = version
    this.#order = order
    this.#snapshot = undefined
    if (this.#answered === undefined || isNewer(this.#answered, order)) return false
    this.#answered = undefined
    return true
  }
}

function isSameNode(a: NodeFacts | undefined, b: NodeFacts): boolean {
  const said = ({ age, subnets, annotations, networkUnavailable }: NodeFacts) =>
    JSON.stringify([age, [...subnets], [...annotations].sort(), networkUnavailable])
  return a !== undefined && said(a) === said(b)
}

/** Resource versions are numbers in fact, though Kubernetes does not promise it. */
function orderOf(version: string): bigint | undefined {
  return /^\d+$/.test(version) ? BigInt(version) : undefined
}

function isNewer(order: bigint | undefined, than: bigint | undefined): boolean {
  return than === undefined || (order !== undefined && order > than)
}

/** The known one where both say the same: whoever compares sees that nothing has changed. */
function sameOr(known: Lease | undefined, next: Lease | undefined): Lease | undefined {
  if (known === next || known === undefined || next === undefined) return next
  return JSON.stringify(known) === JSON.stringify(next) ? known : next
}

function isSameText(a: RejectedLease | undefined, b: RejectedLease | undefined): boolean {
  return a?.reason === b?.reason && a?.text === b?.text
}

function* leasesOf(entries: ReadonlyMap<string, Entry>): Generator<readonly [string, Lease]> {
  for (const [name, { lease }] of entries) if (lease !== undefined) yield [name, lease]
}
