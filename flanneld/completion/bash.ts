import { type CommandWord, commandSteps, type FlagWord, type Vocabulary } from './vocabulary.ts'

/** For bash without any package beside it. Words are told apart as bash does: `=` is one by itself. */
export function bashCompletion(vocabulary: Vocabulary): string {
  const { commands, flags } = vocabulary
  const everyFlag = [...commands.flatMap((command) => command.flags), ...flags]
  return `# bash completion for flanneld
_flanneld() {
  local word=\${COMP_WORDS[COMP_CWORD]} flag=\${COMP_WORDS[COMP_CWORD-1]} command= offered= before at
  # --flag=value
  if [[ $word == = ]]; then word=
  elif [[ $flag == = && $COMP_CWORD -gt 1 ]]; then flag=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  [[ $flag == -[!-]?* ]] && flag=-$flag
  COMPREPLY=()
  case $flag in
${wordCases(everyFlag)}
    ${named(everyFlag, 'file')}) compopt -o filenames; COMPREPLY=($(compgen -f -- "$word")); return ;;
    ${named(everyFlag, 'anything')}) return ;;
  esac
  for ((at = 1; at < COMP_CWORD; at++)); do
    before=\${COMP_WORDS[at]}
    case $before in
      =) ((at++)) ;;
      -*)
        [[ \${COMP_WORDS[at+1]} == = ]] && continue
        case $before in
          ${takingValue(everyFlag)}) ((at++)) ;;
        esac ;;
      *) command="\${command:+$command }$before" ;;
    esac
  done
  case $command in
${filesBehind(commands)}
  esac
  case $command in
${[...commandSteps(vocabulary)].map(([before, words]) => `    '${before}') [[ $word != -* ]] && offered='${[...words].join(' ')}' ;;`).join('\n')}
${commands
  .filter((command) => command.flags.length > 0)
  .map(({ name, flags: own }) => `    '${name}') [[ $word == -* ]] && offered='${flagNames(own)}' ;;`)
  .join('\n')}
  esac
  [[ $word == -* ]] && offered+=' ${flagNames(flags)}'
  COMPREPLY=($(compgen -W "$offered" -- "$word"))
}
complete -F _flanneld flanneld
`
}

function filesBehind(commands: readonly CommandWord[]): string {
  const names = commands.filter(({ takesFile }) => takesFile).map(({ name }) => `'${name}'`)
  return `    ${names.join('|')}) [[ $word != -* ]] && { compopt -o filenames; COMPREPLY=($(compgen -f -- "$word")); return; } ;;`
}

function flagNames(flags: readonly FlagWord[]): string {
  return flags.map(({ flag }) => flag).join(' ')
}

function wordCases(flags: readonly FlagWord[]): string {
  return flags
    .flatMap(({ flag, value }) =>
      typeof value === 'string'
        ? []
        : [`    ${flag}) COMPREPLY=($(compgen -W '${value.join(' ')}' -- "$word")); return ;;`],
    )
    .join('\n')
}

function named(flags: readonly FlagWord[], wanted: FlagWord['value']): string {
  return flags
    .filter(({ value }) => value === wanted)
    .map(({ flag }) => flag)
    .join('|')
}

// With one dash, too, as Go's flags may be written.
function takingValue(flags: readonly FlagWord[]): string {
  return flags
    .filter(({ value }) => value !== 'none')
    .flatMap(({ flag }) => (flag.startsWith('--') ? [flag, flag.slice(1)] : [flag]))
    .join('|')
}
