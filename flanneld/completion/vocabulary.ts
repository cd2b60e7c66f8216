import { COMMANDS, type CommandFlag, type CommandSpec } from '../commands/table.ts'
import { isAvailable } from '../options/availability.ts'
import { FLAG_NAMES, OPTION_TABLE, type OptionSpec } from '../options/option-table.ts'

/** What a shell may offer behind a flag: files, one of these words, something that only the user knows; `none`: the flag takes no value. */
export type Value = 'file' | 'none' | 'anything' | readonly string[]

export interface FlagWord {
  /** With its dashes, as in `--etcd-prefix` or `-o`. */
  readonly flag: string
  readonly value: Value
  readonly help: string
}

export interface CommandWord {
  /** One word or two, as in `config validate`. */
  readonly name: string
  readonly summary: string
  readonly flags: readonly FlagWord[]
  /** A file follows. */
  readonly takesFile: boolean
}

/** All that can be written behind `flanneld`, but for what is not available yet. */
export interface Vocabulary {
  readonly commands: readonly CommandWord[]
  /** Of the daemon; every command takes them, too. */
  readonly flags: readonly FlagWord[]
}

const BESIDE_THE_TABLE: readonly FlagWord[] = [
  { flag: '--version', value: 'none', help: 'print the version and exit' },
  { flag: '--help', value: 'none', help: 'print the flags and exit' },
]

export function vocabulary(): Vocabulary {
  const commands = Object.entries<CommandSpec>(COMMANDS).filter(([, { available }]) => available)
  return {
    commands: commands.map(([name, { summary, flags, operand }]) => ({
      name,
      summary,
      takesFile: operand !== undefined,
      flags: Object.entries(flags).map(([flag, spec]) => flagWord(flag, spec)),
    })),
    flags: [...FLAG_NAMES.filter(isAvailable).map((name) => flagWord(name, OPTION_TABLE[name])), ...BESIDE_THE_TABLE],
  }
}

function flagWord(name: string, spec: CommandFlag | OptionSpec<unknown>): FlagWord {
  return { flag: `${name.length === 1 ? '-' : '--'}${name}`, value: offeredFor(spec), help: spec.help }
}

function offeredFor({ syntax, placeholder }: Pick<CommandFlag, 'syntax' | 'placeholder'>): Value {
  if (syntax === 'boolean') return 'none'
  if (placeholder === 'FILE' || placeholder === 'DIR') return 'file'
  // Capitals stand for something; small letters are what is written.
  return placeholder !== '' && placeholder === placeholder.toLowerCase() ? placeholder.split('|') : 'anything'
}

/** The words that may follow `before` in names of commands: of `config` they are `validate` and `render`. */
export function commandSteps({ commands }: Vocabulary): ReadonlyMap<string, ReadonlySet<string>> {
  const steps = new Map<string, Set<string>>()
  for (const { name } of commands) {
    const words = name.split(' ')
    for (const [index, word] of words.entries()) {
      const before = words.slice(0, index).join(' ')
      steps.set(before, (steps.get(before) ?? new Set()).add(word))
    }
  }
  return steps
}
