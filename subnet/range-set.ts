import { addressBits, type Cidr, familyOf, ipToNumber, networkAddress, prefixLength } from '../lib/address.ts'

/** First and last address. IPv4 as number, because thousands are compared on each change and BigInt is ten times slower. */
export interface AddressRange {
  readonly first: number | bigint
  readonly last: number | bigint
}

export function rangeOf(cidr: Cidr): AddressRange {
  const first = ipToNumber(networkAddress(cidr))
  const size = 1n << BigInt(addressBits(familyOf(cidr)) - prefixLength(cidr))
  const last = first + size - 1n
  return familyOf(cidr) === 4 ? { first: Number(first), last: Number(last) } : { first, last }
}

/** Prefixes of one family, searched by bisection. Prefixes never overlap in part: one that lies in another is left out. */
export class RangeSet {
  readonly #ranges: readonly (AddressRange & { cidr: Cidr })[]

  constructor(cidrs: Iterable<Cidr>) {
    const sorted = Array.from(cidrs, (cidr) => ({ ...rangeOf(cidr), cidr })).sort((a, b) => compare(a, b))
    const outermost: (AddressRange & { cidr: Cidr })[] = []
    for (const range of sorted) {
      const before = outermost.at(-1)
      if (before === undefined || range.first > before.last) outermost.push(range)
    }
    this.#ranges = outermost
  }

  /** A member that shares an address with the range. */
  overlapping(range: AddressRange): (AddressRange & { readonly cidr: Cidr }) | undefined {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const candidate = this.#ranges[middle]
      if (candidate !== undefined && candidate.last < range.first) low = middle + 1
      else high = middle
    }
    const found = this.#ranges[low]
    return found !== undefined && found.first <= range.last ? found : undefined
  }
}

function compare(a: AddressRange, b: AddressRange): number {
  if (a.first !== b.first) return a.first < b.first ? -1 : 1
  return a.last > b.last ? -1 : 1
}
