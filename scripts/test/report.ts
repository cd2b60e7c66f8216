import { appendFileSync } from 'node:fs'
import Mocha from 'mocha'
import { type NotRun, notRun } from '../../test/needs.ts'

/** One line of a suite's report file, JSON. `left-open` means that the process did not end after its last test. */
export type ReportLine =
  | { readonly event: 'began'; readonly title: string }
  | { readonly event: 'passed'; readonly title: string }
  | { readonly event: 'failed'; readonly title: string; readonly file: string; readonly message: string }
  | { readonly event: 'pending'; readonly title: string; readonly notRun?: NotRun | undefined }
  | { readonly event: 'took'; readonly file: string; readonly seconds: number }
  | { readonly event: 'left-open'; readonly what: readonly string[] }
  | { readonly event: 'end' }

/** mocha's spec reporter, which also appends each result to a file at once, so that a suite that dies keeps what it had. */
export class LiveReport extends Mocha.reporters.Spec {
  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options)
    const file = String(options.reporterOptions?.file)
    const events = Mocha.Runner.constants
    runner.on(events.EVENT_TEST_BEGIN, (test) => writeReport(file, { event: 'began', title: test.fullTitle() }))
    runner.on(events.EVENT_TEST_PASS, (test) => writeReport(file, { event: 'passed', title: test.fullTitle() }))
    runner.on(events.EVENT_TEST_FAIL, (test, error) =>
      writeReport(file, {
        event: 'failed',
        title: test.fullTitle(),
        file: test.file ?? '',
        message: error instanceof Error ? error.message : String(error),
      }),
    )
    runner.on(events.EVENT_TEST_PENDING, (test) =>
      writeReport(file, { event: 'pending', title: test.fullTitle(), notRun: whyNotRun(test.parent) }),
    )
    const begun = new Map<Mocha.Suite, number>()
    runner.on(events.EVENT_SUITE_BEGIN, (suite) => begun.set(suite, performance.now()))
    runner.on(events.EVENT_SUITE_END, (suite) => {
      if (suite.parent?.root !== true) return
      const seconds = (performance.now() - (begun.get(suite) ?? Number.NaN)) / 1000
      writeReport(file, { event: 'took', file: suite.file ?? '', seconds })
    })
  }

  /** What passed is counted by the runner, for all files. */
  override epilogue(): void {
    if (this.stats.failures > 0) super.epilogue()
  }
}

export function writeReport(file: string, line: ReportLine): void {
  appendFileSync(file, `${JSON.stringify(line)}\n`)
}

function whyNotRun(suite: Mocha.Suite | undefined): NotRun | undefined {
  if (suite === undefined) return undefined
  return (suite as { [notRun]?: NotRun })[notRun] ?? whyNotRun(suite.parent)
}
