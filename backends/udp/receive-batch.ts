import { type Arena, type Memory, VECTOR_BYTES, writePointer, writeVector } from './memory.ts'
import { MESSAGE_BYTES, NAME_BYTES } from './send-batch.ts'

/** A coalesced train is at most one UDP datagram. */
const MESSAGE_ROOM = 65_536
const CONTROL_BYTES = 64
const MSG_TRUNC = 0x20
const SOL_UDP = 17
const UDP_GRO = 104
/** Bytes of struct cmsghdr; the value of UDP_GRO behind it is an int. */
const CONTROL_HEADER = 16

/** Messages from the socket, several per system call; each is one datagram or a train of equal ones of one sender. */
export class ReceiveBatch {
  readonly #memory: Memory
  readonly #receive: (messages: number, count: number) => number
  readonly #room: number
  readonly #buffers: number
  readonly #vectors: number
  readonly #messages: number
  readonly #names: number
  readonly #controls: number

  /** `receive` is `recvmmsg` that does not wait; `messages`: at most so many in one call. */
  constructor(
    needs: { arena: Arena; receive: (messages: number, count: number) => number },
    options: { messages: number },
  ) {
    const { arena } = needs
    const { messages } = options
    this.#memory = arena.memory
    this.#receive = needs.receive
    this.#room = messages
    this.#messages = arena.take(messages * MESSAGE_BYTES)
    const message = (index: number) => this.#messages + index * MESSAGE_BYTES
    this.#names = arena.takeEach(messages, NAME_BYTES, message)
    this.#vectors = arena.takeEach(messages, VECTOR_BYTES, (index) => message(index) + 16)
    this.#controls = arena.takeEach(messages, CONTROL_BYTES, (index) => message(index) + 32)
    this.#buffers = arena.take(messages * MESSAGE_ROOM)
    for (let index = 0; index < messages; index += 1) {
      const vector = this.#vectors + index * VECTOR_BYTES
      writePointer(this.#memory, vector, 0)
      writeVector(this.#memory, vector, this.#buffers + index * MESSAGE_ROOM, MESSAGE_ROOM)
      this.#memory.words[(message(index) + 24) >>> 2] = 1
      this.#reset(index)
    }
  }

  /** How many messages came, or a negative errno. What came before is overwritten. */
  receive(): number {
    return this.#receive(this.#messages, this.#room)
  }

  /** To be called when the messages were dealt with: the kernel wrote the real lengths over those of the room. */
  done(count: number): void {
    for (let index = 0; index < count; index += 1) this.#reset(index)
  }

  /** Offset of the message's first byte. */
  at(index: number): number {
    return this.#buffers + index * MESSAGE_ROOM
  }

  /** Bytes in the message; 0 also for one that was longer than its room. */
  length(index: number): number {
    const word = (this.#messages + index * MESSAGE_BYTES) >>> 2
    const { words } = this.#memory
    if (((words[word + 12] ?? 0) & MSG_TRUNC) !== 0) return 0
    return Math.min(words[word + 14] ?? 0, MESSAGE_ROOM)
  }

  /** Bytes of each datagram in it; the last one may be shorter. */
  datagramBytes(index: number): number {
    const { words } = this.#memory
    const length = this.length(index)
    const message = (this.#messages + index * MESSAGE_BYTES) >>> 2
    const control = (this.#controls + index * CONTROL_BYTES) >>> 2
    if ((words[message + 10] ?? 0) < CONTROL_HEADER + 4) return length
    if (words[control + 2] !== SOL_UDP || words[control + 3] !== UDP_GRO) return length
    const size = (words[control + 4] ?? 0) | 0
    return size > 0 && size < length ? size : length
  }

  /** The sender's address, as `addressNumber`. */
  source(index: number): number {
    const { bytes } = this.#memory
    const at = this.#names + index * NAME_BYTES + 4
    return ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)
  }

  #reset(index: number): void {
    const { words } = this.#memory
    const word = (this.#messages + index * MESSAGE_BYTES) >>> 2
    words[word + 2] = NAME_BYTES
    words[word + 10] = CONTROL_BYTES
    words[word + 12] = 0
  }
}
