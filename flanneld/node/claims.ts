import type { PathState, Refusal } from '../../backends/backend.ts'
import { type DesiredObject, keyOf } from '../../kernel/objects.ts'
import { PersistentMap } from '../../lib/persistent-map.ts'
import { olderFirst } from '../../subnet/own-lease.ts'
import type { Lease } from '../../subnet/types.ts'

/** What a peer wants in the kernel in one family: all of it or nothing. */
export interface Claim {
  readonly lease: Lease
  /** Undefined: somebody else carries its packets. */
  readonly path: PathState | undefined
  readonly objects: readonly DesiredObject[]
  /** Why it has nothing: an older claim, or this node, has one of its objects already. */
  blocked: Refusal | undefined
}

export interface ClaimChanges {
  /** Objects of this node itself, by key. They win over every peer's. */
  readonly own: ReadonlyMap<string, DesiredObject>
  readonly gone: readonly Claim[]
  readonly come: readonly Claim[]
}

/**
 * Who gets which object. Two objects of one key exclude each other in the kernel: of two claims that want one the older gets it,
 * whatever the order in which they came, and once it leaves, the other one does. A change costs the claims that it concerns.
 */
export class Claims {
  #objects = PersistentMap.from<DesiredObject>([])
  /** What differs from `objects` while a change is made. */
  #draft = new Map<string, DesiredObject | undefined>()
  #own: ReadonlyMap<string, DesiredObject> = new Map()
  /** By key: the blocked claims that want it. Who has an object is named by its role. */
  readonly #blocked = new Map<string, Set<Claim>>()
  readonly #claimsOf: (id: string) => readonly Claim[]

  /** `claimsOf`: of a peer, those of an ongoing change included. */
  constructor(needs: { readonly claimsOf: (id: string) => readonly Claim[] }) {
    this.#claimsOf = needs.claimsOf
  }

  /** By `keyOf`: what this node wants, and all claims that are not blocked. */
  get objects(): PersistentMap<DesiredObject> {
    return this.#objects
  }

  /** Returns the claims that were decided about, in the order of their age. */
  change({ own, gone, come }: ClaimChanges): readonly Claim[] {
    const open = new ByAge(come)
    for (const claim of gone) if (claim.blocked !== undefined) this.#forget(claim)
    for (const claim of gone) if (claim.blocked === undefined) this.#release(claim, open)
    if (own !== this.#own) this.#changeOwn(own, open)
    const decided: Claim[] = []
    for (let claim = open.next(); claim !== undefined; claim = open.next()) {
      this.#decide(claim, open)
      decided.push(claim)
    }
    this.#objects = nextVersion(this.#objects, this.#draft)
    this.#draft = new Map()
    return decided
  }

  #changeOwn(own: ReadonlyMap<string, DesiredObject>, open: ByAge): void {
    for (const key of this.#own.keys()) if (!own.has(key)) this.#put(key, undefined, open)
    for (const [key, object] of own) {
      const holder = this.#holderOf(key)
      if (holder !== undefined && holder !== THIS_NODE) this.#reopen(holder, open)
      this.#put(key, object, open)
    }
    this.#own = own
  }

  /** All older claims have been decided about; younger ones give way. */
  #decide(claim: Claim, open: ByAge): void {
    const keys = claim.objects.map(keyOf)
    const giveWay = new Set<Claim>()
    for (const key of keys) {
      const holder = this.#holderOf(key)
      if (holder === undefined) continue
      if (holder === THIS_NODE || !isYounger(holder, claim)) {
        const owner = holder === THIS_NODE ? 'this node' : holder.lease.id
        claim.blocked = { reason: 'duplicate', text: `"${key}" already belongs to ${owner}` }
        for (const wanted of keys) this.#blocked.set(wanted, (this.#blocked.get(wanted) ?? new Set()).add(claim))
        return
      }
      giveWay.add(holder)
    }
    claim.blocked = undefined
    for (const holder of giveWay) this.#reopen(holder, open)
    for (const [index, object] of claim.objects.entries()) this.#put(keys[index] ?? keyOf(object), object, open)
  }

  #reopen(claim: Claim, open: ByAge): void {
    this.#release(claim, open)
    open.add(claim)
  }

  #release(claim: Claim, open: ByAge): void {
    for (const object of claim.objects) this.#put(keyOf(object), undefined, open)
  }

  /** Claims that were blocked there are decided about anew: they may have it now, or have another one to name. */
  #put(key: string, object: DesiredObject | undefined, open: ByAge): void {
    if (object === this.#objects.get(key)) this.#draft.delete(key)
    else this.#draft.set(key, object)
    const waiting = this.#blocked.get(key)
    if (waiting === undefined) return
    for (const claim of [...waiting]) {
      this.#forget(claim)
      open.add(claim)
    }
  }

  #forget(claim: Claim): void {
    for (const key of claim.objects.map(keyOf)) {
      const claims = this.#blocked.get(key)
      claims?.delete(claim)
      if (claims?.size === 0) this.#blocked.delete(key)
    }
  }

  #holderOf(key: string): Claim | typeof THIS_NODE | undefined {
    const object = this.#draft.has(key) ? this.#draft.get(key) : this.#objects.get(key)
    if (object === undefined) return undefined
    if (object.role.class !== 'peer') return THIS_NODE
    return this.#claimsOf(object.role.peer).find(({ objects }) => objects.includes(object))
  }
}

const THIS_NODE = 'this node'

/** What one lease claims in two families never excludes each other. */
function isYounger(holder: Claim, than: Claim): boolean {
  return holder.lease !== than.lease && olderFirst(than.lease, holder.lease) < 0
}

/** `draft`: only what differs; it must not change afterwards. */
function nextVersion(
  objects: PersistentMap<DesiredObject>,
  draft: ReadonlyMap<string, DesiredObject | undefined>,
): PersistentMap<DesiredObject> {
  // From nothing at all nothing goes.
  if (objects.size === 0) return PersistentMap.from(draft as ReadonlyMap<string, DesiredObject>)
  const gone = [...draft].flatMap(([key, object]) => (object === undefined ? [key] : []))
  return objects.patched(
    gone,
    [...draft].filter((entry): entry is [string, DesiredObject] => entry[1] !== undefined),
  )
}

/** Claims that are open, the oldest first out. */
class ByAge {
  /** The youngest first: what is taken is the last one. */
  readonly #claims: Claim[]

  constructor(claims: readonly Claim[]) {
    this.#claims = [...claims].sort((a, b) => olderFirst(b.lease, a.lease))
  }

  next(): Claim | undefined {
    return this.#claims.pop()
  }

  add(claim: Claim): void {
    let [low, high] = [0, this.#claims.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const other = this.#claims[middle]
      if (other !== undefined && olderFirst(claim.lease, other.lease) < 0) low = middle + 1
      else high = middle
    }
    this.#claims.splice(low, 0, claim)
  }
}
