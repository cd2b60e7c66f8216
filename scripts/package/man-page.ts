import { COMMANDS, type CommandFlag, type CommandSpec } from '../../flanneld/commands/table.ts'
import { FLAG_NAMES, OPTION_TABLE, type OptionSpec } from '../../flanneld/options/option-table.ts'
import { shownDefault } from '../../flanneld/options/usage.ts'

/** flanneld(8). `date`: seconds since 1970. */
export function manPage(about: { readonly version: string; readonly date: number }): string {
  const day = new Date(about.date * 1000).toISOString().slice(0, 10)
  const available = Object.entries<CommandSpec>(COMMANDS).filter(([, { available }]) => available)
  const lines = [
    `.TH FLANNELD 8 "${day}" "flanneld ${text(about.version)}" "System Administration"`,
    '.SH NAME',
    'flanneld \\- overlay network for the containers of many hosts',
    '.SH SYNOPSIS',
    '.B flanneld',
    '[\\fIFLAG\\fR]...',
    '.br',
    '.B flanneld',
    '\\fICOMMAND\\fR [\\fIFLAG\\fR]...',
    '.SH DESCRIPTION',
    'Leases a subnet for this host, writes it to subnet.env, and keeps the routes, devices and rules of the kernel equal to the leases of all hosts.',
    'What is in the kernel stays when the daemon is stopped.',
    '.SH COMMANDS',
    "Each takes the daemon's flags too: they tell which daemon is meant.",
    ...available.flatMap(([name, spec]) => [
      '.TP',
      `.B ${text(name)}`,
      sentence(spec.summary),
      ...Object.entries(spec.flags).flatMap(([flag, of]) => ['.RS', ...flagLines(flag, of), '.RE']),
    ]),
    '.SH FLAGS',
    'With one dash or two. Each is also read from a variable, \\fB\\-\\-etcd\\-prefix\\fR from \\fBFLANNELD_ETCD_PREFIX\\fR; a flag beats its variable.',
    ...FLAG_NAMES.flatMap((name) => flagLines(name, OPTION_TABLE[name])),
    ...flagLines('version', { placeholder: '', help: 'print the version and exit' }),
    '.SH EXIT STATUS',
    ...EXIT_CODES.flatMap(([code, meaning]) => ['.TP', `.B ${code}`, meaning]),
    '.SH FILES',
    ...FILES.flatMap(([file, meaning]) => ['.TP', `.I ${file}`, meaning]),
    '.SH SEE ALSO',
    '.BR ip (8),',
    '.BR nft (8),',
    '.BR systemctl (1)',
  ]
  return `${lines.join('\n')}\n`
}

const EXIT_CODES: readonly (readonly [number, string])[] = [
  [0, 'SIGTERM or SIGINT'],
  [1, 'no interface fits, or a command could not do its work'],
  [2, 'the command line cannot be understood'],
  [75, 'another daemon serves this subnet file'],
  [77, 'no permission'],
  [78, 'the configuration cannot be used, or another host has this public address'],
]

const FILES: readonly (readonly [string, string])[] = [
  ['/etc/default/flanneld', 'variables for flanneld.service'],
  ['/run/flannel/subnet.env', "this host's subnet, for Docker and CNI"],
  ['/run/flannel/flanneld.sock', 'where \\fBflanneld status\\fR asks'],
  ['/var/lib/flannel', "this host's identity, and the record of what the daemon has made"],
]

function flagLines(name: string, flag: CommandFlag | OptionSpec<unknown> | { placeholder: string; help: string }) {
  const fallback = 'fallback' in flag ? shownDefault(flag.fallback) : ''
  const placeholder = flag.placeholder === '' ? '' : ` \\fI${text(flag.placeholder)}\\fR`
  return [
    '.TP',
    `\\fB\\-\\-${text(name)}\\fR${placeholder}`,
    sentence(`${flag.help}${fallback && ` (default ${fallback})`}`),
  ]
}

/** A line of text that troff takes for no request. */
function sentence(words: string): string {
  return text(words).replace(/^([.'])/, '\\&$1')
}

function text(words: string): string {
  return words.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll("'", '\\(aq').replaceAll('`', '\\(ga')
}
