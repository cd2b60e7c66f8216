import koffi from 'koffi'

/** Bytes that system calls read and write in place; they keep their address as long as this object lives. */
export interface NativeMemory {
  readonly bytes: Uint8Array
  /** The same bytes as little-endian words. */
  readonly words: Uint32Array
  /** Of the first byte. */
  readonly address: number
}

const GIB_4 = 2 ** 32

/**
 * `size` zeroed bytes. The upper half of the address is the same for all of them, so that a pointer into them is made by
 * one 32-bit write. Throws on a machine whose pointers are not 64-bit little-endian: the layouts of `datagrams.ts` are that.
 */
export function allocateNative(size: number): NativeMemory {
  if (koffi.sizeof('void *') !== 8 || new Uint8Array(Uint16Array.of(1).buffer)[0] !== 1) {
    throw new Error('batched system calls need a 64-bit little-endian machine')
  }
  for (;;) {
    const buffer = new ArrayBuffer(size)
    const address = Number(koffi.address(new Uint8Array(buffer)))
    // Twice in a row across the border is as good as impossible: the first one still holds its place.
    if (Math.floor(address / GIB_4) !== Math.floor((address + size) / GIB_4)) continue
    return { bytes: new Uint8Array(buffer), words: new Uint32Array(buffer), address }
  }
}
