/** What became of one key; `undefined` where there is, or was, nothing. */
export interface Change<V> {
  readonly key: string
  readonly before: V | undefined
  readonly after: V | undefined
}

/**
 * Versions share a base until more keys differ than this, and more than this many times the square root of its size: then copying the
 * few for each version and the many for each base cost about the same.
 */
const FEW = 64
const ROOTS = 3
/** So many versions back a version knows what has changed since. */
const STEPS = 16

/** Identifies a version without holding it. */
type Version = object

interface Step {
  readonly from: Version
  readonly keys: readonly string[]
}

/**
 * A map that never changes, whose next versions share with it what they have in common: one base, and the few keys that differ.
 * Of thousands of entries a changed copy costs about as much as of a few, and the question what differs between two versions that
 * are near to each other (`changesBetween`) the number of changes; once in a while a version gets a base of its own. In no order. No value is `undefined`.
 */
export class PersistentMap<V> implements ReadonlyMap<string, V> {
  readonly size: number
  // Not #private: two maps shall be different for whoever compares their fields.
  readonly base: ReadonlyMap<string, V>
  /** Instead of what the base has there; `undefined`: nothing. */
  readonly differing: ReadonlyMap<string, V | undefined>
  readonly #version: Version = {}
  /** How this version came to be, the last step first. */
  readonly #steps: readonly Step[]

  private constructor(
    base: ReadonlyMap<string, V>,
    differing: ReadonlyMap<string, V | undefined>,
    { size, steps }: { size: number; steps: readonly Step[] },
  ) {
    this.base = base
    this.differing = differing
    this.size = size
    this.#steps = steps
  }

  /** Of two values at one key the last one counts. A Map that is given must not change afterwards. */
  static from<V>(entries: Iterable<readonly [string, V]>): PersistentMap<V> {
    const base = entries instanceof Map ? (entries as ReadonlyMap<string, V>) : new Map(entries)
    return new PersistentMap(base, new Map(), { size: base.size, steps: [] })
  }

  /** The next version: without the keys of `gone`, then with these entries. The same one where nothing is named. */
  patched(gone: Iterable<string>, come: Iterable<readonly [string, V]>): PersistentMap<V> {
    // From nothing at all nothing goes.
    const first = this.size === 0 ? PersistentMap.from(come) : undefined
    if (first !== undefined) return first.size === 0 ? this : first
    const differing = new Map(this.differing)
    const keys: string[] = []
    let { size } = this
    const put = (key: string, value: V | undefined) => {
      const held = this.base.get(key)
      const before = differing.has(key) ? differing.get(key) : held
      size += Number(value !== undefined) - Number(before !== undefined)
      if (value === held) differing.delete(key)
      else differing.set(key, value)
      keys.push(key)
    }
    for (const key of gone) put(key, undefined)
    for (const [key, value] of come) put(key, value)
    if (keys.length === 0) return this
    const few = Math.max(FEW, ROOTS * Math.sqrt(this.base.size))
    const steps = keys.length > few ? [] : [{ from: this.#version, keys }, ...this.#steps.slice(0, STEPS - 1)]
    if (differing.size <= few) {
      return new PersistentMap(this.base, differing, { size, steps })
    }
    const base = new Map(this.base)
    for (const [key, value] of differing) {
      if (value === undefined) base.delete(key)
      else base.set(key, value)
    }
    return new PersistentMap(base, new Map(), { size, steps })
  }

  /** Keys that may have other values than in `before`; undefined: that is no version that this one came from, or an old one. */
  keysChangedSince(before: PersistentMap<V>): Iterable<string> | undefined {
    const back = this.#steps.findIndex(({ from }) => from === before.#version)
    if (back === -1) return undefined
    return new Set(this.#steps.slice(0, back + 1).flatMap(({ keys }) => keys))
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

  entries(): IterableIterator<[string, V]> {
    return this.differing.size === 0 ? this.base.entries() : this.#entries()
  }

  *#entries(): Generator<[string, V], undefined> {
    for (const entry of this.base) if (!this.differing.has(entry[0])) yield entry
    for (const [key, value] of this.differing) if (value !== undefined) yield [key, value]
  }

  keys(): IterableIterator<string> {
    return this.differing.size === 0 ? this.base.keys() : this.#keys()
  }

  *#keys(): Generator<string, undefined> {
    for (const [key] of this.#entries()) yield key
  }

  values(): IterableIterator<V> {
    return this.differing.size === 0 ? this.base.values() : this.#values()
  }

  *#values(): Generator<V, undefined> {
    for (const [, value] of this.#entries()) yield value
  }

  [Symbol.iterator](): IterableIterator<[string, V]> {
    return this.entries()
  }
}

/** Keys whose values are not the very same. Quick where one is a `PersistentMap` that came from the other by a few steps. */
export function changesBetween<V>(before: ReadonlyMap<string, V>, after: ReadonlyMap<string, V>): readonly Change<V>[] {
  if (before === after) return []
  const near =
    before instanceof PersistentMap && after instanceof PersistentMap ? after.keysChangedSince(before) : undefined
  const changes: Change<V>[] = []
  const add = (key: string, was: V | undefined, is: V | undefined) => {
    if (was !== is) changes.push({ key, before: was, after: is })
  }
  if (near !== undefined) {
    for (const key of near) add(key, before.get(key), after.get(key))
    return changes
  }
  for (const [key, is] of after) add(key, before.get(key), is)
  for (const [key, was] of before) if (!after.has(key)) add(key, was, undefined)
  return changes
}
