import { commandSteps, type FlagWord, type Vocabulary } from './vocabulary.ts'

/** For zsh's own completion system: a file `_flanneld` in a folder of `fpath`, or sourced. */
export function zshCompletion(vocabulary: Vocabulary): string {
  const { commands, flags } = vocabulary
  const summaries = new Map(commands.map(({ name, summary }) => [name, summary]))
  const steps = [...commandSteps(vocabulary)].map(([before, words]) => {
    const described = [...words].map((word) => {
      const name = before === '' ? word : `${before} ${word}`
      return quote(`${word}:${summaries.get(name) ?? ''}`)
    })
    return `    ${quote(before)}) offered=(${described.join(' ')}) ;;`
  })
  const own = commands
    .filter((command) => command.flags.length > 0)
    .map((command) => `    ${quote(command.name)}) own=(${command.flags.map(specification).join(' ')}) ;;`)
  const fileTakers = commands
    .filter(({ takesFile }) => takesFile)
    .map(({ name }) => quote(name))
    .join('|')
  return `#compdef flanneld
_flanneld() {
  local -a own shared offered
  local command= operand= at
  shared=(
${flags.map((flag) => `    ${specification(flag)}`).join('\n')}
  )
  # Words that are no flags, nor values of flags.
  for ((at = 2; at < CURRENT; at++)); do
    case $words[at] in
      ${takingValue([...commands.flatMap((each) => each.flags), ...flags])}) ((at++)) ;;
      -*) ;;
      *) command="\${command:+$command }$words[at]" ;;
    esac
  done
  case $command in
${own.join('\n')}
  esac
  case $command in
    ${fileTakers}) operand=_files ;;
  esac
  case $command in
${steps.join('\n')}
  esac
  if [[ $PREFIX != -* ]] && (( $#offered )) && [[ $words[CURRENT-1] != (${takingValue(flags)}) ]]; then
    _describe command offered
    return
  fi
  _arguments $own $shared "*: :$operand"
}
if [[ $funcstack[1] == _flanneld ]]; then _flanneld "$@"; else compdef _flanneld flanneld; fi
`
}

/** As `_arguments` takes it. */
function specification({ flag, value, help }: FlagWord): string {
  const text = help.replace(/[[\]:\\]/g, '\\$&')
  const equals = value !== 'none' && flag.startsWith('--') ? '=' : ''
  const action = value === 'none' ? '' : `:${flag.replace(/^-+/, '')}:${actionOf(value)}`
  return quote(`*${flag}${equals}[${text}]${action}`)
}

function actionOf(value: FlagWord['value']): string {
  if (value === 'file') return '_files'
  return typeof value === 'string' ? ' ' : `(${value.join(' ')})`
}

function takingValue(flags: readonly FlagWord[]): string {
  return flags
    .filter(({ value }) => value !== 'none')
    .map(({ flag }) => flag)
    .join('|')
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
