// npm test [-- --suite e2e,netns] [-- --grep TEXT]; REQUIRE=unit,peer:flanneld makes what did not run a failure.
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { long } from '../test/long.ts'
import { capabilities, whyAbsent } from '../test/needs.ts'
import { type RunOptions, runFiles } from './test/run-suite.ts'
import { runFailedAgain } from './test/second-run.ts'
import { type Suite, suites, testFiles } from './test/suites.ts'
import { type Outcome, summary } from './test/summary.ts'

const { values } = parseArgs({ options: { suite: { type: 'string', multiple: true }, grep: { type: 'string' } } })
const asked = names((values.suite ?? []).join(','))
const required = names(process.env['REQUIRE'] ?? '')
refuseUnknown(
  '--suite',
  asked,
  suites.map(({ name }) => name),
)
refuseUnknown('REQUIRE', required, [...suites.map(({ name }) => name), ...capabilities])

// Ctrl-C goes to the suite's process as well; when that has ended, the summary of what ran is still printed.
let interrupted = false
process.on('SIGINT', () => {
  interrupted = true
})

const chosen = suites.filter(({ name }) => asked.length === 0 || asked.includes(name))
const beside = availableParallelism() > 1 && chosen.length > 1 ? chosen.filter(({ inMachine }) => inMachine) : []
let othersHaveEnded = () => {}
const endOfOthers = new Promise<void>((resolve) => {
  othersHaveEnded = resolve
})
const besideOthers = beside.map(async (suite) => [suite.name, await run(suite, endOfOthers)] as const)

const outcomes = new Map<string, Outcome>()
for (const suite of suites.filter((one) => !beside.includes(one))) {
  if (chosen.includes(suite)) {
    outcomes.set(suite.name, interrupted ? { at: 'not run', reason: 'interrupted' } : await run(suite))
  } else if (required.includes(suite.name)) {
    outcomes.set(suite.name, { at: 'not run', reason: 'left out by --suite' })
  }
}
for (const { name } of beside) process.stdout.write(`\n=== ${name}\n`)
othersHaveEnded()
for (const [name, outcome] of await Promise.all(besideOthers)) outcomes.set(name, outcome)
const judged = interrupted ? outcomes : await runFailedAgain(outcomes, again)
const end = summary(judged, {
  names: required,
  whyAbsent: (name) => {
    const capability = capabilities.find((one) => one === name)
    return capability === undefined ? undefined : whyAbsent(capability)
  },
})
process.stdout.write(end.text)
process.exitCode = end.ok ? 0 : 1

async function run(suite: Suite, besideOthersUntil?: Promise<void>): Promise<Outcome> {
  for (const capability of suite.needs) {
    const absent = whyAbsent(capability)
    if (absent !== undefined) return { at: 'not run', reason: absent }
  }
  const files = testFiles(suite, join(import.meta.dirname, '../test'))
  if (files.length === 0) return { at: 'not run', reason: 'it has no test file' }
  const when = besideOthersUntil === undefined ? '' : ' runs beside the others; what it prints follows at the end'
  process.stdout.write(`\n=== ${suite.name}${when}\n`)
  return await runFiles(files, { ...optionsOf(suite), ...(besideOthersUntil && { besideOthersUntil }) })
}

async function again(name: string, files: readonly string[]): Promise<Outcome> {
  const suite = suites.find((one) => one.name === name)
  if (suite === undefined) return { at: 'not run', reason: 'there is no such suite' }
  process.stdout.write(`\n=== ${name}, what failed, again\n`)
  return await runFiles(files, { ...optionsOf(suite), processes: 1 })
}

function optionsOf(suite: Suite): RunOptions {
  const minutes = long ? suite.minutesLong : suite.minutes
  const { inMachine = false, processes = 1 } = suite
  return { grep: values.grep ?? '', minutes, inMachine, processes: availableParallelism() > 1 ? processes : 1 }
}

function names(list: string): readonly string[] {
  return list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
}

function refuseUnknown(where: string, given: readonly string[], known: readonly string[]): void {
  const unknown = given.filter((name) => !known.includes(name))
  if (unknown.length === 0) return
  process.stderr.write(`${where}: nothing is called ${unknown.join(', ')}; there are ${known.join(', ')}\n`)
  process.exit(2)
}
