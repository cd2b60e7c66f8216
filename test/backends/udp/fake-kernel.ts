import assert from 'node:assert/strict'
import { Arena, type Memory } from '../../../backends/udp/memory.ts'

/** An address that does not fit 32 bits, as a real one. */
const BASE = 0x7f12_3000_0000

export function makeMemory(size = 2 ** 21): Memory {
  const buffer = new ArrayBuffer(size)
  return { bytes: new Uint8Array(buffer), words: new Uint32Array(buffer), address: BASE }
}

export function makeArena(): Arena {
  return new Arena(makeMemory())
}

/** The bytes that `count` struct iovec at an offset point at; what lies outside of the memory fails the test, as EFAULT would. */
export function gather({ bytes }: Memory, vectors: number, count: number): Uint8Array {
  const parts: Uint8Array[] = []
  for (let at = vectors; at < vectors + count * 16; at += 16) {
    const start = readPointer(bytes, at)
    const length = Number(view(bytes).getBigUint64(at + 8, true))
    assert.ok(start >= 0 && start + length <= bytes.length, `a vector points outside of the memory: ${start}+${length}`)
    parts.push(bytes.slice(start, start + length))
  }
  return Buffer.concat(parts)
}

/** One struct mmsghdr as a program would mean it. */
export interface SentMessage {
  readonly to: string
  readonly port: number
  /** As the kernel cuts it; without UDP_SEGMENT the whole. */
  readonly datagrams: readonly Uint8Array[]
}

export function readMessage(memory: Memory, at: number): SentMessage {
  const { bytes } = memory
  const data = view(bytes)
  const name = readPointer(bytes, at)
  assert.equal(data.getUint32(at + 8, true), 16)
  assert.equal(data.getUint16(name, true), 2)
  const whole = gather(memory, readPointer(bytes, at + 16), Number(data.getBigUint64(at + 24, true)))
  let size = whole.length
  if (Number(data.getBigUint64(at + 40, true)) > 0) {
    const control = readPointer(bytes, at + 32)
    assert.deepEqual(
      [data.getBigUint64(control, true), data.getInt32(control + 8, true), data.getInt32(control + 12, true)],
      [18n, 17, 103],
    )
    size = data.getUint16(control + 16, true)
  }
  const datagrams: Uint8Array[] = []
  for (let start = 0; start < whole.length; start += size) datagrams.push(whole.subarray(start, start + size))
  assert.ok(datagrams.length <= 64 && whole.length <= 65_507, 'the kernel would refuse the message')
  return { to: bytes.subarray(name + 4, name + 8).join('.'), port: data.getUint16(name + 2), datagrams }
}

/** Fills the room of a struct mmsghdr as `recvmmsg` does; `size` as UDP_GRO tells it. */
export function fillMessage(
  memory: Memory,
  at: number,
  message: { from: string; payload: Uint8Array; size?: number; truncated?: boolean },
): void {
  const { bytes } = memory
  const data = view(bytes)
  bytes.set([2, 0, 0x20, 0x5d, ...message.from.split('.').map(Number)], readPointer(bytes, at))
  bytes.set(message.payload, readPointer(bytes, readPointer(bytes, at + 16)))
  const control = readPointer(bytes, at + 32)
  assert.ok(data.getBigUint64(at + 40, true) >= 24n, 'no room for the control message')
  if (message.size === undefined) data.setBigUint64(at + 40, 0n, true)
  else {
    data.setBigUint64(at + 40, 24n, true)
    data.setBigUint64(control, 20n, true)
    data.setInt32(control + 8, 17, true)
    data.setInt32(control + 12, 104, true)
    data.setInt32(control + 16, message.size, true)
  }
  data.setInt32(at + 48, message.truncated ? 0x20 : 0, true)
  data.setUint32(at + 56, message.payload.length, true)
}

export interface PacketOptions {
  readonly source?: string
  readonly destination?: string
  readonly protocol?: number
  readonly ttl?: number
  readonly id?: number
  readonly fragment?: number
  readonly payload?: Uint8Array
}

