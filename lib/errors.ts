/** A value of the configuration that cannot be used: what it is, where it stands, what was expected. Exit code 78 at start. */
export class ConfigError extends Error {
  readonly path: string
  readonly expected: string
  readonly value: unknown

  constructor(path: string, expected: string, value?: unknown) {
    super(`${path}: ${expected}${value === undefined ? '' : `, got ${printable(value)}`}`)
    this.name = 'ConfigError'
    this.path = path
    this.expected = expected
    this.value = value
  }
}

/** A command line or environment that cannot be understood. Exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Another process already runs this instance. Exit code 75. */
export class AlreadyRunningError extends Error {
  override readonly name = 'AlreadyRunningError'
}

/** The kernel or the file system refuses for lack of rights. Exit code 77. */
export class PermissionError extends Error {
  override readonly name = 'PermissionError'
}

/** A lease of somebody else's that cannot be read; the text names the field. Decoders throw nothing else. */
export class InvalidLease extends Error {
  override readonly name = 'InvalidLease'
}

/** Closes a `switch` over a union: the compiler refuses a missing case, and a value from outside is named. */
export function assertNever(value: never): never {
  throw new TypeError(`unexpected value ${printable(value)}`)
}

/** The text of anything thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** A value from outside as one line of at most 120 characters: control characters escaped, so that it is safe in a log. */
export function printable(value: unknown): string {
  let text: string | undefined
  try {
    text = JSON.stringify(value, (_key, item) => (isNoJsonNumber(item) ? String(item) : item))
  } catch {
    text = undefined
  }
  const line = (text ?? String(value)).replace(/[\p{Cc}\u2028\u2029]/gu, escapeCharacter)
  return line.length > 120 ? `${line.slice(0, 117)}...` : line
}

// JSON would say null: 1e400 is read as Infinity.
function isNoJsonNumber(item: unknown): boolean {
  return typeof item === 'bigint' || (typeof item === 'number' && !Number.isFinite(item))
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
