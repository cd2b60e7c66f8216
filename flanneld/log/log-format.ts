import { type LogFields, Secret, type Severity } from '../../lib/log.ts'

export type LogFormat = 'klog' | 'json' | 'logfmt'

export interface LogLine {
  readonly severity: Severity
  /** Stable name of the message; the documentation lists it. */
  readonly code: string
  /** How many lines of this code there were since the start, this one included. */
  readonly number: number
  readonly message: string
  readonly fields: LogFields
  /** Milliseconds since 1970. */
  readonly wall: number
  readonly pid: number
}

const KLOG_LETTER: Readonly<Record<Severity, string>> = { debug: 'I', info: 'I', warn: 'W', error: 'E' }
/** As in syslog(3). */
const JOURNAL_LEVEL: Readonly<Record<Severity, number>> = { debug: 7, info: 6, warn: 4, error: 3 }

/** One line without its end; nothing from outside can end it earlier or start a terminal sequence. */
export function formatLine(format: LogFormat, line: LogLine): string {
  switch (format) {
    case 'klog':
      return `${klogHead(line)} ${bare(line.message)}${pairs(line.fields)}`
    case 'logfmt':
      return `ts=${utc(line.wall)} level=${line.severity} code=${line.code} msg=${quoted(line.message)}${pairs(line.fields)}`
    case 'json':
      return JSON.stringify({
        ts: utc(line.wall),
        level: line.severity,
        code: line.code,
        msg: line.message,
        ...Object.fromEntries(Object.entries(line.fields).map(([key, value]) => [`${reserved(key)}`, plain(value)])),
      }).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, escaped)
  }
}

/** systemd reads the prefix as the line's priority. */
export function journalPrefix(severity: Severity): string {
  return `<${JOURNAL_LEVEL[severity]}>`
}

/**
 * Whether stderr is what JOURNAL_STREAM speaks of ("device:inode"): the variable is inherited, stderr may have been redirected.
 * Source: systemd.exec(5).
 */
export function isJournal(variable: string | undefined, stderr: { dev: number; ino: number } | undefined): boolean {
  return stderr !== undefined && variable === `${stderr.dev}:${stderr.ino}`
}

/** `route replaced` -> `route-replaced`: what a message is called in the documentation. */
export function codeOf(message: string): string {
  const words = message.toLowerCase().match(/[a-z0-9]+/g) ?? []
  return words.slice(0, 6).join('-') || 'message'
}

// I1121 09:01:23.404218    1052 main.go:228]  -- source: klog's header, local time, microseconds.
function klogHead(line: LogLine): string {
  const at = new Date(line.wall)
  const two = (value: number) => String(value).padStart(2, '0')
  const micros = String(Math.floor((line.wall % 1000) * 1000)).padStart(6, '0')
  const date = `${two(at.getMonth() + 1)}${two(at.getDate())}`
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${micros}`
  return `${KLOG_LETTER[line.severity]}${date} ${time} ${String(line.pid).padStart(7)} ${line.code}:${line.number}]`
}

function utc(wall: number): string {
  return new Date(wall).toISOString()
}

function pairs(fields: LogFields): string {
  let text = ''
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) text += ` ${key.replace(/[^\w.-]/g, '_')}=${quoted(plain(value))}`
  }
  return text
}

function quoted(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
  return /^[\w.:/@%+,-]+$/.test(text) ? text : JSON.stringify(text).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, escaped)
}

function bare(message: string): string {
  return message.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, escaped)
}

function reserved(key: string): string {
  return ['ts', 'level', 'code', 'msg', '__proto__'].includes(key) ? `field_${key}` : key
}

// What JSON can say: errors as their text, maps and sets as arrays, a few levels deep at most.
function plain(value: unknown, depth = 0): unknown {
  if (value instanceof Secret) return value.toString()
  if (value instanceof Error) return value.message
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'no date' : value.toISOString()
  if (depth > 3) return '...'
  if (value instanceof Map) return [...value].map(([key, item]) => `${inner(key, depth)}=${inner(item, depth)}`)
  if (value instanceof Set || Array.isArray(value)) return [...value].map((item) => plain(item, depth + 1))
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item, depth + 1)]))
}

function inner(item: unknown, depth: number): string {
  const value = plain(item, depth + 1)
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
}

function escaped(character: string): string {
  return [...character].map((each) => `\\u${(each.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`).join('')
}
