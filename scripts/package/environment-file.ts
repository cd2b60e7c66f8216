import {
  FLAG_NAMES,
  type FlagName,
  OPTION_TABLE,
  type OptionSpec,
  variableOf,
} from '../../flanneld/options/option-table.ts'

/** /etc/default/flanneld: each variable of the daemon, commented, with its default. Read by systemd as an EnvironmentFile=. */
export function environmentFile(): string {
  return `${[HEAD, ...FLAG_NAMES.map(paragraph)].join('\n\n')}\n`
}

const HEAD = `# Options of flanneld.service: one variable for each flag (man flanneld). A commented line shows the default.
# A variable gives a list one entry. More of them, and flags that shall beat the variables, stand here:
#FLANNEL_OPTIONS="--iface=eth1 --iface=eth0"`

function paragraph(name: FlagName): string {
  const spec: OptionSpec<unknown> = OPTION_TABLE[name]
  return `# ${spec.help}${spec.placeholder === '' ? '' : ` (${spec.placeholder})`}\n#${variableOf(name)}=${quoted(spec.fallback)}`
}

function quoted(fallback: OptionSpec<unknown>['fallback']): string {
  const text = String(fallback)
  if (/^[\w./:,-]*$/.test(text)) return text
  throw new Error(`${text}: write how systemd and a shell read this`)
}
