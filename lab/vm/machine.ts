import { spawn } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pid } from 'node:process'
import type { Readable } from 'node:stream'
import { missingProgram } from '../command.ts'
import { initialFiles } from './initial-files.ts'
import { makeJobFolder } from './job-folder.ts'
import { debianKernel } from './kernel-package.ts'

/** What to run in the machine, as if it ran here: same files, same environment, another kernel. */
export interface Errand {
  readonly command: readonly string[]
  readonly folder: string
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Folders in which the errand's writes stay. All other writes vanish with the machine. */
  readonly writable: readonly string[]
  /** An image with ext4 on it that keeps all other writes; without one they vanish with the machine. */
  readonly disk?: string | undefined
  /** systemd is the first process, and the command a service of it beside those that are enabled on the disk. */
  readonly systemd?: boolean
}

export interface MachineOptions {
  /** Where unpacked kernels are kept. */
  readonly kernels: string
  /** Gets standard output and standard error of the command, as they come. */
  readonly output: (chunk: Buffer) => void
  /** Ends the machine at once; `bootAndRun` then rejects with its reason. */
  readonly signal: AbortSignal
}

/** The machine ended without an exit code of the command: a kernel panic, a qemu that did not start. The text holds its last words. */
export class MachineError extends Error {
  override readonly name = 'MachineError'
}

/** Boots, runs one command, powers off; returns the command's exit code. The machine never outlives this process. */
export async function bootAndRun(errand: Errand, options: MachineOptions): Promise<number> {
  const { signal } = options
  const { disk, systemd = false } = errand
  const kernel = await debianKernel(options.kernels, signal)
  const job = await makeJobFolder()
  try {
    const initial = await initialFiles(kernel, { work: job, hasDisk: disk !== undefined }, signal)
    const shared = join(job, 'shared')
    await mkdir(shared)
    await writeFile(join(shared, 'command'), commandText(errand))
    await writeFile(join(shared, 'modules'), `${kernel.modules}\n`)
    await writeFile(join(shared, 'shares'), errand.writable.map((folder, n) => `${shareTag(n)} ${folder}\n`).join(''))
    if (systemd) await writeFile(join(shared, 'systemd'), '')
    const folders = [shared, ...errand.writable]
    const said = await qemu(
      [
        ...bootArguments(kernel.image, initial, job, disk === undefined ? [] : ['disk=/dev/vda']),
        ...shareArguments(folders),
        ...diskArguments(disk),
      ],
      options,
    )
    const code = (await readFile(join(shared, 'code'), 'utf8').catch(() => '')).trim()
    if (code !== '') return Number(code)
    const console = await readFile(join(job, 'console'), 'utf8').catch(() => '')
    throw new MachineError(`the virtual machine ended without a result\n${lastLines(console)}\n${lastLines(said)}`)
  } finally {
    await rm(job, { recursive: true, force: true })
  }
}

/** A script for `sh`: whatever stands in the words and values arrives as it is. */
export function commandText({ command, folder, environment }: Errand): string {
  const exports = Object.entries(environment)
    // TMPDIR may name a folder that is written to by both sides.
    .filter(([name, value]) => value !== undefined && name !== 'TMPDIR' && /^[A-Za-z_]\w*$/.test(name))
    .map(([name, value]) => `export ${name}=${quoted(value ?? '')}\n`)
  return `${exports.join('')}cd ${quoted(folder)} || exit\nexec ${command.map(quoted).join(' ')}\n`
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function bootArguments(image: string, initial: string, job: string, words: readonly string[]): readonly string[] {
  const kernelLine = [
    'console=ttyS0 loglevel=4 panic=-1 mitigations=off nokaslr nowatchdog random.trust_cpu=on tsc=reliable',
    `stage2=${join(import.meta.dirname, 'stage2.sh')}`,
    ...words,
  ]
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-nic', 'none', '-no-reboot'],
    // Software emulation: it works wherever qemu does, in a virtual machine of a cloud too.
    ...['-accel', 'tcg', '-cpu', 'max', '-smp', '2', '-m', '2048'],
    ...['-kernel', image, '-initrd', initial, '-append', kernelLine.join(' ')],
    ...['-serial', `file:${escaped(join(job, 'console'))}`],
    ...['-device', 'virtio-serial-pci', '-chardev', 'stdio,id=out,signal=off', '-device', 'virtserialport,chardev=out'],
    ...['-virtfs', `${share('/', 'root')},readonly=on`],
  ]
}

function shareArguments(folders: readonly string[]): readonly string[] {
  return folders.flatMap((folder, n) => ['-virtfs', share(folder, n === 0 ? 'job' : shareTag(n - 1))])
}

function diskArguments(disk: string | undefined): readonly string[] {
  if (disk === undefined) return []
  const drive = `file=${escaped(disk)},if=none,id=disk,format=raw,cache=unsafe`
  return ['-drive', drive, '-device', 'virtio-blk-pci,drive=disk']
}

function shareTag(number: number): string {
  return `share${number}`
}

function share(folder: string, tag: string): string {
  return `local,path=${escaped(folder)},mount_tag=${tag},security_model=none,multidevs=remap`
}

// A comma ends a value of qemu's.
function escaped(path: string): string {
  return path.replaceAll(',', ',,')
}

// The kernel kills what runs under setpriv when this process dies, however it dies. Should it have died before setpriv
// could ask for that, the shell sees a stranger as its parent.
const tied = ['--pdeathsig', 'KILL', 'sh', '-c', 'test "$PPID" = "$1" || exit 1; shift; exec "$@"', 'sh', String(pid)]

/** Runs qemu to its end; returns what it said on standard error. */
async function qemu(args: readonly string[], { output, signal }: MachineOptions): Promise<string> {
  signal.throwIfAborted()
  // Detached: Ctrl-C on the terminal is ours to handle.
  const child = spawn('setpriv', [...tied, 'qemu-system-x86_64', ...args], {
    // Nothing is ever written to its standard input, but at the end of that, qemu would take our side for closed.
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  })
  const kill = () => child.kill('SIGKILL')
  signal.addEventListener('abort', kill, { once: true })
  child.stdout.on('data', output)
  try {
    const said = text(child.stderr)
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on('error', (cause: NodeJS.ErrnoException) =>
        reject(cause.code === 'ENOENT' ? missingProgram('setpriv') : cause),
      )
      child.on('close', resolve)
    })
    signal.throwIfAborted()
    if (code === 127) throw missingProgram('qemu-system-x86_64')
    return await said
  } finally {
    signal.removeEventListener('abort', kill)
  }
}

async function text(stream: Readable): Promise<string> {
  let all = ''
  for await (const chunk of stream.setEncoding('utf8')) all += chunk
  return all
}

function lastLines(text: string): string {
  return text.trimEnd().split('\n').slice(-20).join('\n')
}
