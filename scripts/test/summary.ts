import { relative } from 'node:path'
import type { NotRun } from '../../test/needs.ts'

export type Outcome =
  | { readonly at: 'not run'; readonly reason: string }
  | {
      readonly at: 'ran'
      readonly passed: number
      readonly failed: readonly Failure[]
      /** Failed, and passed when they ran again. */
      readonly shaky: readonly Failure[]
      readonly pending: readonly { readonly title: string; readonly notRun?: NotRun | undefined }[]
      /** What went wrong beside the tests themselves. */
      readonly trouble: readonly string[]
      /** From the first process's start to the last one's end. */
      readonly seconds: number
      readonly files: readonly FileTime[]
    }

export interface FileTime {
  readonly file: string
  readonly seconds: number
}

export interface Failure {
  readonly title: string
  readonly message: string
  readonly file: string
}

export interface Required {
  readonly names: readonly string[]
  /** Undefined when the machine has the capability, or when the name is none. */
  readonly whyAbsent: (capability: string) => string | undefined
}

/** The end of a test run. The last line is `N passed, N failed, N skipped` alone, for programs that read it. */
export function summary(outcomes: ReadonlyMap<string, Outcome>, required: Required): { text: string; ok: boolean } {
  const rows = [...outcomes].map(([suite, outcome]) => row(suite, outcome))
  const unmet = required.names.flatMap((name) => whyUnmet(name, outcomes.get(name), required))
  const failures = [...outcomes].flatMap(([suite, outcome]) => failuresOf(suite, outcome))
  const shaky = [...outcomes].flatMap(([suite, outcome]) => shakyOf(suite, outcome))
  const notRun = [...outcomes].flatMap(([suite, outcome]) => notRunOf(suite, outcome))
  const passed = [...outcomes.values()].reduce((sum, outcome) => sum + (outcome.at === 'ran' ? outcome.passed : 0), 0)
  const failed = failures.length + unmet.length
  const text = [
    '',
    `${'suite'.padEnd(10)}${['passed', 'failed', 'pending', 'time'].map((word) => word.padStart(9)).join('')}`,
    ...rows,
    ...section('THE SLOWEST FILES', slowest(outcomes)),
    ...section('NOT RUN', notRun),
    ...section('SHAKY: FAILED, AND PASSED WHEN ITS FILE RAN AGAIN ALONE', shaky),
    ...section('FAILED', failures),
    ...section('REQUIRED (by REQUIRE) BUT NOT RUN', unmet),
    '',
    `${passed} passed, ${failed} failed, ${notRun.length} skipped`,
    '',
  ]
  return { text: text.join('\n'), ok: failed === 0 }
}

function row(suite: string, outcome: Outcome): string {
  if (outcome.at === 'not run') return `${suite.padEnd(10)}  not run: ${outcome.reason}`
  const counts = [outcome.passed, outcome.failed.length + outcome.trouble.length, outcome.pending.length]
  return suite.padEnd(10) + [...counts, clock(outcome.seconds)].map((text) => String(text).padStart(9)).join('')
}

/** Ten of those that take more than a second, of all suites. */
function slowest(outcomes: ReadonlyMap<string, Outcome>): readonly string[] {
  return [...outcomes.values()]
    .flatMap((outcome) => (outcome.at === 'ran' ? outcome.files : []))
    .filter(({ seconds }) => seconds > 1)
    .sort((a, b) => b.seconds - a.seconds)
    .slice(0, 10)
    .map(({ file, seconds }) => `${clock(seconds).padStart(6)}  ${relative('', file)}`)
}

function clock(seconds: number): string {
  const whole = Math.round(seconds)
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`
}

function section(title: string, lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? [] : ['', title, ...lines.map((line) => `  ${line}`)]
}

function failuresOf(suite: string, outcome: Outcome): readonly string[] {
  if (outcome.at === 'not run') return []
  return [
    ...outcome.failed.map((failure) => named(suite, failure)),
    ...outcome.trouble.map((text) => `${suite}: ${text}`),
  ]
}

function shakyOf(suite: string, outcome: Outcome): readonly string[] {
  return outcome.at === 'not run' ? [] : outcome.shaky.map((failure) => named(suite, failure))
}

function named(suite: string, { title, message }: Failure): string {
  return `${suite}: ${title}\n      ${message.split('\n', 6).join('\n      ')}`
}

function notRunOf(suite: string, outcome: Outcome): readonly string[] {
  if (outcome.at === 'not run') return [`${suite}: the whole suite (${outcome.reason})`]
  return outcome.pending.map(({ title, notRun }) => `${suite}: ${title} (${notRun?.reason ?? 'marked as pending'})`)
}

function whyUnmet(name: string, outcome: Outcome | undefined, required: Required): readonly string[] {
  const absent = required.whyAbsent(name)
  if (absent !== undefined) return [`${name}: ${absent}`]
  if (outcome === undefined) return []
  if (outcome.at === 'not run') return [`${name}: ${outcome.reason}`]
  if (outcome.passed + outcome.failed.length + outcome.pending.length === 0) return [`${name}: no test ran`]
  // An absent peer program is no failure until REQUIRE names the peer itself.
  const unexcused = outcome.pending.filter(({ notRun }) => {
    return notRun === undefined || !notRun.lacking.startsWith('peer:') || required.names.includes(notRun.lacking)
  })
  return unexcused.map(({ title }) => `${name}: ${title}`)
}
