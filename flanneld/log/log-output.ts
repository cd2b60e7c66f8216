import type { Clock } from '../../lib/clock.ts'
import type { LogFields, LogSink, Severity } from '../../lib/log.ts'
import { codeOf, formatLine, journalPrefix, type LogFormat } from './log-format.ts'

export interface LogOutputOptions {
  readonly format: LogFormat
  readonly pid: number
  /** Lines go to the journal: they get its priority prefix. */
  readonly journal: boolean
  /** From 1 on with debug lines. */
  readonly verbosity: number
  /** Levels for codes that match a pattern with `*` and `?`; the first that matches counts. */
  readonly verbosityRules: readonly { readonly pattern: string; readonly level: number }[]
  /** `code:N`: that line gets a stack trace. */
  readonly tracePoint: string | undefined
}

/** Lines of one code that are written within a window; more are only counted. */
const MOST_LINES = 50
const WINDOW_MS = 10_000
/** Equal lines within this time are written once. */
const REPEAT_MS = 30_000
const MOST_REMEMBERED = 500

interface Folded {
  readonly code: string
  readonly severity: Severity
  readonly message: string
  readonly fields: LogFields
  readonly since: number
  count: number
}

interface Burst {
  since: number
  lines: number
  folded: number
  severity: Severity
  message: string
}

/**
 * Writes log lines: equal ones once per half minute, of one message at most fifty in ten seconds. What was left out is
 * counted and said when its time is over, at the next line or `flush`.
 */
export class LogOutput {
  readonly #clock: Clock
  readonly #write: (text: string) => void
  readonly #options: LogOutputOptions
  readonly #rules: readonly { readonly matches: RegExp; readonly level: number }[]
  readonly #repeats = new Map<string, Folded>()
  readonly #bursts = new Map<string, Burst>()
  readonly #numbers = new Map<string, number>()
  #nextSweep = 0

  /** `write` receives whole lines with their end. */
  constructor(needs: { clock: Clock; write: (text: string) => void }, options: LogOutputOptions) {
    this.#clock = needs.clock
    this.#write = needs.write
    this.#options = options
    this.#rules = options.verbosityRules.map(({ pattern, level }) => ({ matches: wildcard(pattern), level }))
  }

  readonly sink: LogSink = (severity, message, fields) => {
    const code = typeof fields['code'] === 'string' ? codeOf(fields['code']) : codeOf(message)
    if (severity === 'debug' && this.#level(code) < 1) return
    const now = this.#clock.now()
    if (now >= this.#nextSweep) this.#sweep(now)
    const { code: _shownInFront, ...shown } = fields
    if (this.#isRepeat(severity, code, message, shown, now) || this.#isBeyondBurst(severity, code, message, now)) return
    this.#emit(severity, code, message, shown)
  }

  /** Says how much was left out so far; call it before the process ends. */
  flush(): void {
    this.#sweep(Number.POSITIVE_INFINITY)
  }

  #isRepeat(severity: Severity, code: string, message: string, fields: LogFields, now: number): boolean {
    const key = formatLine('logfmt', { severity, code, number: 0, message, fields, wall: 0, pid: 0 })
    const before = this.#repeats.get(key)
    if (before !== undefined) {
      before.count += 1
      return true
    }
    if (this.#repeats.size >= MOST_REMEMBERED) this.#sweepRepeats(Number.POSITIVE_INFINITY)
    this.#repeats.set(key, { code, severity, message, fields, since: now, count: 0 })
    return false
  }

  #isBeyondBurst(severity: Severity, code: string, message: string, now: number): boolean {
    let burst = this.#bursts.get(code)
    if (burst === undefined) {
      burst = { since: now, lines: 0, folded: 0, severity, message }
      this.#bursts.set(code, burst)
    }
    burst.lines += 1
    if (burst.lines <= MOST_LINES) return false
    burst.folded += 1
    return true
  }

  #sweep(now: number): void {
    this.#nextSweep = now === Number.POSITIVE_INFINITY ? 0 : now + 1000
    this.#sweepRepeats(now)
    this.#sweepBursts(now)
  }

  #sweepRepeats(now: number): void {
    for (const [key, { code, severity, message, fields, since, count }] of this.#repeats) {
      if (now - since < REPEAT_MS) continue
      this.#repeats.delete(key)
      if (count > 0) this.#emit(severity, code, message, { ...fields, repeated: count })
    }
  }

  #sweepBursts(now: number): void {
    for (const [code, { severity, message, since, folded }] of this.#bursts) {
      if (now - since < WINDOW_MS) continue
      this.#bursts.delete(code)
      if (folded > 0) this.#emit(severity, code, message, { andMoreLikeThis: folded })
    }
  }

  #emit(severity: Severity, code: string, message: string, fields: LogFields): void {
    // Codes come from fixed messages; the limit only guards against one that is not.
    if (this.#numbers.size > 10 * MOST_REMEMBERED) this.#numbers.clear()
    const number = (this.#numbers.get(code) ?? 0) + 1
    this.#numbers.set(code, number)
    const { format, pid, journal, tracePoint } = this.#options
    const stack = tracePoint === `${code}:${number}` ? { stack: new Error('trace').stack } : {}
    const line = { severity, code, number, message, fields: { ...fields, ...stack }, wall: this.#clock.wall(), pid }
    this.#write(`${journal ? journalPrefix(severity) : ''}${formatLine(format, line)}\n`)
  }

  #level(code: string): number {
    return this.#rules.find(({ matches }) => matches.test(code))?.level ?? this.#options.verbosity
  }
}

function wildcard(pattern: string): RegExp {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${source}$`)
}
