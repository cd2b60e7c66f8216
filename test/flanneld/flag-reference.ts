import { FLAG_NAMES, OPTION_TABLE, type OptionSpec, variableOf } from '../../flanneld/options/option-table.ts'
import { shownDefault } from '../../flanneld/options/usage.ts'

/** The reference of flags for the documentation, as a Markdown table. */
export function flagReference(notAvailable: (name: (typeof FLAG_NAMES)[number]) => boolean): string {
  const row = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [
    row(['flag', 'variable', 'default', 'meaning']),
    '|---|---|---|---|',
    ...FLAG_NAMES.map((name) => {
      const spec: OptionSpec<unknown> = OPTION_TABLE[name]
      const shown = spec.fallback === false ? 'false' : shownDefault(spec.fallback)
      return row([
        `\`--${name}${spec.placeholder && ` ${spec.placeholder}`}\``,
        `\`${variableOf(name)}\``,
        shown === '' ? '' : `\`${shown}\``,
        `${spec.help}${spec.syntax === 'list' ? '; as a variable: one value' : ''}${notAvailable(name) ? ' *(not available yet)*' : ''}`,
      ])
    }),
  ].join('\n')
}
