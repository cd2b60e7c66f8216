import { ConfigError } from '../../lib/errors.ts'
import type { FlagValue } from './go-flags.ts'
import {
  FLAG_NAMES,
  type FlagName,
  OPTION_TABLE,
  type OptionSpec,
  type Options,
  optionKey,
  variableOf,
} from './option-table.ts'
import type { Origins } from './options.ts'

/** Flags whose feature is not there yet: any value but the default is refused, so that nobody believes in what is not done. */
const NOT_YET: ReadonlySet<FlagName> = new Set<FlagName>(['allow-extension'])

export function isAvailable(name: FlagName): boolean {
  return !NOT_YET.has(name)
}

/** The first flag that asks for what is not there yet. */
export function firstUnavailable(options: Options, origins: Origins): ConfigError | undefined {
  for (const name of FLAG_NAMES) {
    const origin = origins.get(name)
    if (origin === undefined || !asksForMore(name, options)) continue
    return new ConfigError(
      origin === 'flag' ? `--${name}` : variableOf(name),
      'not available yet, leave it at its default',
    )
  }
  return undefined
}

function asksForMore(name: FlagName, options: Options): boolean {
  if (isAvailable(name)) return false
  const spec: OptionSpec<unknown> = OPTION_TABLE[name]
  const value = (options as Readonly<Record<string, unknown>>)[optionKey(name)]
  return JSON.stringify(value) !== JSON.stringify(spec.read(spec.fallback as FlagValue as never))
}
