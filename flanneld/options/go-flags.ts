/** How a flag's value is written. `boolean` needs no value of its own; every use of a `list` adds one. */
export type FlagSyntax = 'text' | 'list' | 'boolean' | 'integer' | 'decimal' | 'duration'

/** A value as written: `list` gives an array, `duration` milliseconds. */
export type FlagValue = string | number | boolean | readonly string[]

export type FlagResult =
  | {
      readonly ok: true
      readonly values: ReadonlyMap<string, FlagValue>
      readonly rest: readonly string[]
      readonly help: boolean
    }
  | { readonly ok: false; readonly text: string }

const BOOLEANS = new Map([
  ...['1', 't', 'T', 'true', 'TRUE', 'True'].map((word) => [word, true] as const),
  ...['0', 'f', 'F', 'false', 'FALSE', 'False'].map((word) => [word, false] as const),
])

const UNITS: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1e3, m: 6e4, h: 3.6e6 }

/**
 * Reads flags as Go's package `flag` does: one or two dashes, `-flag=value` or `-flag value` (whatever the value looks
 * like), booleans only with `=`; it stops at `--` or at the first word that is no flag; of a doubled flag the last counts.
 * Values never appear in the error of an unknown flag: a mistyped `--etcd-pasword=...` is no reason to print a password.
 */
export function parseGoFlags(words: readonly string[], syntaxOf: (name: string) => FlagSyntax | undefined): FlagResult {
  const values = new Map<string, FlagValue>()
  let at = 0
  for (; at < words.length; at += 1) {
    const word = words[at] ?? ''
    if (word.length < 2 || !word.startsWith('-')) break
    if (word === '--') {
      at += 1
      break
    }
    const flag = /^--?([^-=][^=]*)(?:=([\s\S]*))?$/.exec(word)
    const name = flag?.[1]
    if (name === undefined) return { ok: false, text: `bad flag syntax: ${word.replace(/=[\s\S]*$/, '=...')}` }
    const syntax = syntaxOf(name)
    if (syntax === undefined) {
      if (name === 'h' || name === 'help') return { ok: true, values, rest: [], help: true }
      return { ok: false, text: `flag provided but not defined: -${name}` }
    }
    let text = flag?.[2]
    if (text === undefined && syntax === 'boolean') text = 'true'
    if (text === undefined) {
      at += 1
      text = words[at]
    }
    if (text === undefined) return { ok: false, text: `flag needs an argument: -${name}` }
    const value = readFlagValue(syntax, text)
    if (!value.ok)
      return { ok: false, text: `invalid value ${JSON.stringify(text)} for flag -${name}: ${value.expected}` }
    const before = values.get(name)
    values.set(name, syntax === 'list' && Array.isArray(before) ? [...before, text] : value.value)
  }
  return { ok: true, values, rest: words.slice(at), help: false }
}

/** One value as written on the command line or in a variable. */
export function readFlagValue(
  syntax: FlagSyntax,
  text: string,
): { readonly ok: true; readonly value: FlagValue } | { readonly ok: false; readonly expected: string } {
  switch (syntax) {
    case 'text':
      return { ok: true, value: text }
    case 'list':
      return { ok: true, value: [text] }
    case 'boolean':
      return known(BOOLEANS.get(text), 'must be true or false')
    case 'integer':
      return known(readInteger(text), 'must be an integer')
    case 'decimal':
      return known(/^[+-]?\d{1,9}$/.test(text) ? Number(text) : undefined, 'must be an integer')
    case 'duration':
      return known(readDuration(text), 'must be a duration such as 30s or 5m')
  }
}

function known(value: FlagValue | undefined, expected: string) {
  return value === undefined ? ({ ok: false, expected } as const) : ({ ok: true, value } as const)
}

// strconv.ParseInt with base 0: 0x, 0o, 0b, a leading 0 for octal, and single underscores between digits or after the prefix.
function readInteger(text: string): number | undefined {
  const match =
    /^([+-]?)(0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0(?:_?[0-7])*|[1-9](?:_?\d)*)$/.exec(text)
  const digits = match?.[2]?.replaceAll('_', '')
  if (digits === undefined) return undefined
  const value = Number(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits)
  return Number.isSafeInteger(value) ? (match?.[1] === '-' && value !== 0 ? -value : value) : undefined
}

// time.ParseDuration, without a sign.
function readDuration(text: string): number | undefined {
  if (text === '0') return 0
  if (!/^(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined
  let ms = 0
  for (const [, amount, unit] of text.matchAll(/([\d.]+)(ns|us|µs|ms|s|m|h)/g))
    ms += Number(amount) * (UNITS[unit ?? ''] ?? 0)
  return ms <= Number.MAX_SAFE_INTEGER ? ms : undefined
}
