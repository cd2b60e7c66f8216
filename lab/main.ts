import { resolve } from 'node:path'
import process from 'node:process'
import yargs from 'yargs'
import { messageOf, PermissionError, UsageError } from '../lib/errors.ts'
import type { RpFilter } from './build.ts'
import { MissingProgramError } from './command.ts'
import type { DaemonOptions } from './daemon.ts'
import { demo } from './demo.ts'
import { sweep } from './record.ts'
import { type SwitchTarget, switchDemo, switchTargets } from './switch-demo.ts'
import type { Terminal } from './terminal.ts'
import { up } from './up.ts'

// What operators.md gives the daemon: 1 failure, 2 usage, 77 no permission; 130 as a shell does after Ctrl-C.
const abort = new AbortController()
const terminal: Terminal = {
  print: (line) => process.stdout.write(`${line}\n`),
  interactive: process.stdout.isTTY === true,
  signal: abort.signal,
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // A second one: whoever asks twice does not want to wait. The next lab sweeps what is left.
    if (abort.signal.aborted) process.exit(130)
    abort.abort(new Error('interrupted'))
  })
}

const daemonOption = {
  type: 'string',
  describe: 'program to run on the hosts; the built dist/flanneld unless told',
} as const

interface DemoArguments {
  readonly daemon?: string | undefined
  readonly kubernetes: boolean
  readonly switch?: SwitchTarget | undefined
}

let exitCode = 0
const parser = yargs(process.argv.slice(2))
  .scriptName('lab')
  .parserConfiguration({ 'populate--': true })
  .command(
    'demo',
    'three hosts on two segments: shown working, hurt and healed',
    {
      daemon: daemonOption,
      kubernetes: {
        type: 'boolean',
        default: false,
        describe: 'a real cluster instead, of the programs that the variables KUBE_APISERVER, KUBELET, ... name',
      },
      switch: {
        choices: switchTargets,
        describe: 'another backend there and back instead, under pings between all containers',
      },
    },
    async (args) => {
      exitCode = (await chosenDemo(args)) ? 0 : 1
    },
  )
  .command(
    'up',
    'hosts, daemons and containers to try a configuration in; stays until Ctrl-C',
    {
      hosts: { type: 'number', default: 3 },
      segments: { type: 'number', default: 1, describe: 'L2 segments, a router between them' },
      backend: { type: 'string', default: 'vxlan' },
      'net-conf': { type: 'string', describe: 'your net-conf.json; edits go to etcd at once' },
      ipv6: { type: 'boolean', default: false, describe: 'IPv6 on the segments, dual stack' },
      'rp-filter': { type: 'number', default: 0, choices: [0, 1, 2] },
      daemon: daemonOption,
      mtu: { type: 'number', default: 1500, describe: 'of the segments' },
    },
    async (args) => {
      await up(terminal, {
        hosts: positive('hosts', args.hosts),
        segments: positive('segments', args.segments),
        backend: args.backend,
        netConf: args['net-conf'],
        ipv6: args.ipv6,
        rpFilter: args['rp-filter'] as RpFilter,
        mtu: positive('mtu', args.mtu),
        daemon: daemonOptions(args),
      })
    },
  )
  .command('clean', 'remove what crashed labs have left', {}, async () => {
    const { removed, alive } = await sweep()
    for (const { id } of removed) terminal.print(`removed lab ${id}`)
    for (const { id, owner } of alive) terminal.print(`left alone lab ${id}: its process ${owner.pid} runs`)
    if (removed.length + alive.length === 0) terminal.print('nothing to clean')
  })
  .demandCommand(1, 'which one: demo, up or clean?')
  .strict()
  .epilogue('What stands behind -- goes to the daemons: lab up --hosts 4 -- --ip-masq')
  .fail((message, cause) => {
    throw cause ?? new UsageError(message)
  })

try {
  await parser.parseAsync()
} catch (cause) {
  exitCode = abort.signal.aborted ? 130 : exitCodeOf(cause)
  if (!abort.signal.aborted) process.stderr.write(`lab: ${messageOf(cause)}\n`)
}
process.exitCode = exitCode

async function chosenDemo(args: DemoArguments): Promise<boolean> {
  if (args.switch !== undefined && args.kubernetes) throw new UsageError('--switch and --kubernetes are two demos')
  if (args.switch !== undefined) return await switchDemo(terminal, args.switch, daemonOptions(args))
  if (!args.kubernetes) return await demo(terminal, daemonOptions(args))
  const { kubernetesDemo } = await import('./cluster/demo.ts')
  return await kubernetesDemo(terminal, process.env)
}

function daemonOptions(args: { daemon?: string | undefined; '--'?: unknown }): DaemonOptions {
  const rest = Array.isArray(args['--']) ? args['--'].map(String) : []
  return args.daemon === undefined ? { args: rest } : { args: rest, program: resolve(args.daemon) }
}

function positive(name: string, value: number): number {
  if (!Number.isInteger(value) || value < 1) throw new UsageError(`--${name} must be a whole number from 1`)
  return value
}

function exitCodeOf(cause: unknown): number {
  if (cause instanceof UsageError) return 2
  if (cause instanceof PermissionError) return 77
  if (cause instanceof MissingProgramError) return 69
  return 1
}
