import { fold, sumOf } from './checksum.ts'
import { readU16be, readU32be, TCP, UDP, writeU16be, writeU32be } from './forwarding.ts'
import type { Memory } from './memory.ts'
import { GSO_NONE, GSO_TCP4, GSO_UDP, type OffloadHeader, TCP_CHECKSUM, UDP_CHECKSUM } from './offload.ts'
import type { SendBatch } from './send-batch.ts'

const FIN_PSH = 0x09
const CWR = 0x80
const TCP_HEADER_BYTES = 20
const UDP_HEADER_BYTES = 8

/**
 * Turns what the tun gives, a packet or a train with checksums left out, into complete packets of a batch. The payload is
 * sent from where it lies; only headers are written anew.
 */
export class Splitter {
  readonly #memory: Memory
  readonly #batch: SendBatch

  constructor(memory: Memory, batch: SendBatch) {
    this.#memory = memory
    this.#batch = batch
  }

  /** A packet at `at` (a multiple of 4) whose IPv4 header was judged; false: its offload header does not fit it. */
  add(to: number, at: number, length: number, offload: OffloadHeader): boolean {
    if (offload.gso !== GSO_NONE) return this.#addTrain(to, at, length, offload)
    if (offload.needsChecksum && !this.#fillChecksum(at, length, offload)) return false
    this.#batch.begin(to, length)
    this.#batch.add(at, length)
    return true
  }

  /** The field holds the sum of the pseudo header; the sum over all from `checksumStart` on completes it. */
  #fillChecksum(at: number, length: number, { checksumStart, checksumOffset }: OffloadHeader): boolean {
    const { bytes } = this.#memory
    const headerBytes = ((bytes[at] ?? 0) & 15) << 2
    if (checksumStart < headerBytes || checksumStart + checksumOffset + 2 > length) return false
    const sum = ~sumOf(this.#memory, at + checksumStart, length - checksumStart) & 0xffff
    // In UDP zero means "none"; elsewhere both zeros are the same number.
    writeU16be(bytes, at + checksumStart + checksumOffset, sum === 0 ? 0xffff : sum)
    return true
  }

  #addTrain(to: number, at: number, length: number, offload: OffloadHeader): boolean {
    const { bytes } = this.#memory
    const protocol = bytes[at + 9] ?? 0
    const ipBytes = ((bytes[at] ?? 0) & 15) << 2
    const fragment = (readU16be(bytes, at + 6) & 0x3fff) !== 0
    if (fragment || !offload.needsChecksum || offload.checksumStart !== ipBytes || offload.size === 0) return false
    if (offload.gso === GSO_TCP4 && protocol === TCP && offload.checksumOffset === TCP_CHECKSUM) {
      const tcpBytes = ipBytes + TCP_HEADER_BYTES <= length ? ((bytes[at + ipBytes + 12] ?? 0) >>> 4) << 2 : 0
      if (tcpBytes < TCP_HEADER_BYTES || ipBytes + tcpBytes >= length) return false
      this.#split(to, at, length, ipBytes, tcpBytes, offload.size, true)
      return true
    }
    if (offload.gso === GSO_UDP && protocol === UDP && offload.checksumOffset === UDP_CHECKSUM) {
      if (ipBytes + UDP_HEADER_BYTES >= length) return false
      this.#split(to, at, length, ipBytes, UDP_HEADER_BYTES, offload.size, false)
      return true
    }
    return false
  }

  #split(
    to: number,
    at: number,
    length: number,
    ipBytes: number,
    transportBytes: number,
    size: number,
    tcp: boolean,
  ): void {
    const memory = this.#memory
    const { bytes, words } = memory
    const headerBytes = ipBytes + transportBytes
    const transport = at + ipBytes
    const identification = readU16be(bytes, at + 4)
    const sequence = tcp ? readU32be(bytes, transport + 4) : 0
    const flags = tcp ? (bytes[transport + 13] ?? 0) : 0
    // The template: what differs from segment to segment is zero, so that its sums serve all of them.
    writeU16be(bytes, at + 2, 0)
    writeU16be(bytes, at + 4, 0)
    writeU16be(bytes, at + 10, 0)
    if (tcp) {
      writeU32be(bytes, transport + 4, 0)
      bytes[transport + 13] = 0
    } else writeU16be(bytes, transport + 4, 0)
    writeU16be(bytes, transport + (tcp ? TCP_CHECKSUM : UDP_CHECKSUM), 0)
    const ipSum = sumOf(memory, at, ipBytes)
    const transportSum = fold(sumOf(memory, transport, transportBytes) + sumOf(memory, at + 12, 8) + (tcp ? TCP : UDP))
    const end = at + length
    const headerWords = headerBytes >>> 2
    for (let payload = at + headerBytes, number = 0; payload < end; payload += size, number += 1) {
      const payloadBytes = Math.min(size, end - payload)
      const last = payload + payloadBytes === end
      this.#batch.begin(to, headerBytes + payloadBytes)
      const slot = this.#batch.headerSlot()
      for (let word = 0; word < headerWords; word += 1) words[(slot >>> 2) + word] = words[(at >>> 2) + word] ?? 0
      const total = headerBytes + payloadBytes
      const id = (identification + number) & 0xffff
      writeU16be(bytes, slot + 2, total)
      writeU16be(bytes, slot + 4, id)
      writeU16be(bytes, slot + 10, ~fold(ipSum + total + id))
      const inTransport = slot + ipBytes
      const transportLength = transportBytes + payloadBytes
      let sum = transportSum + transportLength + sumOf(memory, payload, payloadBytes)
      if (tcp) {
        const seq = (sequence + number * size) | 0
        // FIN and PSH belong to the last segment, CWR to the first (RFC 3168).
        const segmentFlags = flags & (last ? 0xff : ~FIN_PSH) & (number === 0 ? 0xff : ~CWR)
        writeU32be(bytes, inTransport + 4, seq)
        bytes[inTransport + 13] = segmentFlags
        sum += (seq >>> 16) + (seq & 0xffff) + segmentFlags
        writeU16be(bytes, inTransport + TCP_CHECKSUM, ~fold(sum))
      } else {
        writeU16be(bytes, inTransport + 4, transportLength)
        const checksum = ~fold(sum + transportLength) & 0xffff
        writeU16be(bytes, inTransport + UDP_CHECKSUM, checksum === 0 ? 0xffff : checksum)
      }
      this.#batch.add(slot, headerBytes)
      this.#batch.add(payload, payloadBytes)
    }
  }
}
