// One suite, in a process of its own: `suite-process.ts REPORT-FILE GREP TEST-FILE...`
import Mocha from 'mocha'
import { LiveReport, writeReport } from './report.ts'

const [report = '', grep = '', ...files] = process.argv.slice(2)
const mocha = new Mocha({ timeout: 30_000, reporter: LiveReport, reporterOptions: { file: report } })
mocha.forbidOnly()
if (grep !== '') mocha.grep(grep)
for (const file of files) mocha.addFile(file)
await mocha.loadFilesAsync()
const runner = mocha.run((failures) => {
  process.exitCode = failures > 0 ? 1 : 0
  // A test that leaves a socket or a child open would hold the run for ever. Unreferenced: alone it holds nothing.
  setTimeout(leave, 3_000).unref()
})

// The hooks after the tests still run: they take down namespaces and servers.
process.once('SIGINT', () => runner.abort())

function leave(): void {
  writeReport(report, { event: 'left-open', what: process.getActiveResourcesInfo() })
  process.exit(1)
}
