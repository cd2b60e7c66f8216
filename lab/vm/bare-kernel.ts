import { readFile, writeFile } from 'node:fs/promises'
import { run } from '../command.ts'

/**
 * Takes the kernel out of its self-extracting image (bzImage). qemu starts it as it is, by the PVH entry that Debian's
 * kernels have: unpacking inside, under emulation, would be half of the time to boot.
 */
export async function writeBareKernel(image: string, bare: string, signal: AbortSignal): Promise<void> {
  await writeFile(`${bare}.xz`, compressedKernel(await readFile(image)))
  // xz says that something follows what it unpacked, which is so: the size, for the image's own loader.
  await run(['sh', '-e', '-c', 'xz -dc --single-stream "$1.xz" >"$1"; rm "$1.xz"', 'sh', bare], {
    timeout: 60_000,
    signal,
  })
}

/** Where the payload stands: Documentation/arch/x86/boot.rst of Linux, "The Real-Mode Kernel Header". */
export function compressedKernel(image: Buffer): Buffer {
  if (image.length < 0x250 || image.toString('latin1', 0x202, 0x206) !== 'HdrS') {
    throw new Error('the kernel image has no boot header')
  }
  const setupSectors = image.readUInt8(0x1f1) || 4
  const start = (setupSectors + 1) * 512 + image.readUInt32LE(0x248)
  return image.subarray(start, start + image.readUInt32LE(0x24c))
}
