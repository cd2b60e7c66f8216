/** What of a unit and its drop-ins decides how its program is started. Pure. */
export interface UnitStart {
  /** The last ExecStart that counts; empty: none. */
  readonly execStart: string
  readonly environment: ReadonlyMap<string, string>
  /** `required`: without the file the unit does not start. */
  readonly files: readonly { readonly path: string; readonly required: boolean }[]
}

/** `texts`: the unit, then its drop-ins in order. Source: systemd.unit(5), systemd.exec(5). */
export function parseUnit(texts: readonly string[]): UnitStart {
  let execStart = ''
  const environment = new Map<string, string>()
  let files: { path: string; required: boolean }[] = []
  for (const text of texts) {
    let section = ''
    for (const line of text.replace(/\\\n/g, ' ').split('\n')) {
      section = /^\s*\[(\w+)\]/.exec(line)?.[1] ?? section
      const [, key, value = ''] = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(line) ?? []
      if (section !== 'Service') continue
      if (key === 'ExecStart') execStart = value.replace(/^[-@:+!]+/, '')
      if (key === 'Environment') for (const [name, word] of assignments(splitWords(value))) environment.set(name, word)
      if (key === 'Environment' && value === '') environment.clear()
      if (key === 'EnvironmentFile')
        files = value === '' ? [] : [...files, { path: value.replace(/^-/, ''), required: !value.startsWith('-') }]
    }
  }
  return { execStart, environment, files }
}

const BINDING = new Set(['Requires', 'Requisite', 'BindsTo', 'PartOf'])

/** Whether the unit shares the life of another one, whose name begins so. Source: systemd.unit(5). */
export function isBoundTo(text: string, names: readonly string[]): boolean {
  let section = ''
  return text
    .replace(/\\\n/g, ' ')
    .split('\n')
    .some((line) => {
      section = /^\s*\[(\w+)\]/.exec(line)?.[1] ?? section
      const [, key = '', value = ''] = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(line) ?? []
      return section === 'Unit' && BINDING.has(key) && value.split(/\s+/).some((name) => names.includes(name))
    })
}

/** A file of variables as systemd reads it. */
export function parseEnvironmentFile(text: string): ReadonlyMap<string, string> {
  const lines = text.replace(/\\\n/g, '').split('\n')
  return new Map(
    lines.flatMap((line) => {
      const [, name, value = ''] = /^\s*([A-Za-z_]\w*)=(.*)$/.exec(line) ?? []
      return name === undefined ? [] : [[name, unquote(value.trim())] as const]
    }),
  )
}

/** The words that a command line starts its program with: `$NAME` as a word of its own becomes words, `${NAME}` never more than one. */
export function expandCommand(command: string, variables: ReadonlyMap<string, string>): readonly string[] {
  return splitWords(command).flatMap((word) => {
    const whole = /^\$(\w+)$/.exec(word)?.[1]
    if (whole !== undefined) return splitWords(variables.get(whole) ?? '')
    return [word.replace(/\$\{(\w+)\}/g, (_, name: string) => variables.get(name) ?? '')]
  })
}

function assignments(words: readonly string[]): readonly (readonly [string, string])[] {
  return words.flatMap((word) => {
    const at = word.indexOf('=')
    return at > 0 ? [[word.slice(0, at), word.slice(at + 1)] as const] : []
  })
}

function splitWords(text: string): readonly string[] {
  const words = text.match(/(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])+/g) ?? []
  return words.map(unquote)
}

function unquote(text: string): string {
  return text.replace(/"((?:\\.|[^"\\])*)"|'([^']*)'|\\(.)/g, (_, double?: string, single?: string, one?: string) =>
    double === undefined ? (single ?? one ?? '') : double.replace(/\\(.)/g, '$1'),
  )
}
