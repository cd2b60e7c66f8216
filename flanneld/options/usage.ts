import { COMMANDS, type CommandFlag, type CommandName, type CommandSpec } from '../commands/table.ts'
import type { FlagValue } from './go-flags.ts'
import { FLAG_NAMES, OPTION_TABLE, type OptionSpec } from './option-table.ts'

const INDENT = ' '.repeat(8)

/** Text of `--help`, for the daemon or one of its commands. */
export function usageText(command?: CommandName): string {
  return `${command === undefined ? daemonUsage() : commandUsage(command)}\n`
}

function daemonUsage(): string {
  return [
    'Usage: flanneld [FLAG]...',
    '       flanneld COMMAND [FLAG]...',
    '',
    'Leases a subnet for this host and connects its containers with those of the other hosts.',
    '',
    'Commands:',
    ...Object.entries(COMMANDS).map(([name, spec]) => `  ${name.padEnd(16)}${spec.summary}${later(spec)}`),
    '',
    'Flags (one dash or two; each also as a variable, --etcd-prefix as FLANNELD_ETCD_PREFIX):',
    ...FLAG_NAMES.map((name) => flagLines(name, OPTION_TABLE[name])),
    flagLines('version', { placeholder: '', help: 'print the version and exit' }),
  ].join('\n')
}

function commandUsage(command: CommandName): string {
  const spec: CommandSpec = COMMANDS[command]
  return [
    `Usage: flanneld ${command} [FLAG]...${spec.operand === undefined ? '' : ` ${spec.operand}`}`,
    '',
    `${spec.summary}${later(spec)}`,
    '',
    "Flags (beside the daemon's own, which tell which daemon is meant; see flanneld --help):",
    ...Object.entries(spec.flags).map(([name, flag]) => flagLines(name, flag)),
  ].join('\n')
}

function later(spec: CommandSpec): string {
  return spec.available ? '' : ' (not available yet)'
}

function flagLines(
  name: string,
  flag: CommandFlag | OptionSpec<unknown> | { placeholder: string; help: string },
): string {
  const fallback = 'fallback' in flag ? shownDefault(flag.fallback) : ''
  return `  --${name}${flag.placeholder && ` ${flag.placeholder}`}\n${INDENT}${flag.help}${fallback && ` (default ${fallback})`}`
}

/** Empty where nothing is the default. */
export function shownDefault(value: FlagValue): string {
  return value === false || (Array.isArray(value) && value.length === 0) ? '' : String(value)
}
