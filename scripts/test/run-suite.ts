import { spawn } from 'node:child_process'
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ReportLine } from './report.ts'
import type { FileTime, Outcome } from './summary.ts'

type Process = Pick<Outcome & { at: 'ran' }, 'passed' | 'failed' | 'pending' | 'trouble'> & {
  readonly took: readonly FileTime[]
}

export interface RunOptions {
  /** Only tests whose full names contain it; empty: all. */
  readonly grep: string
  /** Then the process is killed. */
  readonly minutes: number
  /** Does not show what the process prints. */
  readonly silent?: boolean
  /** Under another kernel: `lab/vm/main.ts`. */
  readonly inMachine?: boolean
  /** Of several, each takes the next file when it has done one; a file's root hooks are its own then. One by default: all together. */
  readonly processes?: number
  /** Beside other suites: with the least priority, and what it prints follows when this is fulfilled. */
  readonly besideOthersUntil?: Promise<void>
}

/** What the processes read. Files of one group run in one process, together. */
export interface Work {
  readonly grep: string
  readonly groups: readonly (readonly string[])[]
}

/** Runs test files; the first process's output is live on ours, that of the others follows when they have ended. */
export async function runFiles(files: readonly string[], options: RunOptions): Promise<Outcome> {
  const { processes = 1, grep } = options
  const work: Work = { grep, groups: processes > 1 ? files.map((file) => [file]) : [files] }
  const folder = await mkdtemp(join(tmpdir(), 'flanneld-test-'))
  const begin = performance.now()
  try {
    await writeFile(join(folder, 'work.json'), JSON.stringify(work))
    const numbers = Array.from({ length: processes }, (_unused, number) => number)
    const ran = await Promise.all(numbers.map((number) => runProcess(folder, number, options)))
    return together(ran, (performance.now() - begin) / 1000)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function runProcess(folder: string, number: number, options: RunOptions): Promise<Process> {
  const isLive = number === 0 && options.besideOthersUntil === undefined
  const output = await open(join(folder, `output-${number}`), 'w+')
  const end = await mocha(folder, number, options, isLive ? 'inherit' : output.fd)
  await output.close()
  await options.besideOthersUntil
  if (!isLive && options.silent !== true) process.stdout.write(await readFile(join(folder, `output-${number}`)))
  return judged(await readReport(join(folder, `report-${number}`)), end)
}

function mocha(folder: string, number: number, options: RunOptions, output: 'inherit' | number): Promise<string> {
  const node = [process.execPath, '--import', 'tsx']
  const suite = [...node, join(import.meta.dirname, 'suite-process.ts'), folder, String(number)]
  const machine = [...node, join(import.meta.dirname, '../../lab/vm/main.ts')]
  // It has a limit of its own; ours is the one that counts.
  machine.push('--minutes', String(options.minutes + 1), '--write', folder, '--')
  const priority = options.besideOthersUntil === undefined ? [] : ['nice', '-n', '19']
  const [program = '', ...words] = [...priority, ...(options.inMachine === true ? [...machine, ...suite] : suite)]
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

function judged(lines: readonly ReportLine[], end: string): Process {
  const of = <E extends ReportLine['event']>(event: E) =>
    lines.filter((line): line is ReportLine & { event: E } => line.event === event)
  const failed = of('failed')
  const trouble = of('left-open').map(({ what }) => `tests left something open: ${what.join(', ')}`)
  const last = of('began').at(-1)
  if (of('end').length === 0)
    trouble.push(`the test process ${end}, ${last ? `last begun: ${last.title}` : 'before its first test'}`)
  else if (failed.length === 0 && trouble.length === 0 && end !== 'ended with exit code 0')
    trouble.push(`the test process ${end}`)
  return { passed: of('passed').length, failed, pending: of('pending'), trouble, took: of('took') }
}

function together(processes: readonly Process[], seconds: number): Outcome {
  return {
    at: 'ran',
    passed: processes.reduce((sum, { passed }) => sum + passed, 0),
    failed: processes.flatMap(({ failed }) => failed),
    shaky: [],
    pending: processes.flatMap(({ pending }) => pending),
    trouble: processes.flatMap(({ trouble }) => trouble),
    seconds,
    files: sums(processes.flatMap(({ took }) => took)),
  }
}

/** A file can have several suites at its top. */
function sums(took: readonly FileTime[]): readonly FileTime[] {
  const seconds = new Map<string, number>()
  for (const one of took) seconds.set(one.file, (seconds.get(one.file) ?? 0) + one.seconds)
  return [...seconds].map(([file, sum]) => ({ file, seconds: sum }))
}
