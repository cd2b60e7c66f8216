import { type Cidr, familyOf, ipToBytes, networkAddress, prefixLength } from '../../lib/address.ts'
import { ADDRESS_FAMILY } from './constants.ts'

/** A prefix as messages have it, to be compared with thousands of them without making a text. */
export interface PrefixBytes {
  /** AF_* number. */
  readonly family: number
  /** Bits. */
  readonly length: number
  readonly bytes: Uint8Array
}

export function prefixBytes(prefix: Cidr): PrefixBytes {
  return {
    family: ADDRESS_FAMILY[familyOf(prefix)],
    length: prefixLength(prefix),
    bytes: ipToBytes(networkAddress(prefix)),
  }
}

/** Whether the address at this place of a message begins with the same bits; without a place it is all zeros. */
export function sameBits(view: DataView, at: number | undefined, bytes: Uint8Array, bits: number): boolean {
  for (let index = 0; index * 8 < bits; index += 1) {
    const mask = bits - index * 8 >= 8 ? 0xff : (0xff << (8 - (bits - index * 8))) & 0xff
    const byte = at === undefined ? 0 : view.getUint8(at + index)
    if ((byte & mask) !== ((bytes[index] ?? 0) & mask)) return false
  }
  return true
}
