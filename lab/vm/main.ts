// Runs tests, or any command, under a Debian kernel in a virtual machine: Documentation/lab-vm.md.
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { messageOf, UsageError } from '../../lib/errors.ts'
import { MissingProgramError } from '../command.ts'
import { bootAndRun, type Errand } from './machine.ts'

const usage = `usage: vm [--minutes N] [--write FOLDER]... TEST-FILE...
       vm [--minutes N] [--write FOLDER]... -- COMMAND [ARGUMENT]...
`
const root = join(import.meta.dirname, '../..')

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => stop.abort(new Error(`ended by ${signal}`)))
}

/** As coreutils' timeout has it. */
const outOfTime = 124

let limit: AbortSignal | undefined
try {
  const { errand, minutes } = readArguments(process.argv.slice(2))
  limit = AbortSignal.timeout(minutes * 60_000)
  process.exitCode = await bootAndRun(errand, {
    kernels: join(root, '.tools/vm'),
    output: (chunk) => process.stdout.write(chunk),
    signal: AbortSignal.any([stop.signal, limit]),
  })
} catch (cause) {
  const late = limit?.aborted === true && !stop.signal.aborted
  process.stderr.write(`vm: ${late ? 'out of time' : messageOf(cause)}\n`)
  process.exitCode = stop.signal.aborted ? 130 : late ? outOfTime : exitCodeOf(cause)
}

function readArguments(args: readonly string[]): { errand: Errand; minutes: number } {
  const { values, positionals, tokens } = parse(args)
  const minutes = Number(values.minutes)
  if (!(minutes > 0)) throw new UsageError(`--minutes must be a number above 0\n${usage}`)
  if (positionals.length === 0) throw new UsageError(`nothing to run\n${usage}`)
  const isCommand = tokens.some(({ kind }) => kind === 'option-terminator')
  const writable = (values.write ?? []).map((folder) => resolve(folder))
  for (const folder of writable) readdirSync(folder)
  const command = isCommand
    ? positionals
    : [process.execPath, join(root, 'node_modules/mocha/bin/mocha.js'), ...positionals]
  const folder = isCommand ? process.cwd() : root
  return { errand: { command, folder, environment: process.env, writable }, minutes }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: { minutes: { type: 'string', default: '10' }, write: { type: 'string', multiple: true } },
      allowPositionals: true,
      tokens: true,
    })
  } catch (cause) {
    throw new UsageError(`${messageOf(cause)}\n${usage}`)
  }
}

function exitCodeOf(cause: unknown): number {
  if (cause instanceof UsageError) return 2
  if (cause instanceof MissingProgramError) return 69
  return 1
}
