import {
  type Cidr,
  familyOf,
  type IpAddr,
  ipToNumber,
  ipv4ToInteger,
  networkAddress,
  prefixLength,
} from '../lib/address.ts'

/** First and last address. IPv4 as number, because thousands are compared on each change and BigInt is ten times slower. */
export interface AddressRange {
  readonly first: number | bigint
  readonly last: number | bigint
}

export function rangeOf(cidr: Cidr): AddressRange {
  const first = addressNumber(networkAddress(cidr))
  const length = prefixLength(cidr)
  return typeof first === 'number'
    ? { first, last: first + 2 ** (32 - length) - 1 }
    : { first, last: first + (1n << BigInt(128 - length)) - 1n }
}

export function addressNumber(address: IpAddr): number | bigint {
  return familyOf(address) === 4 ? ipv4ToInteger(address) : ipToNumber(address)
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
