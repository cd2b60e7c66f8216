/** Bytes at a fixed address, as `kernel/ffi/native-memory.ts` gives them: packets and the structs of system calls lie in it. */
export interface Memory {
  readonly bytes: Uint8Array
  /** The same bytes as little-endian words. */
  readonly words: Uint32Array
  /** Of the first byte; its upper half is that of every byte. */
  readonly address: number
}

/** Hands out parts of one memory; nothing is given back. Offsets are aligned to 64 bytes: a struct then lies in few cache lines. */
export class Arena {
  readonly memory: Memory
  #used = 0

  constructor(memory: Memory) {
    this.memory = memory
  }

  /** Offset of `size` bytes. Throws a RangeError when the memory is too small: its size is a constant of the program. */
  take(size: number): number {
    const offset = this.#used
    this.#used = (offset + size + 63) & ~63
    if (offset + size > this.memory.bytes.length) throw new RangeError('the arena is too small')
    return offset
  }

  /** `count` structs of `pointerAt`: each gets a pointer to its own part of `size` bytes. Returns the offset of the first part. */
  takeEach(count: number, size: number, pointerAt: (index: number) => number): number {
    const first = this.take(count * size)
    for (let index = 0; index < count; index += 1) writePointer(this.memory, pointerAt(index), first + index * size)
    return first
  }
}

/** Writes the address of the byte at `target`, 8 bytes, at offset `at` (a multiple of 4). */
export function writePointer(memory: Memory, at: number, target: number): void {
  memory.words[at >>> 2] = memory.address + target
  memory.words[(at >>> 2) + 1] = Math.floor(memory.address / 2 ** 32)
}

/** Bytes of struct iovec: pointer and length. */
export const VECTOR_BYTES = 16

/** One struct iovec at offset `at`, whose upper halves were set before (`prepareVectors`). */
export function writeVector(memory: Memory, at: number, target: number, length: number): void {
  const { words } = memory
  words[at >>> 2] = memory.address + target
  words[(at >>> 2) + 2] = length
}

/** An array of struct iovec; what never changes is written once. */
export function prepareVectors(arena: Arena, count: number): number {
  const first = arena.take(count * VECTOR_BYTES)
  for (let index = 0; index < count; index += 1) writePointer(arena.memory, first + index * VECTOR_BYTES, 0)
  return first
}
