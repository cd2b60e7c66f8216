// Test files, in a process of its own: `suite-process.ts FOLDER NUMBER`. FOLDER/work.json, made by run-suite.ts, says which;
// processes beside this one take from the same list.
import { openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Mocha from 'mocha'
import { LiveReport, writeReport } from './report.ts'
import type { Work } from './run-suite.ts'

const [folder = '', number = ''] = process.argv.slice(2)
const { grep, groups }: Work = JSON.parse(readFileSync(join(folder, 'work.json'), 'utf8'))
const report = join(folder, `report-${number}`)

// The hooks after the tests still run: they take down namespaces and servers.
let running: Mocha.Runner | undefined
let interrupted = false
process.once('SIGINT', () => {
  interrupted = true
  running?.abort()
})

let failures = 0
for (const [at, files] of groups.entries()) {
  if (!interrupted && taken(at)) failures += await runFiles(files)
}
writeReport(report, { event: 'end' })
process.exitCode = failures > 0 ? 1 : 0
// A test that leaves a socket or a child open would hold the run for ever; a timer that runs out (a task is called well after ten
// seconds) does not. Unreferenced: alone it holds nothing.
setTimeout(leave, 12_000).unref()

/** False where another process has it. */
function taken(group: number): boolean {
  try {
    openSync(join(folder, `taken-${group}`), 'wx')
    return true
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw cause
  }
}

async function runFiles(files: readonly string[]): Promise<number> {
  const mocha = new Mocha({ timeout: 30_000, reporter: LiveReport, reporterOptions: { file: report } })
  mocha.forbidOnly()
  if (grep !== '') mocha.grep(grep)
  for (const file of files) mocha.addFile(file)
  writeReport(report, { event: 'began', title: `the loading of ${files.join(' ')}` })
  await mocha.loadFilesAsync()
  const failed = await new Promise<number>((resolve) => {
    running = mocha.run(resolve)
  })
  // Its listeners for unhandled rejections stay otherwise, and many of them hand one to each other nearly for ever.
  running?.dispose()
  return failed
}

function leave(): void {
  writeReport(report, { event: 'left-open', what: process.getActiveResourcesInfo() })
  process.exit(1)
}
