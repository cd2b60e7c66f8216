import type { Memory } from './memory.ts'

/** Bytes of struct virtio_net_hdr_mrg_rxbuf, which stands before each packet of the tun. */
export const OFFLOAD_HEADER_BYTES = 12

// Source: linux/virtio_net.h. All fields little-endian here, as the tun has them on such a machine.
export const NEEDS_CHECKSUM = 1
export const GSO_NONE = 0
export const GSO_TCP4 = 1
export const GSO_UDP = 5
/** Set beside GSO_TCP4 when the first segment carries CWR. */
export const GSO_ECN = 0x80

/** Offset of the checksum in a TCP header. */
export const TCP_CHECKSUM = 16
/** Offset of the checksum in a UDP header. */
export const UDP_CHECKSUM = 6

/** A header of a packet that is as it should be: no train, every checksum filled in. */
export function writePlainHeader(memory: Memory, at: number): void {
  const { words } = memory
  const index = at >>> 2
  words[index] = 0
  words[index + 1] = 0
  words[index + 2] = 0
}

/** A header of a train: segments of `size` bytes of payload behind headers of `headerBytes`, from `checksumStart` on checksummed. */
export function writeTrainHeader(
  memory: Memory,
  at: number,
  train: { gso: number; headerBytes: number; size: number; checksumStart: number; checksumOffset: number },
): void {
  const { words } = memory
  const index = at >>> 2
  words[index] = NEEDS_CHECKSUM | (train.gso << 8) | (train.headerBytes << 16)
  words[index + 1] = train.size | (train.checksumStart << 16)
  words[index + 2] = train.checksumOffset
}

/** Reads one header at a time into itself: no object for each packet. */
export class OffloadHeader {
  needsChecksum = false
  gso = GSO_NONE
  /** Bytes of payload of each segment. */
  size = 0
  /** Where the sum begins, from the first byte of the packet. */
  checksumStart = 0
  /** Where the sum goes, from there. */
  checksumOffset = 0

  read(memory: Memory, at: number): void {
    const { words } = memory
    const index = at >>> 2
    const first = words[index] ?? 0
    const second = words[index + 1] ?? 0
    this.needsChecksum = (first & NEEDS_CHECKSUM) !== 0
    this.gso = (first >>> 8) & 0xff & ~GSO_ECN
    this.size = second & 0xffff
    this.checksumStart = second >>> 16
    this.checksumOffset = (words[index + 2] ?? 0) & 0xffff
  }
}
