import type { Memory } from './memory.ts'

/**
 * Ones' complement sum (RFC 1071) of `length` bytes at `offset`, folded to 16 bits, first byte high; at any alignment.
 * At most 64 KiB. Not complemented: sums of parts may be added, if all parts but the last have an even length.
 */
export function sumOf(memory: Memory, offset: number, length: number): number {
  const { bytes, words } = memory
  const end = offset + length
  let at = offset
  // Summed as little-endian halves at even offsets; the order of bytes is put right at the end.
  let sum = 0
  if (at & 1 && at < end) {
    sum += byteAt(bytes, at) << 8
    at += 1
  }
  if (at & 2 && at + 2 <= end) {
    sum += byteAt(bytes, at) | (byteAt(bytes, at + 1) << 8)
    at += 2
  }
  // Four chains, because an addition must wait for the one before; 2^14 words of 2^32 are exact in a double.
  let index = at >>> 2
  const lastWord = end >>> 2
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  if ((at & 3) === 0) {
    for (; index + 8 <= lastWord; index += 8) {
      a += words[index] ?? 0
      b += words[index + 1] ?? 0
      c += words[index + 2] ?? 0
      d += words[index + 3] ?? 0
      a += words[index + 4] ?? 0
      b += words[index + 5] ?? 0
      c += words[index + 6] ?? 0
      d += words[index + 7] ?? 0
    }
    for (; index < lastWord; index += 1) a += words[index] ?? 0
    at = Math.max(at, lastWord << 2)
  }
  for (; at < end; at += 1) sum += byteAt(bytes, at) << ((at & 1) << 3)
  sum = foldWide(a + b + c + d + sum)
  return offset & 1 ? sum : swap(sum)
}

/** Adds the carries back in, for a sum below 2^32. */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16)
  return (once & 0xffff) + (once >>> 16)
}

function foldWide(sum: number): number {
  const high = Math.floor(sum / 2 ** 32)
  const low = sum >>> 0
  return fold(high + (low & 0xffff) + (low >>> 16))
}

function swap(half: number): number {
  return ((half & 0xff) << 8) | (half >>> 8)
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0
}
