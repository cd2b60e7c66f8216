/** The gravest last; the place of each is an exit code, too. */
export const LEVELS = ['ok', 'warn', 'fail'] as const
export type Level = (typeof LEVELS)[number]

/** One answer. `fail`: the daemon cannot do its work so; `warn`: it can, and something of it will surprise. */
export interface Line {
  /** Short stable words, as in `docker-options`; the documentation lists them. */
  readonly check: string
  readonly level: Level
  /** One sentence. */
  readonly text: string
  /** The next step; absent where all is well. */
  readonly remedy?: string
}

export function ok(check: string, text: string): Line {
  return { check, level: 'ok', text }
}

export function warn(check: string, text: string, remedy: string): Line {
  return { check, level: 'warn', text, remedy }
}

export function fail(check: string, text: string, remedy: string): Line {
  return { check, level: 'fail', text, remedy }
}
