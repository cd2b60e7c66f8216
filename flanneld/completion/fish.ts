import { commandSteps, type FlagWord, type Vocabulary } from './vocabulary.ts'

/** One line for each word that may be offered. */
export function fishCompletion(vocabulary: Vocabulary): string {
  const { commands, flags } = vocabulary
  const summaries = new Map(commands.map(({ name, summary }) => [name, summary]))
  const lines = ['# fish completion for flanneld', 'complete -c flanneld -f']
  for (const [before, words] of commandSteps(vocabulary)) {
    for (const word of words) {
      const summary = summaries.get(before === '' ? word : `${before} ${word}`)
      const described = summary === undefined ? '' : ` -d ${quote(summary)}`
      lines.push(`complete -c flanneld -n ${quote(when(before, words))} -a ${quote(word)}${described}`)
    }
  }
  for (const { name, takesFile } of commands)
    if (takesFile) lines.push(`complete -c flanneld -n ${quote(when(name, []))} -F`)
  for (const { name, flags: own } of commands)
    for (const flag of own) lines.push(`complete -c flanneld -n ${quote(when(name, []))} ${flagWords(flag)}`)
  for (const flag of flags) lines.push(`complete -c flanneld ${flagWords(flag)}`)
  return `${lines.join('\n')}\n`
}

/** Behind all words of a command, and none of those that may follow. */
function when(before: string, following: Iterable<string>): string {
  const seen = before === '' ? [] : before.split(' ').map((word) => `__fish_seen_subcommand_from ${word}`)
  const next = [...following].join(' ')
  return [...seen, ...(next === '' ? [] : [`not __fish_seen_subcommand_from ${next}`])].join('; and ')
}

function flagWords({ flag, value, help }: FlagWord): string {
  const name = flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`
  const taken = value === 'none' ? '' : value === 'file' ? ' -r -F' : ' -x'
  const words = typeof value === 'string' ? '' : ` -a ${quote(value.join(' '))}`
  return `${name}${taken}${words} -d ${quote(help)}`
}

function quote(text: string): string {
  return `'${text.replace(/['\\]/g, '\\$&')}'`
}
