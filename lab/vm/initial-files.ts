import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { run } from '../command.ts'
import type { DebianKernel } from './kernel-package.ts'

const busybox = '/bin/busybox'

/** What a kernel needs before it sees the machine's root; everything else it loads on demand from there. */
const needed = ['virtio_pci', '9pnet_virtio', '9p', 'overlay', 'virtio_console']

/** For a disk beside it. ext4 asks for crc32c by name, so nothing says that it needs it. */
const neededForDisk = ['virtio_blk', 'crc32c_generic', 'ext4']

/** Writes an initramfs: busybox, the modules that lead to the machine's root, and stage1.sh as /init. */
export async function initialFiles(
  kernel: DebianKernel,
  { work, hasDisk }: { readonly work: string; readonly hasDisk: boolean },
  signal: AbortSignal,
): Promise<string> {
  const root = join(work, 'initial')
  for (const folder of ['bin', 'proc', 'dev', 'modules', 'machine', 'memory', 'whole']) {
    await mkdir(join(root, folder), { recursive: true })
  }
  await copyFile(join(import.meta.dirname, 'stage1.sh'), join(root, 'init'))
  await copyFile(busybox, join(root, busybox))
  for (const name of ['cat', 'insmod', 'mkdir', 'mount', 'sed', 'sh', 'switch_root', 'umount']) {
    await symlink('busybox', join(root, 'bin', name))
  }
  const modules = loadOrder(await readFile(join(kernel.modules, 'modules.dep'), 'utf8'), [
    ...needed,
    ...(hasDisk ? neededForDisk : []),
  ])
  for (const path of modules) await copyFile(join(kernel.modules, path), join(root, 'modules', basename(path)))
  await writeFile(join(root, 'modules/order'), modules.map((path) => `${basename(path)}\n`).join(''))
  const archive = join(work, 'initial.cpio')
  const script = 'chmod 755 "$1/init" && cd "$1" && find . | cpio --quiet -o -H newc >"$2"'
  await run(['sh', '-e', '-c', script, 'sh', root, archive], { signal })
  return archive
}

/** Paths below the modules' folder, each after all that it needs. `dependencies` is modules.dep: `path: needed last ... needed first`. */
export function loadOrder(dependencies: string, names: readonly string[]): readonly string[] {
  const lines = dependencies.split('\n').map((line) => line.split(/:? /).filter((path) => path !== ''))
  const order = names.flatMap((name) => {
    const line = lines.find(([path]) => path !== undefined && basename(path).replace(/:$/, '') === `${name}.ko`)
    if (line === undefined) throw new Error(`the kernel has no module ${name}`)
    return line.map((path) => path.replace(/:$/, '')).toReversed()
  })
  return [...new Set(order)]
}
