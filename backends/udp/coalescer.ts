import { fold, sumOf } from './checksum.ts'
import { IP_HEADER_BYTES, readU16be, readU32be, TCP, writeU16be } from './forwarding.ts'
import { type Arena, type Memory, prepareVectors, VECTOR_BYTES, writeVector } from './memory.ts'
import { GSO_TCP4, OFFLOAD_HEADER_BYTES, TCP_CHECKSUM, writePlainHeader, writeTrainHeader } from './offload.ts'
import { Counter } from './proxy-memory.ts'

/** Packets or trains on their way to the tun at most. */
const ITEMS = 256
const SEGMENTS_MOST = 64
/** Offload header, first packet, and the payload of each further segment. */
const VECTORS_EACH = SEGMENTS_MOST + 1
/** Flows whose trains may still grow; more at once are rare within one batch. */
const OPEN_MOST = 16
const HEADER_ROOM = 16
const PACKET_BYTES_MOST = 65_535

/** Offset of the TCP flags. */
const FLAGS = IP_HEADER_BYTES + 13
const ACK = 0x10
const PSH = 0x08
const DONT_FRAGMENT = 0x4000

/**
 * Packets on their way to the tun. Segments of one flow that follow each other become one train, which passes the kernel
 * at the price of a packet (what GRO does for a NIC). Only what would be cut again into exactly these packets is joined
 * (but for the identification of packets that must not be fragmented: it says nothing, RFC 6864),
 * and only with right checksums, since the kernel no longer looks at those of a train. Packets stay in order within a flow.
 *
 * TCP only: a train of small UDP datagrams falls into the receiver's socket at once and overflows it; measured, a flooded
 * receiver got half as many.
 */
export class Coalescer {
  readonly #memory: Memory
  readonly #write: (vectors: number, count: number) => number
  readonly #counters: Float64Array
  readonly #headers: number
  readonly #vectors: number
  #items = 0
  // One entry per item. `head` is where its first packet is, `total` the length of the whole as one packet.
  readonly #head = new Int32Array(ITEMS)
  readonly #total = new Int32Array(ITEMS)
  readonly #segments = new Int32Array(ITEMS)
  readonly #headerBytes = new Int32Array(ITEMS)
  readonly #size = new Int32Array(ITEMS)
  readonly #nextSequence = new Int32Array(ITEMS)
  readonly #lastId = new Int32Array(ITEMS)
  readonly #pushed = new Uint8Array(ITEMS)
  readonly #verified = new Uint8Array(ITEMS)
  readonly #source = new Int32Array(ITEMS)
  readonly #destination = new Int32Array(ITEMS)
  readonly #ports = new Int32Array(ITEMS)
  /** Items that may grow, the one used last in front. */
  readonly #open = new Int32Array(OPEN_MOST)
  #openCount = 0

  /** `write` is `writev` to the tun. */
  constructor(needs: { arena: Arena; write: (vectors: number, count: number) => number; counters: Float64Array }) {
    const { arena } = needs
    this.#memory = arena.memory
    this.#write = needs.write
    this.#counters = needs.counters
    this.#headers = arena.take(ITEMS * HEADER_ROOM)
    this.#vectors = prepareVectors(arena, ITEMS * VECTORS_EACH)
  }

