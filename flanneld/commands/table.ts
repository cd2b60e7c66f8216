import type { FlagSyntax } from '../options/go-flags.ts'

export interface CommandFlag {
  readonly syntax: FlagSyntax
  readonly placeholder: string
  readonly help: string
}

export interface CommandSpec {
  readonly summary: string
  readonly available: boolean
  /** A file, or `-` for the standard input, that must follow. */
  readonly operand?: 'FILE|-'
  readonly flags: Readonly<Record<string, CommandFlag>>
}

/** Every command beside the daemon itself. All take the daemon's flags too: they must find the same instance. */
export const COMMANDS = {
  status: {
    summary: 'show how the running daemon is; 0 ok, 1 degraded, 2 down, 3 cannot ask',
    available: true,
    flags: {
      wait: { syntax: 'duration', placeholder: 'TIME', help: 'ask again until all is well, at most this long (5m)' },
      brief: { syntax: 'boolean', placeholder: '', help: 'one line' },
      o: { syntax: 'text', placeholder: 'json', help: 'print the status document itself' },
    },
  },
  plan: {
    summary: 'print what would be changed and change nothing',
    available: true,
    flags: {
      config: {
        syntax: 'text',
        placeholder: 'FILE',
        help: 'as if the network configuration were this one; - for the standard input',
      },
      o: { syntax: 'text', placeholder: 'json', help: 'print it as a document' },
    },
  },
  check: {
    summary:
      'tell what on this host, in etcd or in Docker would keep the daemon from its work; 0 ok, 1 warnings, 2 failures',
    available: true,
    flags: { o: { syntax: 'text', placeholder: 'json', help: 'print it as a document' } },
  },
  cleanup: { summary: 'remove every device, route and file of the daemon', available: true, flags: {} },
  'hand-over': {
    summary: "leave a stopped daemon's host to flannel: what flannel takes over stays, all else goes",
    available: true,
    flags: {},
  },
  'config validate': {
    summary: 'check a network configuration; 0 a daemon can use it, 78 it cannot',
    available: true,
    operand: 'FILE|-',
    flags: {
      strict: { syntax: 'boolean', placeholder: '', help: 'unknown keys are a fault' },
      o: { syntax: 'text', placeholder: 'json', help: 'print it as a document' },
    },
  },
  'config render': {
    summary: 'print a network configuration with every default written out',
    available: true,
    operand: 'FILE|-',
    flags: {
      o: { syntax: 'text', placeholder: 'json', help: 'of each value also where it comes from and its default' },
    },
  },
  switch: {
    summary: 'use the network configuration that the running daemon holds back because it was changed back and forth',
    available: true,
    flags: {
      finish: {
        syntax: 'boolean',
        placeholder: '',
        help: 'end a change of the backend now, whoever still needs the old one',
      },
    },
  },
  'rotate-key': { summary: 'make a new wireguard key', available: false, flags: {} },
  version: { summary: 'print the version', available: true, flags: {} },
  'completion bash': { summary: 'print the completion script for bash', available: true, flags: {} },
  'completion zsh': { summary: 'print the completion script for zsh', available: true, flags: {} },
  'completion fish': { summary: 'print the completion script for fish', available: true, flags: {} },
} as const satisfies Record<string, CommandSpec>

export type CommandName = keyof typeof COMMANDS

/** The command that the words begin with, and what follows it. */
export function commandFromWords(
  words: readonly string[],
): { readonly name: CommandName; readonly spec: CommandSpec; readonly rest: readonly string[] } | undefined {
  for (const [name, spec] of Object.entries(COMMANDS)) {
    const length = name.split(' ').length
    if (words.slice(0, length).join(' ') === name) return { name: name as CommandName, spec, rest: words.slice(length) }
  }
  return undefined
}