/** A whole IPv4 packet; its payload is taken as it is. */
export function ipPacket(options: PacketOptions = {}): Uint8Array {
  const { source = '10.5.1.2', destination = '10.5.2.2', protocol = 1, ttl = 64, id = 7, fragment = 0x4000 } = options
  const payload = options.payload ?? new Uint8Array(8)
  const packet = new Uint8Array(20 + payload.length)
  const data = view(packet)
  packet[0] = 0x45
  data.setUint16(2, packet.length)
  data.setUint16(4, id)
  data.setUint16(6, fragment)
  packet[8] = ttl
  packet[9] = protocol
  packet.set([...source.split('.'), ...destination.split('.')].map(Number), 12)
  packet.set(payload, 20)
  data.setUint16(10, ~checksum(packet.subarray(0, 20)))
  return packet
}

export interface SegmentOptions extends PacketOptions {
  readonly ports?: readonly [number, number]
  readonly sequence?: number
  readonly acknowledged?: number
  readonly flags?: number
  readonly window?: number
  /** A multiple of 4 bytes. */
  readonly tcpOptions?: Uint8Array
  readonly data: Uint8Array
}

export function tcpPacket(options: SegmentOptions): Uint8Array {
  const { ports = [5000, 6000], sequence = 1000, acknowledged = 5, flags = 0x10, window = 500 } = options
  const tcpOptions = options.tcpOptions ?? new Uint8Array(0)
  const segment = new Uint8Array(20 + tcpOptions.length + options.data.length)
  const data = view(segment)
  data.setUint16(0, ports[0])
  data.setUint16(2, ports[1])
  data.setUint32(4, sequence >>> 0)
  data.setUint32(8, acknowledged)
  segment[12] = ((20 + tcpOptions.length) / 4) << 4
  segment[13] = flags
  data.setUint16(14, window)
  segment.set(tcpOptions, 20)
  segment.set(options.data, 20 + tcpOptions.length)
  return withTransportChecksum(ipPacket({ ...options, protocol: 6, payload: segment }), 16)
}

export function udpPacket(options: Omit<SegmentOptions, 'sequence' | 'flags'>): Uint8Array {
  const { ports = [5000, 6000] } = options
  const datagram = new Uint8Array(8 + options.data.length)
  const data = view(datagram)
  data.setUint16(0, ports[0])
  data.setUint16(2, ports[1])
  data.setUint16(4, datagram.length)
  datagram.set(options.data, 8)
  return withTransportChecksum(ipPacket({ ...options, protocol: 17, payload: datagram }), 6)
}

/** Whether the checksums of the IPv4 header and of TCP or UDP are right, computed here the slow way. */
export function intact(packet: Uint8Array): boolean {
  const transport = packet.subarray(20)
  const pseudo = [...packet.subarray(12, 20), 0, packet[9] ?? 0, transport.length >>> 8, transport.length & 255]
  return checksum(packet.subarray(0, 20)) === 0xffff && checksum([...pseudo, ...transport]) === 0xffff
}

/** RFC 1071, by the letter. */
export function checksum(bytes: ArrayLike<number>): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 1) sum += (bytes[at] ?? 0) << (at % 2 === 0 ? 8 : 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000)
  return sum
}

/** The pseudo header's part, which is what a packet has whose checksum is left to a device. */
export function partialChecksum(packet: Uint8Array, offset: number): Uint8Array {
  const copy = packet.slice()
  const transport = copy.length - 20
  const pseudo = [...copy.subarray(12, 20), 0, copy[9] ?? 0, transport >>> 8, transport & 255]
  view(copy).setUint16(20 + offset, checksum(pseudo))
  return copy
}

function withTransportChecksum(packet: Uint8Array, offset: number): Uint8Array {
  const partial = partialChecksum(packet, offset)
  const sum = ~checksum(partial.subarray(20)) & 0xffff
  view(partial).setUint16(20 + offset, sum === 0 ? 0xffff : sum)
  return partial
}

function readPointer(bytes: Uint8Array, at: number): number {
  return Number(view(bytes).getBigUint64(at, true)) - BASE
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
