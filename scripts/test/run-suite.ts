import { spawn } from 'node:child_process'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ReportLine } from './report.ts'
import type { Outcome } from './summary.ts'

type Ran = Outcome & { at: 'ran' }

export interface RunOptions {
  /** Only tests whose full names contain it; empty: all. */
  readonly grep: string
  /** Then the process is killed. */
  readonly minutes: number
  /** Does not show what the process prints. */
  readonly silent?: boolean
  /** Under another kernel: `lab/vm/main.ts`. */
  readonly inMachine?: boolean
  /** So many share the files, where there are as many cores; one by default. */
  readonly processes?: number
}

/** Runs test files; the first process's output is live on ours, that of the others follows when they have ended. */
export async function runFiles(files: readonly string[], options: RunOptions): Promise<Outcome> {
  const processes = Math.min(options.processes ?? 1, availableParallelism())
  const shares = Array.from({ length: processes }, (_unused, n) => files.filter((_file, at) => at % processes === n))
  return together(await Promise.all(shares.map((share, n) => runShare(share, options, n === 0))))
}

async function runShare(files: readonly string[], options: RunOptions, isLive: boolean): Promise<Ran> {
  const folder = await mkdtemp(join(tmpdir(), 'flanneld-test-'))
  try {
    const [report, output] = [join(folder, 'report'), await open(join(folder, 'output'), 'w+')]
    const end = await mocha(folder, [report, options.grep, ...files], options, isLive ? 'inherit' : output.fd)
    await output.close()
    if (!isLive && options.silent !== true) process.stdout.write(await readFile(join(folder, 'output')))
    return outcome(await readReport(report), end)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function mocha(
  folder: string,
  args: readonly string[],
  options: RunOptions,
  output: 'inherit' | number,
): Promise<string> {
  const node = [process.execPath, '--import', 'tsx']
  const suite = [...node, join(import.meta.dirname, 'suite-process.ts'), ...args]
  const machine = [...node, join(import.meta.dirname, '../../lab/vm/main.ts')]
  // It has a limit of its own; ours is the one that counts.
  machine.push('--minutes', String(options.minutes + 1), '--write', folder, '--')
  const [program = '', ...words] = options.inMachine === true ? [...machine, ...suite] : suite
  const child = spawn(program, words, {
    // Where node finds tsx.
    cwd: join(import.meta.dirname, '../..'),
    stdio: options.silent === true ? 'ignore' : ['inherit', output, output],
  })
  let late = false
  const limit = setTimeout(() => {
    late = true
    child.kill('SIGKILL')
  }, options.minutes * 60_000)
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      clearTimeout(limit)
      resolve(
        late ? `was killed: not done after ${options.minutes} min` : `ended with ${signal ?? `exit code ${code}`}`,
      )
    })
  })
}

async function readReport(file: string): Promise<readonly ReportLine[]> {
  const text = await readFile(file, 'utf8').catch(() => '')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

function outcome(lines: readonly ReportLine[], end: string): Ran {
  const of = <E extends ReportLine['event']>(event: E) =>
    lines.filter((line): line is ReportLine & { event: E } => line.event === event)
  const failed = of('failed')
  const trouble = of('left-open').map(({ what }) => `tests left something open: ${what.join(', ')}`)
  const last = of('began').at(-1)
  if (of('end').length === 0)
    trouble.push(`the test process ${end}, ${last ? `last begun: ${last.title}` : 'before its first test'}`)
  else if (failed.length === 0 && trouble.length === 0 && end !== 'ended with exit code 0')
    trouble.push(`the test process ${end}`)
  return { at: 'ran', passed: of('passed').length, failed, shaky: [], pending: of('pending'), trouble }
}

function together(shares: readonly Ran[]): Ran {
  return {
    at: 'ran',
    passed: shares.reduce((sum, { passed }) => sum + passed, 0),
    failed: shares.flatMap(({ failed }) => failed),
    shaky: [],
    pending: shares.flatMap(({ pending }) => pending),
    trouble: shares.flatMap(({ trouble }) => trouble),
  }
}
