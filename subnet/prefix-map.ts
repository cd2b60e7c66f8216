import { type Cidr, cidrOf, networkAddress, prefixLength } from '../lib/address.ts'

/** Values by prefix, of both families. A look-up costs one step for each prefix length in use, of which there are few. */
export class PrefixMap<V> {
  readonly #byLength = new Map<number, Map<Cidr, V>>()
  /** By length: what lies inside each prefix of that length. Made when it is first asked for, kept up to date from then on. */
  readonly #inside = new Map<number, Map<Cidr, Set<Cidr>>>()

  get(prefix: Cidr): V | undefined {
    return this.#byLength.get(prefixLength(prefix))?.get(prefix)
  }

  set(prefix: Cidr, value: V): void {
    const length = prefixLength(prefix)
    let held = this.#byLength.get(length)
    if (held === undefined) {
      held = new Map()
      this.#byLength.set(length, held)
    }
    held.set(prefix, value)
    for (const [shorter, parents] of this.#inside) if (shorter < length) addTo(parents, shorter, prefix)
  }

  delete(prefix: Cidr): void {
    const length = prefixLength(prefix)
    const held = this.#byLength.get(length)
    if (!held?.delete(prefix)) return
    // A length that nobody uses any more must not cost a step.
    if (held.size === 0) this.#byLength.delete(length)
    for (const [shorter, parents] of this.#inside) {
      if (shorter >= length) continue
      const parent = truncate(prefix, shorter)
      const members = parents.get(parent)
      members?.delete(prefix)
      if (members?.size === 0) parents.delete(parent)
    }
  }

  /** The values at wider prefixes that contain this one, in no order. */
  around(prefix: Cidr): V[] {
    const length = prefixLength(prefix)
    const found: V[] = []
    for (const [shorter, held] of this.#byLength) {
      const value = shorter < length ? held.get(truncate(prefix, shorter)) : undefined
      if (value !== undefined) found.push(value)
    }
    return found
  }

  /** The values at narrower prefixes inside this one, in no order. */
  inside(prefix: Cidr): V[] {
    const found: V[] = []
    for (const member of this.#membersAt(prefixLength(prefix)).get(prefix) ?? []) {
      const value = this.get(member)
      if (value !== undefined) found.push(value)
    }
    return found
  }

  /** A value whose prefix shares an address with this one. */
  overlapping(prefix: Cidr): V | undefined {
    return this.get(prefix) ?? this.around(prefix)[0] ?? this.inside(prefix)[0]
  }

  #membersAt(length: number): Map<Cidr, Set<Cidr>> {
    const known = this.#inside.get(length)
    if (known !== undefined) return known
    const parents = new Map<Cidr, Set<Cidr>>()
    for (const [longer, held] of this.#byLength) {
      if (longer > length) for (const prefix of held.keys()) addTo(parents, length, prefix)
    }
    this.#inside.set(length, parents)
    return parents
  }
}

function addTo(parents: Map<Cidr, Set<Cidr>>, length: number, prefix: Cidr): void {
  const parent = truncate(prefix, length)
  const members = parents.get(parent)
  if (members === undefined) parents.set(parent, new Set([prefix]))
  else members.add(prefix)
}

// An IPv4 prefix has no parent of more than 32 bits: callers ask for shorter lengths only.
function truncate(prefix: Cidr, length: number): Cidr {
  return cidrOf(networkAddress(prefix), length)
}
