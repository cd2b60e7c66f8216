import { fold, sumOf } from './checksum.ts'
import type { Memory } from './memory.ts'
import type { PeerTable } from './peer-table.ts'
import { Counter } from './proxy-memory.ts'

/** Bytes of an IPv4 header without options. */
export const IP_HEADER_BYTES = 20
export const ICMP = 1
export const TCP = 6
export const UDP = 17

/** Bytes of what `writeUnreachable` writes at most: two headers, one with options, and 8 bytes. */
export const UNREACHABLE_BYTES = IP_HEADER_BYTES + 8 + 60 + 8

/**
 * Judges IPv4 packets in memory, and takes one off the TTL of those that go on. Why one does not is left in `refusal`:
 * no object is made for a packet.
 */
export class Forwarding {
  /** Index of the counter, after `outgoing` or `incoming` gave 0. */
  refusal = 0
  readonly #bytes: Uint8Array

  constructor(memory: Memory) {
    this.#bytes = memory.bytes
  }

  /**
   * A packet of `length` bytes that the tun gave: where to send it (an outer address), or 0. The total length in its
   * header must be `length`; that of a train of segments is the train's.
   */
  outgoing(at: number, length: number, table: PeerTable): number {
    const bytes = this.#bytes
    const total = this.#totalLength(at, length)
    if (total === 0) return 0
    if (total !== length) return this.#refuse(Counter.dropMalformed)
    const outer = table.routeOf(readU32be(bytes, at + 16))
    // Looked up before the TTL, as flannel does: an unknown destination is answered whatever the TTL.
    if (outer === 0) return this.#refuse(Counter.dropNoPeer)
    return decrementTtl(bytes, at) ? outer : this.#refuse(Counter.dropTtl)
  }

  /** A datagram of `length` bytes from the outer address of a peer: the length of the packet in it, or 0. */
  incoming(at: number, length: number, outer: number, table: PeerTable): number {
    const bytes = this.#bytes
    const total = this.#totalLength(at, length)
    if (total === 0) return 0
    const source = readU32be(bytes, at + 12)
    if (source !== outer && table.routeOf(source) !== outer) return this.#refuse(Counter.dropInnerSource)
    // What follows the packet in the datagram is padding, which the kernel would cut off as well.
    return decrementTtl(bytes, at) ? total : this.#refuse(Counter.dropTtl)
  }

  /** From the header; 0 when it is no IPv4 header or says more than is there. */
  #totalLength(at: number, length: number): number {
    const bytes = this.#bytes
    if (length < 1) return this.#refuse(Counter.dropMalformed)
    const first = bytes[at] ?? 0
    if (first >>> 4 !== 4) return this.#refuse(Counter.dropNotIpv4)
    const header = (first & 15) << 2
    if (header < IP_HEADER_BYTES || length < header) return this.#refuse(Counter.dropMalformed)
    const total = readU16be(bytes, at + 2)
    return total < header || total > length ? this.#refuse(Counter.dropMalformed) : total
  }

  #refuse(counter: number): 0 {
    this.refusal = counter
    return 0
  }
}

/** False when that makes it 0 (or it was): the packet has to go. The header's checksum is kept right (RFC 1624). */
function decrementTtl(bytes: Uint8Array, at: number): boolean {
  const ttl = bytes[at + 8] ?? 0
  if (ttl <= 1) return false
  bytes[at + 8] = ttl - 1
  // The half word of TTL and protocol fell by 0x0100, so the complemented sum rises by as much.
  writeU16be(bytes, at + 10, fold(readU16be(bytes, at + 10) + 0x0100))
  return true
}

/**
 * Writes the ICMP net-unreachable that answers the packet at `at`, to offset `to` (room: UNREACHABLE_BYTES); its length,
 * or 0 where none may be sent: in answer to ICMP, to a later fragment, to a source that is no host (RFC 1122, 3.2.2).
 */
export function writeUnreachable(memory: Memory, at: number, length: number, to: number, own: number): number {
  const { bytes } = memory
  const firstByte = bytes[at + 12] ?? 0
  const laterFragment = (readU16be(bytes, at + 6) & 0x1fff) !== 0
  if (bytes[at + 9] === ICMP || laterFragment || firstByte === 0 || firstByte === 127 || firstByte >= 224) return 0
  const quoted = Math.min(length, (((bytes[at] ?? 0) & 15) << 2) + 8)
  const total = IP_HEADER_BYTES + 8 + quoted
  bytes.fill(0, to, to + IP_HEADER_BYTES + 8)
  bytes[to] = 0x45
  writeU16be(bytes, to + 2, total)
  bytes[to + 8] = 8
  bytes[to + 9] = ICMP
  writeU32be(bytes, to + 12, own)
  bytes.copyWithin(to + 16, at + 12, at + 16)
  writeU16be(bytes, to + 10, ~sumOf(memory, to, IP_HEADER_BYTES))
  const icmp = to + IP_HEADER_BYTES
  bytes[icmp] = 3
  bytes.copyWithin(icmp + 8, at, at + quoted)
  writeU16be(bytes, icmp + 2, ~sumOf(memory, icmp, 8 + quoted))
  return total
}

export function readU16be(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
}

/** Signed: the top bit is the sign. */
export function readU32be(bytes: Uint8Array, at: number): number {
  return (readU16be(bytes, at) << 16) | readU16be(bytes, at + 2)
}

/** The lower 16 bits of any number. */
export function writeU16be(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8
  bytes[at + 1] = value
}

export function writeU32be(bytes: Uint8Array, at: number, value: number): void {
  writeU16be(bytes, at, value >>> 16)
  writeU16be(bytes, at + 2, value)
}
