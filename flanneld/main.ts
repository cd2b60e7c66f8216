import { fstatSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import process from 'node:process'
import { text as textOf } from 'node:stream/consumers'
import { systemClock } from '../lib/clock.ts'
import { messageOf, UsageError } from '../lib/errors.ts'
import { createLogger } from '../lib/log.ts'
import manifest from '../package.json' with { type: 'json' }
import { askDaemon } from './commands/ask-daemon.ts'
import { runCheck } from './commands/check.ts'
import { runCleanup } from './commands/cleanup.ts'
import { runConfigRender, runConfigValidate, unreadable } from './commands/config.ts'
import { runHandOver } from './commands/hand-over.ts'
import { runPlan } from './commands/plan.ts'
import { askStatus, runStatus } from './commands/status.ts'
import { runSwitch } from './commands/switch.ts'
import { completionScript } from './completion/completion.ts'
import { runDaemon } from './daemon.ts'
import { exitCodeOf } from './exit-code.ts'
import { isJournal } from './log/log-format.ts'
import { LogOutput } from './log/log-output.ts'
import { firstUnavailable } from './options/availability.ts'
import { type CommandLine, parseCommandLine } from './options/options.ts'
import type { ProcessPort } from './process-port.ts'
import { instanceOf } from './state/instance.ts'

/** The only file that touches `process`: argv, environment, signals, exit codes. */

const STOP_DEADLINE_MS = 4_000

type Invocation = Exclude<CommandLine, { command: 'help' | 'version' | 'completion' }>

async function main(): Promise<number> {
  const line = parseCommandLine(process.argv.slice(2), process.env)
  hideOptions()
  if (line.command === 'help') {
    process.stderr.write(line.text)
    return 0
  }
  if (line.command === 'version') {
    process[line.stream].write(`${manifest.version}\n`)
    return 0
  }
  if (line.command === 'completion') {
    process.stdout.write(completionScript(line.shell))
    return 0
  }
  // Other commands share the daemon's variables and must work beside any of them.
  const unavailable = ['daemon', 'plan'].includes(line.command) && firstUnavailable(line.options, line.origins)
  if (unavailable) throw unavailable
  return await run(line)
}

/** Programs that are started inherit the environment: not the password for etcd, and in the language that their messages are read in. */
function hideOptions(): void {
  for (const name of Object.keys(process.env)) if (name.startsWith('FLANNELD_')) delete process.env[name]
  process.env['LC_ALL'] = 'C'
}

async function run(line: Invocation): Promise<number> {
  const { options } = line
  // A log on a full disk, or one that nobody reads any more, ends nothing.
  for (const stream of [process.stderr, process.stdout]) stream.on('error', () => {})
  const output = new LogOutput(
    { clock: systemClock, write: (text) => process.stderr.write(text) },
    {
      format: options.logFormat,
      pid: process.pid,
      journal: isJournal(process.env['JOURNAL_STREAM'], fstatSync(2)),
      verbosity: options.v,
      verbosityRules: options.vmodule,
      tracePoint: options.logBacktraceAt,
    },
  )
  const log = createLogger(output.sink)
  for (const warning of line.warnings) log.warn('variable ignored', { warning })
  const port = processPort(stopSignal())
  const needs = {
    clock: systemClock,
    log,
    port,
    read: readInput,
    print: (text: string) => process.stdout.write(text),
    complain: (text: string) => process.stderr.write(text),
  }
  const file = line.operand ?? ''
  try {
    switch (line.command) {
      case 'daemon':
        await runDaemon({ ...needs, given: line.origins.keys() }, options)
        return 0
      case 'plan':
        return await runPlan(needs, options, line.flags)
      case 'check':
        return await runCheck(needs, options, {
          given: line.origins.keys(),
          unavailable: firstUnavailable(options, line.origins),
          flags: line.flags,
        })
      case 'config validate':
        return await runConfigValidate(needs, options, { file, flags: line.flags })
      case 'config render':
        return await runConfigRender(needs, options, { file, flags: line.flags })
      case 'cleanup':
        return await runCleanup(needs, options)
      case 'hand-over':
        return await runHandOver(needs, options)
      case 'status': {
        const ask = (signal: AbortSignal) => askStatus(instanceOf(options).statusSocket, signal)
        return await runStatus({ ...needs, ask }, line.flags, port.stop)
      }
      case 'switch': {
        const path = line.flags.get('finish') === true ? '/switch?finish' : '/switch'
        const order = (signal: AbortSignal) =>
          askDaemon(instanceOf(options).statusSocket, { method: 'POST', path }, signal)
        return await runSwitch({ ...needs, order }, port.stop)
      }
      default:
        throw new UsageError(`command ${line.command} is not available yet`)
    }
  } catch (cause) {
    if (cause instanceof UsageError) throw cause
    // While it waited for something at its start.
    if (line.command === 'daemon' && port.stop.aborted) return 0
    log.error('flanneld ended', { why: messageOf(cause), exitCode: exitCodeOf(cause) })
    return exitCodeOf(cause)
  } finally {
    output.flush()
  }
}

/** @throws Error with a sentence for the operator */
async function readInput(file: string): Promise<string> {
  try {
    return file === '-' ? await textOf(process.stdin) : await readFile(file, 'utf8')
  } catch (cause) {
    throw unreadable(file, cause)
  }
}

/** Aborted by the first SIGTERM or SIGINT; the second one ends the process at once. */
function stopSignal(): AbortSignal {
  const stop = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(0)
      stop.abort(new Error(`${signal} received`))
      // The kernel keeps what it has, so nothing is lost by leaving with work undone.
      setTimeout(() => process.exit(0), STOP_DEADLINE_MS).unref()
    })
  }
  return stop.signal
}

function processPort(stop: AbortSignal): ProcessPort {
  return {
    stop,
    version: manifest.version,
    pid: process.pid,
    uid: process.getuid?.() ?? 0,
    env: process.env,
    onReload: (reload) => process.on('SIGHUP', reload),
    onFault: (hear) => {
      process.on('uncaughtException', hear)
      process.on('unhandledRejection', hear)
    },
    usage: () => {
      const { user, system } = process.cpuUsage()
      return { cpuSeconds: (user + system) / 1e6, residentBytes: process.memoryUsage.rss() }
    },
  }
}

main().then(
  (code) => process.exit(code),
  (cause: unknown) => {
    process.stderr.write(`flanneld: ${messageOf(cause)}\n`)
    if (cause instanceof UsageError) process.stderr.write('Run flanneld --help for the flags.\n')
    process.exit(exitCodeOf(cause))
  },
)
