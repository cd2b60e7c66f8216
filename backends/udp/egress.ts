import type { Coalescer } from './coalescer.ts'
import { type Forwarding, UNREACHABLE_BYTES, writeUnreachable } from './forwarding.ts'
import type { Arena, Memory } from './memory.ts'
import { GSO_NONE, OFFLOAD_HEADER_BYTES, OffloadHeader } from './offload.ts'
import type { PeerTable } from './peer-table.ts'
import { Counter } from './proxy-memory.ts'
import type { SendBatch } from './send-batch.ts'
import { Splitter } from './splitter.ts'

/** What one read may give: an offload header and the longest IPv4 packet. */
const READ_ROOM = 65_536 + 64
/** So much is read before it is sent: less stays in the processor's cache, more makes longer trains of small packets. */
const BUFFER_BYTES = 4 * READ_ROOM
const READS_MOST = 64

/** From the tun to the socket, a batch at a time. */
export class Egress {
  readonly #memory: Memory
  readonly #forwarding: Forwarding
  readonly #read: (at: number, length: number) => number
  readonly #batch: SendBatch
  readonly #splitter: Splitter
  readonly #replies: Coalescer
  readonly #counters: Float64Array
  readonly #buffer: number
  readonly #reply: number
  readonly #offload = new OffloadHeader()

  /** `read` reads one packet from the tun to an offset; `replies` go back into it. */
  constructor(needs: {
    arena: Arena
    forwarding: Forwarding
    read: (at: number, length: number) => number
    batch: SendBatch
    replies: Coalescer
    counters: Float64Array
  }) {
    this.#memory = needs.arena.memory
    this.#forwarding = needs.forwarding
    this.#read = needs.read
    this.#batch = needs.batch
    this.#splitter = new Splitter(this.#memory, needs.batch)
    this.#replies = needs.replies
    this.#counters = needs.counters
    this.#buffer = needs.arena.take(BUFFER_BYTES)
    this.#reply = needs.arena.take(UNREACHABLE_BYTES)
  }

  /** The last read's negative errno (EAGAIN: the tun is empty), or how many packets were read when there may be more. */
  turn(table: PeerTable): number {
    let at = this.#buffer
    const end = this.#buffer + BUFFER_BYTES
    let reads = 0
    let length = 0
    for (; reads < READS_MOST && at + READ_ROOM <= end; reads += 1) {
      length = this.#read(at, READ_ROOM)
      if (length <= 0) break
      this.#packet(at, length, table)
      // The next packet is aligned as well: headers are copied and summed by words.
      at = (at + length + 63) & ~63
    }
    this.#batch.flush()
    this.#count(Counter.callsRead, reads)
    return length < 0 ? length : reads
  }

  #packet(at: number, length: number, table: PeerTable): void {
    const packet = at + OFFLOAD_HEADER_BYTES
    const bytes = length - OFFLOAD_HEADER_BYTES
    this.#offload.read(this.#memory, at)
    const outer = this.#forwarding.outgoing(packet, bytes, table)
    if (outer === 0) {
      const reason = this.#forwarding.refusal
      this.#count(reason, this.#packetsIn(bytes))
      if (reason === Counter.dropNoPeer) this.#answer(packet, bytes, table)
    } else if (!this.#splitter.add(outer, packet, bytes, this.#offload)) this.#count(Counter.dropOffloadHeader, 1)
  }

  #answer(packet: number, length: number, table: PeerTable): void {
    const reply = writeUnreachable(this.#memory, packet, length, this.#reply, table.own)
    if (reply === 0) return
    this.#replies.add(this.#reply, reply)
    // At once, because there is one place for a reply.
    if (this.#replies.flush() === 0) this.#count(Counter.unreachableSent, 1)
  }

  #packetsIn(bytes: number): number {
    const { gso, size } = this.#offload
    return gso === GSO_NONE || size === 0 ? 1 : Math.max(1, Math.ceil(bytes / size))
  }

  #count(counter: number, by: number): void {
    this.#counters[counter] = (this.#counters[counter] ?? 0) + by
  }
}
