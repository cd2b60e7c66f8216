import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ReportLine } from './report.ts'
import type { Outcome } from './summary.ts'

export interface RunOptions {
  /** Only tests whose full names contain it; empty: all. */
  readonly grep: string
  /** Then the process is killed. */
  readonly minutes: number
  /** Does not show what the process prints. */
  readonly silent?: boolean
  /** Under another kernel: `lab/vm/main.ts`. */
  readonly inMachine?: boolean
}

/** Runs test files in one process, its output live on ours. */
export async function runFiles(files: readonly string[], options: RunOptions): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'flanneld-test-'))
  try {
    const report = join(folder, 'report')
    const end = await mocha(folder, [report, options.grep, ...files], options)
    return outcome(await readReport(report), end)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function mocha(folder: string, args: readonly string[], options: RunOptions): Promise<string> {
  const node = [process.execPath, '--import', 'tsx']
  const suite = [...node, join(import.meta.dirname, 'suite-process.ts'), ...args]
  const machine = [...node, join(import.meta.dirname, '../../lab/vm/main.ts')]
  // It has a limit of its own; ours is the one that counts.
  machine.push('--minutes', String(options.minutes + 1), '--write', folder, '--')
  const [program = '', ...words] = options.inMachine === true ? [...machine, ...suite] : suite
  const child = spawn(program, words, {
    // Where node finds tsx.
    cwd: join(import.meta.dirname, '../..'),
    stdio: options.silent === true ? 'ignore' : 'inherit',
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

function outcome(lines: readonly ReportLine[], end: string): Outcome {
  const of = <E extends ReportLine['event']>(event: E) =>
    lines.filter((line): line is ReportLine & { event: E } => line.event === event)
  const failed = of('failed')
  const trouble = of('left-open').map(({ what }) => `tests left something open: ${what.join(', ')}`)
  const last = of('began').at(-1)
  if (of('end').length === 0)
    trouble.push(`the test process ${end}, ${last ? `last begun: ${last.title}` : 'before its first test'}`)
  else if (failed.length === 0 && trouble.length === 0 && end !== 'ended with exit code 0')
    trouble.push(`the test process ${end}`)
  return { at: 'ran', passed: of('passed').length, failed, pending: of('pending'), trouble }
}
