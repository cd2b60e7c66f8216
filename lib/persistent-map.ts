/** What became of one key; `undefined` where there is, or was, nothing. */
export interface Change<V> {
  readonly key: string
  readonly before: V | undefined
  readonly after: V | undefined
}

/** So many entries share a bucket: each change copies one. */
const BUCKET_SIZE = 32

/**
 * A map that never changes, whose next versions share with it what they have in common. Of thousands of entries a changed copy,
 * and the question what differs between two versions (`changesBetween`), cost about as much as for a few dozen. In no order.
 */
export class PersistentMap<V> implements ReadonlyMap<string, V> {
  readonly size: number
  // Not #private: two maps shall be different for whoever compares their fields.
  readonly buckets: readonly ReadonlyMap<string, V>[]

  private constructor(buckets: readonly ReadonlyMap<string, V>[], size: number) {
    this.buckets = buckets
    this.size = size
  }

  /** Of two values at one key the last one counts. */
  static from<V>(entries: Iterable<readonly [string, V]>): PersistentMap<V> {
    const plain = entries instanceof Map ? (entries as ReadonlyMap<string, V>) : new Map(entries)
    const buckets = Array.from({ length: bucketsFor(plain.size) }, () => new Map<string, V>())
    for (const [key, value] of plain) buckets[hash(key) & (buckets.length - 1)]?.set(key, value)
    return new PersistentMap(buckets, plain.size)
  }

  /** The next version: without the keys of `gone`, then with these entries. */
  patched(gone: Iterable<string>, come: Iterable<readonly [string, V]>): PersistentMap<V> {
    const copies = new Map<number, Map<string, V>>()
    const mask = this.buckets.length - 1
    const copyOf = (key: string) => {
      const at = hash(key) & mask
      const copy = copies.get(at) ?? new Map(this.buckets[at])
      copies.set(at, copy)
      return copy
    }
    for (const key of gone) copyOf(key).delete(key)
    for (const [key, value] of come) copyOf(key).set(key, value)
    if (copies.size === 0) return this
    const buckets = [...this.buckets]
    let { size } = this
    for (const [at, copy] of copies) {
      size += copy.size - (buckets[at]?.size ?? 0)
      buckets[at] = copy
    }
    const next = new PersistentMap(buckets, size)
    return bucketsFor(size) > 4 * buckets.length ? PersistentMap.from(next) : next
  }

  get(key: string): V | undefined {
    return this.#bucketOf(key)?.get(key)
  }

  has(key: string): boolean {
    return this.#bucketOf(key)?.has(key) ?? false
  }

  forEach(use: (value: V, key: string, map: ReadonlyMap<string, V>) => void): void {
    for (const bucket of this.buckets) for (const [key, value] of bucket) use(value, key, this)
  }

  *entries(): Generator<[string, V], undefined> {
    for (const bucket of this.buckets) yield* bucket
  }

  *keys(): Generator<string, undefined> {
    for (const bucket of this.buckets) yield* bucket.keys()
  }

  *values(): Generator<V, undefined> {
    for (const bucket of this.buckets) yield* bucket.values()
  }

  [Symbol.iterator](): Generator<[string, V], undefined> {
    return this.entries()
  }

  #bucketOf(key: string): ReadonlyMap<string, V> | undefined {
    return this.buckets[hash(key) & (this.buckets.length - 1)]
  }
}

/** Keys whose values are not the very same. Quick where both are versions of one `PersistentMap`. */
export function changesBetween<V>(before: ReadonlyMap<string, V>, after: ReadonlyMap<string, V>): readonly Change<V>[] {
  const changes: Change<V>[] = []
  if (before === after) return changes
  const related =
    before instanceof PersistentMap && after instanceof PersistentMap && before.buckets.length === after.buckets.length
  if (!related) {
    collectChanges(before, after, changes)
    return changes
  }
  for (let at = 0; at < after.buckets.length; at += 1) {
    const [old, bucket] = [before.buckets[at], after.buckets[at]]
    if (old !== bucket && old !== undefined && bucket !== undefined) collectChanges(old, bucket, changes)
  }
  return changes
}

function collectChanges<V>(before: ReadonlyMap<string, V>, after: ReadonlyMap<string, V>, changes: Change<V>[]): void {
  let kept = 0
  for (const [key, value] of after) {
    const old = before.get(key)
    if (old !== undefined) kept += 1
    if (old !== value) changes.push({ key, before: old, after: value })
  }
  if (kept === before.size) return
  for (const [key, old] of before) if (!after.has(key)) changes.push({ key, before: old, after: undefined })
}

function bucketsFor(size: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, size / BUCKET_SIZE)))
}

/** FNV-1a, 32 bits. Source: http://www.isthe.com/chongo/tech/comp/fnv */
function hash(text: string): number {
  let result = 0x811c9dc5
  for (let at = 0; at < text.length; at += 1) result = Math.imul(result ^ text.charCodeAt(at), 0x01000193)
  // The low bits decide, and are the worst mixed ones.
  return (result ^ (result >>> 15)) >>> 0
}
