import { type Arena, type Memory, prepareVectors, VECTOR_BYTES, writePointer, writeVector } from './memory.ts'
import { Counter } from './proxy-memory.ts'

/** What a batch asks of the kernel; errors are negative errnos. */
export interface SendPort {
  /** `sendmmsg` of `count` struct mmsghdr. */
  send(messages: number, count: number): number
  /** Blocks for some milliseconds, until the socket may take more; false: it is no use. */
  awaitRoom(tries: number): boolean
}

/** linux/socket.h on 64-bit machines: struct mmsghdr, struct sockaddr_in, a cmsghdr with a 16-bit value. */
export const MESSAGE_BYTES = 64
export const NAME_BYTES = 16
const CONTROL_BYTES = 24
/** Room for the headers that a segment gets instead of its train's: IPv4 and TCP with all options. */
export const HEADER_SLOT_BYTES = 128

const MESSAGES = 64
const DATAGRAMS = 512
const VECTORS_EACH = 2
/** UDP_MAX_SEGMENTS of every kernel (128 since Linux 6.9). */
const SEGMENTS_MOST = 64
/** What one UDP datagram can hold; a train is one until it is cut. */
const TRAIN_BYTES = 65_507

const EINTR = -4
const EIO = -5
const EAGAIN = -11
const EINVAL = -22
const EMSGSIZE = -90
const ENOBUFS = -105

/**
 * Datagrams on their way to the socket. Those that go to one peer in a row and have one size (the last may be shorter)
 * become one message, which the kernel cuts again (UDP_SEGMENT); all messages leave by one system call.
 */
export class SendBatch {
  /** Turned off for good when a device cannot (EIO). */
  #segmentation: boolean
  readonly #port: SendPort
  readonly #memory: Memory
  readonly #counters: Float64Array
  readonly #headers: number
  readonly #vectors: number
  readonly #messages: number
  readonly #names: number
  readonly #controls: number
  // One entry per message. `first` is the index of the first datagram.
  readonly #to = new Int32Array(MESSAGES)
  readonly #size = new Int32Array(MESSAGES)
  readonly #first = new Int32Array(MESSAGES + 1)
  readonly #bytes = new Int32Array(MESSAGES)
  /** Index of the first vector, one entry per datagram. */
  readonly #vectorOf = new Int32Array(DATAGRAMS + 1)
  #messageCount = 0
  #datagramCount = 0
  #vectorCount = 0
  /** A shorter datagram was the last of its train. */
  #ended = false

  constructor(
    needs: { arena: Arena; port: SendPort; counters: Float64Array },
    options: { peerPort: number; segmentation: boolean },
  ) {
    const { arena } = needs
    this.#port = needs.port
    this.#memory = arena.memory
    this.#counters = needs.counters
    this.#segmentation = options.segmentation
    this.#headers = arena.take(DATAGRAMS * HEADER_SLOT_BYTES)
    this.#vectors = prepareVectors(arena, DATAGRAMS * VECTORS_EACH)
    this.#messages = arena.take(MESSAGES * MESSAGE_BYTES)
    this.#names = arena.takeEach(MESSAGES, NAME_BYTES, (index) => this.#messages + index * MESSAGE_BYTES)
    this.#controls = arena.takeEach(MESSAGES, CONTROL_BYTES, (index) => this.#messages + index * MESSAGE_BYTES + 32)
    for (let index = 0; index < MESSAGES; index += 1) this.#prepare(index, options.peerPort)
  }

