import type { Family } from './address.ts'

/** What there is of each address family, in a fifth of a Map's memory: there are thousands. A value of `undefined` is none. */
export class FamilyMap<T> implements ReadonlyMap<Family, T> {
  // Not #private: two maps shall be different for whoever compares their fields.
  readonly v4: T | undefined
  readonly v6: T | undefined

  constructor(entries: Iterable<readonly [Family, T]> = []) {
    let v4: T | undefined
    let v6: T | undefined
    for (const [family, value] of entries) {
      if (family === 4) v4 = value
      else v6 = value
    }
    this.v4 = v4
    this.v6 = v6
  }

  get size(): number {
    return Number(this.v4 !== undefined) + Number(this.v6 !== undefined)
  }

  get(family: Family): T | undefined {
    return family === 4 ? this.v4 : this.v6
  }

  has(family: Family): boolean {
    return this.get(family) !== undefined
  }

  forEach(use: (value: T, family: Family, map: ReadonlyMap<Family, T>) => void): void {
    for (const [family, value] of this) use(value, family, this)
  }

  *entries(): Generator<[Family, T], undefined> {
    if (this.v4 !== undefined) yield [4, this.v4]
    if (this.v6 !== undefined) yield [6, this.v6]
  }

  *keys(): Generator<Family, undefined> {
    if (this.v4 !== undefined) yield 4
    if (this.v6 !== undefined) yield 6
  }

  *values(): Generator<T, undefined> {
    if (this.v4 !== undefined) yield this.v4
    if (this.v6 !== undefined) yield this.v6
  }

  [Symbol.iterator](): Generator<[Family, T], undefined> {
    return this.entries()
  }
}
