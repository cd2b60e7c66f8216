import type { Kind } from '../kind.ts'
import { withChainedPlugins } from './chained-plugins.ts'
import { splitDockerOptions } from './docker-options.ts'

/** A small file that other programs read, subnet.env for one. */
export interface StateFile {
  readonly kind: 'file'
  readonly path: string
  readonly content: string
  readonly mode: number
  /** What somebody else wrote into the file and stays, behind the content: lines of this form, or plugins of a conflist. */
  readonly keeps?: 'docker options' | 'chained plugins'
  /** The option that names the path, for remedies; `--subnet-file` where nothing is said. */
  readonly option?: string
}

export const file: Kind<StateFile> = {
  name: 'file',
  events: false,
  removed: false,
  announces: true,
  key: ({ path }) => `file ${path}`,
  compare: (actual, desired) =>
    actual.content === wholeContent(desired, actual.content) && isModeFine(actual.mode, desired) ? 'same' : 'update',
  ownership: (_actual, wanted) => (wanted === undefined ? 'foreign' : 'ours'),
  // The content is left out.
  describe: ({ path, mode, content }) => `${path} mode ${mode.toString(8)}, ${content.length} characters`,
  commands: {
    create: (object) => writing(object, object.content),
    update: (object, actual) => writing(object, wholeContent(object, actual.content)),
    remove: ({ path }) => `rm ${path}`,
  },
}

/** What is written to the file where `found` is its content now. */
export function wholeContent({ content, keeps }: StateFile, found: string): string {
  if (keeps === undefined) return content
  return keeps === 'chained plugins' ? withChainedPlugins(content, found) : content + splitDockerOptions(found).options
}

/** Whoever appends plugins writes the file with a mode of its own: any by which nobody else may change it. */
function isModeFine(mode: number, desired: StateFile): boolean {
  return mode === desired.mode || (desired.keeps === 'chained plugins' && (mode | 0o044) === 0o644)
}

function writing({ path, mode }: StateFile, content: string): readonly string[] {
  return [
    `install -D -m ${mode.toString(8).padStart(4, '0')} /dev/stdin ${path} <<'END'`,
    `${content.replace(/[^\n]$/, '$&\n')}END`,
  ]
}
