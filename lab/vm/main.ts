// Runs tests, or any command, under a Debian kernel in a virtual machine: Documentation/lab-vm.md.
import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { messageOf, UsageError } from '../../lib/errors.ts'
import { MissingProgramError } from '../command.ts'
import { debianKernel } from './kernel-package.ts'
import { bootAndRun, type Errand } from './machine.ts'

const usage = `usage: vm [--minutes N] [--write FOLDER]... [--disk IMAGE] [--systemd] TEST-FILE...
       vm [--minutes N] [--write FOLDER]... [--disk IMAGE] [--systemd] -- COMMAND [ARGUMENT]...
       vm --fetch                              only has the kernel downloaded
`
const root = join(import.meta.dirname, '../..')
const kernels = join(root, '.tools/vm')

/** As coreutils' timeout has it. */
const outOfTime = 124

const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => interrupted.abort(new Error(`ended by ${signal}`)))
}

let limit: AbortSignal | undefined
try {
  const { minutes, fetch, ...errand } = readArguments(process.argv.slice(2))
  limit = AbortSignal.timeout(minutes * 60_000)
  const signal = AbortSignal.any([interrupted.signal, limit])
  const output = (chunk: Buffer) => process.stdout.write(chunk)
  if (fetch) await debianKernel(kernels, signal)
  else process.exitCode = await bootAndRun(errandOf(errand), { kernels, output, signal })
} catch (cause) {
  if (interrupted.signal.aborted) fail(130, messageOf(interrupted.signal.reason))
  else if (limit?.aborted === true) fail(outOfTime, 'out of time (--minutes)')
  else if (cause instanceof UsageError) fail(2, `${cause.message}\n${usage.trimEnd()}`)
  else fail(cause instanceof MissingProgramError ? 69 : 1, messageOf(cause))
}

function errandOf({ words, isCommand, write, disk, systemd }: Omit<Arguments, 'minutes' | 'fetch'>): Errand {
  const mocha = [process.execPath, join(root, 'node_modules/mocha/bin/mocha.js')]
  return {
    command: isCommand ? words : [...mocha, ...words.map((file) => resolve(file))],
    folder: isCommand ? process.cwd() : root,
    environment: process.env,
    writable: write,
    disk,
    systemd,
  }
}

type Arguments = ReturnType<typeof readArguments>

function readArguments(args: readonly string[]) {
  const { values, positionals, tokens } = parse(args)
  const minutes = Number(values.minutes)
  if (!(minutes > 0)) throw new UsageError('--minutes must be a number above 0')
  if (positionals.length === 0 && !values.fetch) throw new UsageError('nothing to run')
  const write = (values.write ?? []).map((folder) => resolve(folder))
  for (const folder of write) refuseUnreadable(folder)
  const isCommand = tokens.some(({ kind }) => kind === 'option-terminator')
  const disk = values.disk && resolve(values.disk)
  if (disk !== undefined) refuseAbsent(disk)
  return { minutes, write, disk, systemd: values.systemd, fetch: values.fetch, words: positionals, isCommand }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        minutes: { type: 'string', default: '10' },
        write: { type: 'string', multiple: true },
        disk: { type: 'string' },
        systemd: { type: 'boolean', default: false },
        fetch: { type: 'boolean', default: false },
      },
      allowPositionals: true,
      tokens: true,
    })
  } catch (cause) {
    throw new UsageError(messageOf(cause))
  }
}

function refuseUnreadable(folder: string): void {
  try {
    readdirSync(folder)
  } catch (cause) {
    throw new UsageError(`--write: ${messageOf(cause)}`)
  }
}

function refuseAbsent(disk: string): void {
  if (!existsSync(disk))
    throw new UsageError(`--disk: ${disk} is not there; make one: truncate -s 2G ${disk} && mke2fs -qt ext4 ${disk}`)
}

function fail(code: number, why: string): void {
  process.stderr.write(`vm: ${why}\n`)
  process.exitCode = code
}
