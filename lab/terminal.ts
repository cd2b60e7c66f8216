/** Where a lab command writes, and what it may do there. */
export interface Terminal {
  print(line: string): void
  /** A person looks at it: colours, and a table that is drawn again in place. */
  readonly interactive: boolean
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal
}

export function heading(terminal: Terminal, text: string): void {
  terminal.print('')
  terminal.print(terminal.interactive ? `\x1b[1m${text}\x1b[0m` : `== ${text}`)
}

export function indented(terminal: Terminal, lines: readonly string[]): void {
  for (const line of lines) terminal.print(`  ${line}`)
}

export function verdictMark(terminal: Terminal, good: boolean): string {
  const text = good ? 'ok' : 'FAILED'
  if (!terminal.interactive) return text
  return good ? `\x1b[32m${text}\x1b[0m` : `\x1b[31m${text}\x1b[0m`
}
