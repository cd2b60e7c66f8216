/**
 * What the worker counts, in the order they lie in shared memory. Drops are packets; those of a train count one by one.
 * Only the worker writes, so plain adds are enough; a reader may see one count a little earlier than another.
 */
export const counterNames = [
  'packetsOut',
  'packetsIn',
  'bytesOut',
  'bytesIn',
  /** Destination in no peer's subnet: answered with ICMP net-unreachable where RFC 1122 allows it. */
  'dropNoPeer',
  /** Not IPv4 at all: the kernel's own IPv6 router solicitations, for one. */
  'dropNotIpv4',
  /** Shorter than its headers say, or headers that cannot be. */
  'dropMalformed',
  'dropTtl',
  /** A virtio_net_hdr that does not fit its packet. */
  'dropOffloadHeader',
  /** A datagram from an address that is no peer's. */
  'dropStranger',
  /** The inner source is neither in the sender's subnet nor its address. */
  'dropInnerSource',
  /** The socket took no more for too long. */
  'dropSendFull',
  /** The kernel refused to send: no route to the peer, a firewall. */
  'dropSendRefused',
  /** The kernel refused to take a packet from the tun: the device is down, for one. */
  'dropWriteRefused',
  'unreachableSent',
  /** System calls, which show how well packets are batched. */
  'callsRead',
  'callsSend',
  'callsReceive',
  'callsWrite',
  /** Messages that had to be sent datagram by datagram. */
  'unsegmented',
] as const

export type CounterName = (typeof counterNames)[number]

/** Index of each counter: `counters[Counter.dropTtl]`. */
export const Counter = Object.freeze(Object.fromEntries(counterNames.map((name, index) => [name, index]))) as Readonly<
  Record<CounterName, number>
>

/** Where the worker keeps what the main thread must know even after the worker died. */
export const Control = {
  /** Rises with every message, so that a worker too busy to wait sees it. */
  doorbell: 0,
  /** Descriptors the worker opened; 0: none. Whoever sees the worker end closes them. */
  eventFd: 1,
  tunFd: 2,
  socketFd: 3,
  /** Rises with every turn of the worker's loop: one that stands still for seconds belongs to a worker that hangs. */
  turns: 4,
} as const

const CONTROL_BYTES = 64

/** Memory that the main thread and the worker share; the same buffer serves one worker after another. */
export class ProxyMemory {
  readonly buffer: SharedArrayBuffer
  /** See `Control`. */
  readonly control: Int32Array
  /** See `Counter`. Doubles: exact up to 2^53, and no BigInt for each packet. */
  readonly counters: Float64Array

  constructor(buffer = new SharedArrayBuffer(CONTROL_BYTES + counterNames.length * 8)) {
    this.buffer = buffer
    this.control = new Int32Array(buffer, 0, CONTROL_BYTES / 4)
    this.counters = new Float64Array(buffer, CONTROL_BYTES, counterNames.length)
  }

  read(): Record<CounterName, number> {
    return Object.fromEntries(counterNames.map((name, index) => [name, this.counters[index] ?? 0])) as Record<
      CounterName,
      number
    >
  }
}