  /** Begins a datagram of `length` bytes to the outer address; `header` and `payload` then say where these bytes are. */
  begin(to: number, length: number): void {
    if (this.#datagramCount === DATAGRAMS || !this.#joins(to, length)) this.#open(to, length)
    const message = this.#messageCount - 1
    this.#bytes[message] = (this.#bytes[message] ?? 0) + length
    this.#ended = length < (this.#size[message] ?? 0)
    this.#vectorOf[this.#datagramCount] = this.#vectorCount
    this.#datagramCount += 1
  }

  /** Adds bytes to the datagram; at most twice. They must stay until `flush`. */
  add(offset: number, length: number): void {
    writeVector(this.#memory, this.#vectors + this.#vectorCount * VECTOR_BYTES, offset, length)
    this.#vectorCount += 1
  }

  /** Offset of HEADER_SLOT_BYTES bytes that belong to the datagram begun last. */
  headerSlot(): number {
    return this.#headers + (this.#datagramCount - 1) * HEADER_SLOT_BYTES
  }

  /** Sends everything; what the kernel does not take is dropped and counted. */
  flush(): void {
    const count = this.#messageCount
    if (count === 0) return
    this.#first[count] = this.#datagramCount
    this.#vectorOf[this.#datagramCount] = this.#vectorCount
    for (let index = 0; index < count; index += 1) this.#close(index)
    let done = 0
    while (done < count) {
      const sent = this.#send(this.#messages + done * MESSAGE_BYTES, count - done)
      if (sent > 0) for (const end = done + sent; done < end; done += 1) this.#countSent(done)
      else done = this.#refused(done, sent)
    }
    this.#messageCount = 0
    this.#datagramCount = 0
    this.#vectorCount = 0
  }

  #joins(to: number, length: number): boolean {
    if (this.#messageCount === 0 || this.#ended || !this.#segmentation) return false
    const last = this.#messageCount - 1
    return (
      this.#to[last] === to &&
      length <= (this.#size[last] ?? 0) &&
      (this.#bytes[last] ?? 0) + length <= TRAIN_BYTES &&
      this.#datagramCount - (this.#first[last] ?? 0) < SEGMENTS_MOST
    )
  }

  #open(to: number, length: number): void {
    if (this.#messageCount === MESSAGES || this.#datagramCount === DATAGRAMS) this.flush()
    const index = this.#messageCount
    this.#messageCount += 1
    this.#to[index] = to
    this.#size[index] = length
    this.#bytes[index] = 0
    this.#first[index] = this.#datagramCount
  }

  /** What is the same for every message that ever stands at this place. */
  #prepare(index: number, peerPort: number): void {
    const { words, bytes } = this.#memory
    const at = (this.#messages + index * MESSAGE_BYTES) >>> 2
    words[at + 2] = NAME_BYTES
    const name = this.#names + index * NAME_BYTES
    bytes.set([2, 0, peerPort >>> 8, peerPort & 255], name)
    // struct cmsghdr: length 18, level SOL_UDP, type UDP_SEGMENT.
    words.set([18, 0, 17, 103], (this.#controls + index * CONTROL_BYTES) >>> 2)
  }

  #close(index: number): void {
    const { words, bytes } = this.#memory
    const message = this.#messages + index * MESSAGE_BYTES
    const first = this.#first[index] ?? 0
    const next = this.#first[index + 1] ?? 0
    const vector = this.#vectorOf[first] ?? 0
    writePointer(this.#memory, message + 16, this.#vectors + vector * VECTOR_BYTES)
    words[(message + 24) >>> 2] = (this.#vectorOf[next] ?? 0) - vector
    words[(message + 40) >>> 2] = next - first > 1 ? CONTROL_BYTES : 0
    words[(this.#controls + index * CONTROL_BYTES + 16) >>> 2] = this.#size[index] ?? 0
    const to = this.#to[index] ?? 0
    const name = this.#names + index * NAME_BYTES
    bytes[name + 4] = to >>> 24
    bytes[name + 5] = to >>> 16
    bytes[name + 6] = to >>> 8
    bytes[name + 7] = to
  }

  /** Returns the message to go on with. */
  #refused(index: number, errno: number): number {
    const datagrams = (this.#first[index + 1] ?? 0) - (this.#first[index] ?? 0)
    if (errno === EINTR) return index
    if (datagrams > 1 && (errno === EINVAL || errno === EIO || errno === EMSGSIZE)) {
      // EINVAL, EMSGSIZE: the path takes only smaller datagrams, so these have to become fragments.
      if (errno === EIO) this.#segmentation = false
      this.#count(Counter.unsegmented, 1)
      this.#sendOneByOne(index)
      return index + 1
    }
    this.#count(isFull(errno) ? Counter.dropSendFull : Counter.dropSendRefused, datagrams)
    return index + 1
  }

  #sendOneByOne(index: number): void {
    const { words } = this.#memory
    const message = this.#messages + index * MESSAGE_BYTES
    words[(message + 40) >>> 2] = 0
    const next = this.#first[index + 1] ?? 0
    for (let datagram = this.#first[index] ?? 0; datagram < next; datagram += 1) {
      const vector = this.#vectorOf[datagram] ?? 0
      writePointer(this.#memory, message + 16, this.#vectors + vector * VECTOR_BYTES)
      words[(message + 24) >>> 2] = (this.#vectorOf[datagram + 1] ?? 0) - vector
      const sent = this.#send(message, 1)
      if (sent === 1) this.#count(Counter.packetsOut, 1)
      else this.#count(isFull(sent) ? Counter.dropSendFull : Counter.dropSendRefused, 1)
    }
  }

  /** A full socket or device queue is waited for, for a while; packets from the tun wait meanwhile. */
  #send(messages: number, count: number): number {
    for (let tries = 0; ; tries += 1) {
      this.#count(Counter.callsSend, 1)
      const sent = this.#port.send(messages, count)
      if (!isFull(sent) || !this.#port.awaitRoom(tries)) return sent
    }
  }

  #countSent(index: number): void {
    this.#count(Counter.packetsOut, (this.#first[index + 1] ?? 0) - (this.#first[index] ?? 0))
    this.#count(Counter.bytesOut, this.#bytes[index] ?? 0)
  }

  #count(counter: number, by: number): void {
    this.#counters[counter] = (this.#counters[counter] ?? 0) + by
  }
}

function isFull(errno: number): boolean {
  return errno === EAGAIN || errno === ENOBUFS
}