  /** A whole, judged IPv4 packet. Its bytes must stay until `flush`, which changes headers in place. */
  add(at: number, length: number): void {
    const headerBytes = this.#flowHeader(at, length)
    if (headerBytes === 0) {
      this.#append(at, length)
      return
    }
    const open = this.#find(at)
    // An ACK without data, say, cannot be joined, and must not be overtaken by what follows.
    const joinable = length > headerBytes && ((this.#memory.bytes[at + FLAGS] ?? 0) & ~PSH) === ACK
    if (open >= 0) {
      const item = this.#open[open] ?? 0
      if (joinable && this.#fits(item, at, length, headerBytes) && this.#verify(item, at, length)) {
        this.#join(item, open, at, length, headerBytes)
        return
      }
      this.#closeAt(open)
    }
    const item = this.#append(at, length)
    if (joinable) this.#start(item, at, length, headerBytes)
  }

  /** Writes everything; what the kernel does not take is dropped and counted. Returns the first error, or 0. */
  flush(): number {
    let failure = 0
    for (let item = 0; item < this.#items; item += 1) {
      const segments = this.#segments[item] ?? 1
      if (segments > 1) this.#finish(item)
      else writePlainHeader(this.#memory, this.#headers + item * HEADER_ROOM)
      this.#count(Counter.callsWrite, 1)
      const written = this.#write(this.#vectors + item * VECTORS_EACH * VECTOR_BYTES, segments + 1)
      if (written > 0) {
        this.#count(Counter.packetsIn, segments)
        this.#count(Counter.bytesIn, this.#total[item] ?? 0)
      } else {
        this.#count(Counter.dropWriteRefused, segments)
        if (failure === 0) failure = written
      }
    }
    this.#items = 0
    this.#openCount = 0
    return failure
  }

  /** Length of the IPv4 and TCP headers; 0 for what belongs to no flow that could be joined. */
  #flowHeader(at: number, length: number): number {
    const { bytes } = this.#memory
    const fragment = (readU16be(bytes, at + 6) & 0x3fff) !== 0
    if (bytes[at] !== 0x45 || bytes[at + 9] !== TCP || fragment || length < IP_HEADER_BYTES + 20) return 0
    const tcpBytes = ((bytes[at + IP_HEADER_BYTES + 12] ?? 0) >>> 4) << 2
    return tcpBytes >= 20 && IP_HEADER_BYTES + tcpBytes <= length ? IP_HEADER_BYTES + tcpBytes : 0
  }

  /** Index into `#open`, or -1. */
  #find(at: number): number {
    const { bytes } = this.#memory
    const source = readU32be(bytes, at + 12)
    const destination = readU32be(bytes, at + 16)
    const ports = readU32be(bytes, at + IP_HEADER_BYTES)
    for (let index = 0; index < this.#openCount; index += 1) {
      const item = this.#open[index] ?? 0
      if (this.#ports[item] === ports && this.#source[item] === source && this.#destination[item] === destination) {
        return index
      }
    }
    return -1
  }

  /** Whether a train of the item and this packet would be cut into exactly the two again. */
  #fits(item: number, at: number, length: number, headerBytes: number): boolean {
    const { bytes } = this.#memory
    const head = this.#head[item] ?? 0
    const payload = length - headerBytes
    const fragmentBits = readU16be(bytes, at + 6)
    if (
      payload > (this.#size[item] ?? 0) ||
      headerBytes !== this.#headerBytes[item] ||
      (this.#segments[item] ?? 0) >= SEGMENTS_MOST ||
      (this.#total[item] ?? 0) + payload > PACKET_BYTES_MOST ||
      bytes[at + 1] !== bytes[head + 1] ||
      bytes[at + 8] !== bytes[head + 8] ||
      fragmentBits !== readU16be(bytes, head + 6)
    ) {
      return false
    }
    // Without DF a router may fragment, and then the identification counts.
    const inStep = readU16be(bytes, at + 4) === (((this.#lastId[item] ?? 0) + 1) & 0xffff)
    if (!inStep && (fragmentBits & DONT_FRAGMENT) === 0) return false
    if (readU32be(bytes, at + IP_HEADER_BYTES + 4) !== this.#nextSequence[item]) return false
    for (let byte = IP_HEADER_BYTES + 8; byte < headerBytes; byte += 1) {
      // Flags differ at most in PSH; the checksum differs anyway.
      if (byte === FLAGS) continue
      if (byte === IP_HEADER_BYTES + TCP_CHECKSUM) byte += 2
      if (byte < headerBytes && bytes[at + byte] !== bytes[head + byte]) return false
    }
    return true
  }

  /** The packet's own checksums, and once those of the first packet of the item. */
  #verify(item: number, at: number, length: number): boolean {
    if (this.#verified[item] === 0) {
      if (!this.#intact(this.#head[item] ?? 0, (this.#headerBytes[item] ?? 0) + (this.#size[item] ?? 0))) return false
      this.#verified[item] = 1
    }
    return this.#intact(at, length)
  }

  #intact(at: number, length: number): boolean {
    const memory = this.#memory
    const transport = length - IP_HEADER_BYTES
    const pseudo = sumOf(memory, at + 12, 8) + TCP + transport
    return (
      sumOf(memory, at, IP_HEADER_BYTES) === 0xffff &&
      fold(pseudo + sumOf(memory, at + IP_HEADER_BYTES, transport)) === 0xffff
    )
  }

  #append(at: number, length: number): number {
    if (this.#items === ITEMS) this.flush()
    const item = this.#items
    this.#items += 1
    this.#head[item] = at
    this.#total[item] = length
    this.#segments[item] = 1
    const vectors = this.#vectors + item * VECTORS_EACH * VECTOR_BYTES
    writeVector(this.#memory, vectors, this.#headers + item * HEADER_ROOM, OFFLOAD_HEADER_BYTES)
    writeVector(this.#memory, vectors + VECTOR_BYTES, at, length)
    return item
  }

  #start(item: number, at: number, length: number, headerBytes: number): void {
    const { bytes } = this.#memory
    // What is pushed is the end of a train, so there is none to begin.
    if (((bytes[at + FLAGS] ?? 0) & PSH) !== 0) return
    if (this.#openCount === OPEN_MOST) this.#openCount -= 1
    this.#headerBytes[item] = headerBytes
    this.#size[item] = length - headerBytes
    this.#source[item] = readU32be(bytes, at + 12)
    this.#destination[item] = readU32be(bytes, at + 16)
    this.#ports[item] = readU32be(bytes, at + IP_HEADER_BYTES)
    this.#nextSequence[item] = readU32be(bytes, at + IP_HEADER_BYTES + 4) + length - headerBytes
    this.#lastId[item] = readU16be(bytes, at + 4)
    this.#pushed[item] = 0
    this.#verified[item] = 0
    this.#open.copyWithin(1, 0, this.#openCount)
    this.#open[0] = item
    this.#openCount += 1
  }

  #join(item: number, open: number, at: number, length: number, headerBytes: number): void {
    const { bytes } = this.#memory
    const payload = length - headerBytes
    const segments = this.#segments[item] ?? 0
    const vector = this.#vectors + (item * VECTORS_EACH + segments + 1) * VECTOR_BYTES
    writeVector(this.#memory, vector, at + headerBytes, payload)
    this.#segments[item] = segments + 1
    this.#total[item] = (this.#total[item] ?? 0) + payload
    this.#nextSequence[item] = (this.#nextSequence[item] ?? 0) + payload
    this.#lastId[item] = readU16be(bytes, at + 4)
    const pushed = ((bytes[at + FLAGS] ?? 0) & PSH) !== 0
    if (pushed) this.#pushed[item] = 1
    if (pushed || payload < (this.#size[item] ?? 0)) this.#closeAt(open)
  }

  #closeAt(open: number): void {
    this.#open.copyWithin(open, open + 1, this.#openCount)
    this.#openCount -= 1
  }

  /** Makes the headers of the first packet those of the train. */
  #finish(item: number): void {
    const memory = this.#memory
    const { bytes } = memory
    const at = this.#head[item] ?? 0
    const total = this.#total[item] ?? 0
    writeU16be(bytes, at + 2, total)
    writeU16be(bytes, at + 10, 0)
    writeU16be(bytes, at + 10, ~sumOf(memory, at, IP_HEADER_BYTES))
    bytes[at + FLAGS] = ACK | (this.#pushed[item] === 1 ? PSH : 0)
    // Not complemented: the kernel adds the rest when it cuts the train.
    const pseudo = fold(sumOf(memory, at + 12, 8) + TCP + total - IP_HEADER_BYTES)
    writeU16be(bytes, at + IP_HEADER_BYTES + TCP_CHECKSUM, pseudo)
    writeTrainHeader(memory, this.#headers + item * HEADER_ROOM, {
      gso: GSO_TCP4,
      headerBytes: this.#headerBytes[item] ?? 0,
      size: this.#size[item] ?? 0,
      checksumStart: IP_HEADER_BYTES,
      checksumOffset: TCP_CHECKSUM,
    })
  }

  #count(counter: number, by: number): void {
    this.#counters[counter] = (this.#counters[counter] ?? 0) + by
  }
}
