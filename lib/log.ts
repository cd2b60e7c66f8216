/** Values beside a log line. Secrets are wrapped in `Secret`, so they cannot be printed by accident. */
export type LogFields = Readonly<Record<string, unknown>>

export type Severity = 'debug' | 'info' | 'warn' | 'error'

/** A line per fact: past tense, stable words, the changing part in `fields`. */
export interface Logger {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
}

/** Where finished lines go: given the severity and the message, it decides on the format. */
export type LogSink = (severity: Severity, message: string, fields: LogFields) => void

export function createLogger(sink: LogSink): Logger {
  const at =
    (severity: Severity) =>
    (message: string, fields: LogFields = {}) =>
      sink(severity, message, fields)
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** For tests and for parts that may stay silent. */
export const silentLogger: Logger = createLogger(() => {})

/** A value that must never be seen: every way of printing it gives `[redacted]`. */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  reveal(): string {
    return this.#value
  }

  toString(): string {
    return '[redacted]'
  }

  toJSON(): string {
    return '[redacted]'
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[redacted]'
  }
}
