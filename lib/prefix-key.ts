import {
  addressBits,
  type Cidr,
  type Family,
  familyOf,
  type IpAddr,
  ipFromNumber,
  ipToNumber,
  networkAddress,
  prefixLength,
} from './address.ts'

/**
 * One address that stands for a prefix and its length: the bit behind the prefix is set, those behind it are not. So prefixes of
 * several lengths can be looked up in one hash: 10.5.3.0/24 is 10.5.3.128, 10.5.3.0/26 is 10.5.3.32.
 */
export function prefixKey(cidr: Cidr): IpAddr {
  const family = familyOf(cidr)
  return ipFromNumber(family, ipToNumber(networkAddress(cidr)) | markBit(family, prefixLength(cidr)))
}

/** What makes the key of a length out of an address inside the prefix: `address & mask | mark`. */
export function keyMask(family: Family, length: number): { readonly mask: IpAddr; readonly mark: IpAddr } {
  const bits = BigInt(addressBits(family))
  const mask = ((1n << BigInt(length)) - 1n) << (bits - BigInt(length))
  return { mask: ipFromNumber(family, mask), mark: ipFromNumber(family, markBit(family, length)) }
}

/** None where the prefix leaves no bit. */
function markBit(family: Family, length: number): bigint {
  const free = addressBits(family) - length
  return free === 0 ? 0n : 1n << BigInt(free - 1)
}
