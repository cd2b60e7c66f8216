/** What became of one key; `undefined` where there is, or was, nothing. */
export interface Change<V> {
  readonly key: string
  readonly before: V | undefined
  readonly after: V | undefined
}

/** Versions share a base until more keys differ than this, and more than this many times the square root of its size. */
const FEW = 64
const ROOTS = 10

/**
 * A map that never changes, whose next versions share with it what they have in common: one base, and the few keys that differ.
 * Of thousands of entries a changed copy, and the question what differs between two versions (`changesBetween`), cost about as
 * much as for a few; once in a while, with many small changes behind it, a version gets a base of its own. In no order. No value is `undefined`.
 */
export class PersistentMap<V> implements ReadonlyMap<string, V> {
  readonly size: number
  // Not #private: two maps shall be different for whoever compares their fields.
  readonly base: ReadonlyMap<string, V>
  /** Instead of what the base has there; `undefined`: nothing. */
  readonly differing: ReadonlyMap<string, V | undefined>

  private constructor(base: ReadonlyMap<string, V>, differing: ReadonlyMap<string, V | undefined>, size: number) {
    this.base = base
    this.differing = differing
    this.size = size
  }

  /** Of two values at one key the last one counts. A Map that is given must not change afterwards. */
  static from<V>(entries: Iterable<readonly [string, V]>): PersistentMap<V> {
    const base = entries instanceof Map ? (entries as ReadonlyMap<string, V>) : new Map(entries)
    return new PersistentMap(base, new Map(), base.size)
  }

  /** The next version: without the keys of `gone`, then with these entries. */
  patched(gone: Iterable<string>, come: Iterable<readonly [string, V]>): PersistentMap<V> {
    const differing = new Map(this.differing)
    let { size } = this
    const put = (key: string, value: V | undefined) => {
      const before = differing.has(key) ? differing.get(key) : this.base.get(key)
      size += Number(value !== undefined) - Number(before !== undefined)
      if (value === this.base.get(key)) differing.delete(key)
      else differing.set(key, value)
    }
    for (const key of gone) put(key, undefined)
    for (const [key, value] of come) put(key, value)
    const next = new PersistentMap(this.base, differing, size)
    return differing.size > Math.max(FEW, ROOTS * Math.sqrt(this.base.size)) ? PersistentMap.from(new Map(next)) : next
  }

  get(key: string): V | undefined {
    return this.differing.has(key) ? this.differing.get(key) : this.base.get(key)
  }

  has(key: string): boolean {
    return this.get(key) !== undefined
  }

  forEach(use: (value: V, key: string, map: ReadonlyMap<string, V>) => void): void {
    for (const [key, value] of this) use(value, key, this)
  }

  *entries(): Generator<[string, V], undefined> {
    for (const entry of this.base) if (!this.differing.has(entry[0])) yield entry
    for (const [key, value] of this.differing) if (value !== undefined) yield [key, value]
  }

  *keys(): Generator<string, undefined> {
    for (const [key] of this) yield key
  }

  *values(): Generator<V, undefined> {
    for (const [, value] of this) yield value
  }

  [Symbol.iterator](): Generator<[string, V], undefined> {
    return this.entries()
  }
}

/** Keys whose values are not the very same. Quick where both are versions of one `PersistentMap`. */
export function changesBetween<V>(before: ReadonlyMap<string, V>, after: ReadonlyMap<string, V>): readonly Change<V>[] {
  if (before === after) return []
  const changes: Change<V>[] = []
  const compare = (key: string) => {
    const [was, is] = [before.get(key), after.get(key)]
    if (was !== is) changes.push({ key, before: was, after: is })
  }
  if (before instanceof PersistentMap && after instanceof PersistentMap && before.base === after.base) {
    for (const key of after.differing.keys()) compare(key)
    for (const key of before.differing.keys()) if (!after.differing.has(key)) compare(key)
    return changes
  }
  for (const key of after.keys()) compare(key)
  for (const key of before.keys()) if (!after.has(key)) compare(key)
  return changes
}
