import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../command.ts'
import { writeBareKernel } from './bare-kernel.ts'

/** A Debian kernel, unpacked, never installed: `image` boots, `modules` is what the guest sees as /lib/modules/RELEASE. */
export interface DebianKernel {
  readonly release: string
  readonly image: string
  readonly modules: string
}

const packageName = /^linux-image-(6\.1\.0-\d+-amd64)$/

// Two thirds of the package drive hardware that no virtual machine has.
const unneeded = [
  'sound',
  'drivers/gpu',
  'drivers/media',
  'drivers/net/ethernet',
  'drivers/net/wireless',
  'drivers/iio',
]

/** The newest kernel in `folder`; when there is none, Debian's newest is downloaded (70 MB) and unpacked there. */
export async function debianKernel(folder: string, signal: AbortSignal): Promise<DebianKernel> {
  const known = await unpacked(folder)
  if (known !== undefined) return known
  await mkdir(folder, { recursive: true })
  const work = await mkdtemp(join(folder, '.new-'))
  try {
    const release = await download(work, signal)
    await unpack(work, release, signal)
    const home = join(work, release)
    await writeBareKernel(join(home, 'boot', `vmlinuz-${release}`), join(home, 'vmlinux'), signal)
    // Whoever was faster has the same: either rename leaves a whole folder.
    await rename(home, join(folder, release)).catch(absentOrFull)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
  const kernel = await unpacked(folder)
  if (kernel === undefined) throw new Error(`no kernel could be unpacked to ${folder}`)
  return kernel
}

async function unpacked(folder: string): Promise<DebianKernel | undefined> {
  const names = await readdir(folder).catch(() => [])
  const release = newest(names.filter((name) => packageName.test(`linux-image-${name}`)))
  if (release === undefined) return undefined
  const home = join(folder, release)
  return { release, image: join(home, 'vmlinux'), modules: join(home, 'lib/modules', release) }
}

async function download(work: string, signal: AbortSignal): Promise<string> {
  const release = (await newestOffered(signal)) ?? (await afterUpdate(signal))
  // apt hands the download to a user of its own, who may not write here; it then says so and goes on as root.
  await run(['sh', '-c', 'cd "$1" && apt-get download -qq "$2"', 'sh', work, `linux-image-${release}`], {
    timeout: 300_000,
    signal,
  })
  return release
}

async function newestOffered(signal: AbortSignal): Promise<string | undefined> {
  const { stdout } = await run(['apt-cache', 'search', '--names-only', '^linux-image-6'], { signal })
  const packages = stdout.split('\n').map((line) => line.split(' ', 1)[0] ?? '')
  return newest(packages.map((name) => packageName.exec(name)?.[1]).filter((release) => release !== undefined))
}

async function afterUpdate(signal: AbortSignal): Promise<string> {
  await run(['apt-get', 'update', '-qq'], { timeout: 300_000, signal })
  const release = await newestOffered(signal)
  if (release === undefined) throw new Error('apt knows no package linux-image-6.1.0-*-amd64 (Debian 12 has them)')
  return release
}

function newest(releases: readonly string[]): string | undefined {
  return releases.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
}

async function unpack(work: string, release: string, signal: AbortSignal): Promise<void> {
  const exclude = unneeded.map((part) => `--exclude=./lib/modules/*/kernel/${part}`).join(' ')
  const script = `
    mkdir "$1/$2"
    dpkg-deb --fsys-tarfile "$1"/linux-image-*.deb | tar -C "$1/$2" -x ${exclude} ./boot ./lib/modules
    depmod -b "$1/$2" "$2"`
  await run(['sh', '-e', '-c', script, 'sh', work, release], {
    timeout: 300_000,
    signal,
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
  })
}

function absentOrFull(cause: NodeJS.ErrnoException): void {
  if (cause.code !== 'ENOTEMPTY' && cause.code !== 'EEXIST') throw cause
}
