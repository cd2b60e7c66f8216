import { ConfigError, UsageError } from '../../lib/errors.ts'
import { COMMANDS, type CommandName, type CommandSpec, commandFromWords } from '../commands/table.ts'
import { type FlagSyntax, type FlagValue, parseGoFlags, readFlagValue } from './go-flags.ts'
import { FLAG_NAMES, type FlagName, type Options, optionKey, specOf, variableOf } from './option-table.ts'
import { Unusable } from './option-values.ts'
import { usageText } from './usage.ts'

export type { Options } from './option-table.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** Where a value came from, for messages and for `availability.ts`. */
export type Origins = ReadonlyMap<FlagName, 'flag' | 'variable'>

type CompletionCommand = `completion ${'bash' | 'zsh' | 'fish'}`

export type CommandLine =
  | { readonly command: 'help'; readonly text: string }
  /** `--version` answers on stderr as flannel does, the command on stdout. */
  | { readonly command: 'version'; readonly stream: 'stdout' | 'stderr' }
  | { readonly command: 'completion'; readonly shell: 'bash' | 'zsh' | 'fish' }
  | {
      readonly command: Exclude<CommandName, 'version' | CompletionCommand> | 'daemon'
      readonly options: Options
      readonly origins: Origins
      /** The command's own flags, as written. */
      readonly flags: ReadonlyMap<string, FlagValue>
      /** What stands behind the command, where it takes something. */
      readonly operand?: string
      /** Variables that could not be read; their defaults stand. */
      readonly warnings: readonly string[]
    }

/**
 * The whole command line: flags, at most one command, its flags. A flag beats its variable; an empty variable counts as
 * unset. A value that Go could not parse is a usage error on the command line and a warning in a variable; one that can
 * be parsed and not used is refused wherever it came from, as in flannel.
 *
 * @param words without the names of interpreter and program
 * @throws UsageError for what cannot be understood; ConfigError for a variable with an unusable value and for a command that is not there yet
 */
export function parseCommandLine(words: readonly string[], env: Environment): CommandLine {
  const before = parse(words, undefined)
  if (before.help) return { command: 'help', text: usageText() }
  if (before.values.get('version') === true) return { command: 'version', stream: 'stderr' }
  if (before.rest.length === 0) return { command: 'daemon', ...evaluate(before.values, env), flags: new Map() }

  const found = words[words.length - before.rest.length - 1] === '--' ? undefined : commandFromWords(before.rest)
  if (found === undefined) throw new UsageError(unexpected(before.rest[0] ?? ''))
  const after = parse(found.rest, found.spec)
  if (after.help) return { command: 'help', text: usageText(found.name) }
  const operand = found.spec.operand && after.rest[0]
  // Unlike Go's, flags may also follow it.
  const last = operand === undefined ? after : parse(after.rest.slice(1), found.spec)
  if (last.help) return { command: 'help', text: usageText(found.name) }
  if (last.rest.length > 0) throw new UsageError(unexpected(last.rest[0] ?? ''))
  if (found.spec.operand && operand === undefined)
    throw new UsageError(`${found.name} needs a file, or - for the standard input`)
  if (!found.spec.available) throw new ConfigError(`command ${found.name}`, 'not available yet')
  switch (found.name) {
    case 'version':
      return { command: 'version', stream: 'stdout' }
    case 'completion bash':
      return { command: 'completion', shell: 'bash' }
    case 'completion zsh':
      return { command: 'completion', shell: 'zsh' }
    case 'completion fish':
      return { command: 'completion', shell: 'fish' }
    default:
      return {
        ...commandLine(found.name, found.spec, [before.values, new Map([...after.values, ...last.values])], env),
        ...(operand !== undefined && { operand }),
      }
  }
}

function commandLine(
  command: Exclude<CommandName, 'version' | CompletionCommand>,
  spec: CommandSpec,
  [before, after]: readonly [ReadonlyMap<string, FlagValue>, ReadonlyMap<string, FlagValue>],
  env: Environment,
): CommandLine {
  const flags = new Map([...after].filter(([name]) => Object.hasOwn(spec.flags, name)))
  return { command, ...evaluate(new Map([...before, ...after]), env), flags }
}

function parse(words: readonly string[], command: CommandSpec | undefined) {
  const syntaxOf = (name: string): FlagSyntax | undefined => {
    if (command !== undefined && Object.hasOwn(command.flags, name)) return command.flags[name]?.syntax
    return name === 'version' ? 'boolean' : specOf(name)?.syntax
  }
  const result = parseGoFlags(words, syntaxOf)
  if (!result.ok) throw new UsageError(result.text)
  return result
}

function unexpected(word: string): string {
  if (/^(true|false)$/i.test(word))
    return `unexpected argument ${word}: a switch takes its value as in --ip-masq=${word}`
  return `unexpected argument ${JSON.stringify(word)}: neither a flag nor one of the commands ${Object.keys(COMMANDS).join(', ')}`
}

function evaluate(written: ReadonlyMap<string, FlagValue>, env: Environment) {
  const options: Record<string, unknown> = {}
  const origins = new Map<FlagName, 'flag' | 'variable'>()
  const warnings: string[] = []
  for (const name of FLAG_NAMES) {
    const spec = specOf(name)
    if (spec === undefined) continue
    let value = written.get(name)
    if (value !== undefined) origins.set(name, 'flag')
    const variable = env[variableOf(name)] ?? ''
    if (value === undefined && variable !== '') {
      const read = readFlagValue(spec.syntax, variable)
      if (read.ok) {
        value = read.value
        origins.set(name, 'variable')
      } else {
        warnings.push(
          `${variableOf(name)} was ignored, ${JSON.stringify(variable)} ${read.expected}; the default stays`,
        )
      }
    }
    options[optionKey(name)] = use(name, value ?? spec.fallback, origins.get(name))
  }
  return { options: options as Options, origins, warnings }
}

function use(name: FlagName, value: FlagValue, origin: 'flag' | 'variable' | undefined): unknown {
  const spec = specOf(name)
  try {
    return spec?.read(value as never)
  } catch (cause) {
    if (!(cause instanceof Unusable)) throw cause
    const shown = name === 'etcd-endpoints' || spec?.secret ? undefined : value
    if (origin === 'variable') throw new ConfigError(variableOf(name), cause.message, shown)
    throw new UsageError(new ConfigError(`--${name}`, cause.message, shown).message)
  }
}
