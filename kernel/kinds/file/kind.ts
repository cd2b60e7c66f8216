import type { Kind } from '../kind.ts'
import { splitDockerOptions } from './docker-options.ts'

/** A small file that other programs read, subnet.env for one. */
export interface StateFile {
  readonly kind: 'file'
  readonly path: string
  readonly content: string
  readonly mode: number
  /** Lines of this form that somebody else wrote into the file stay, behind the content. */
  readonly keeps?: 'docker options'
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
    actual.content === wholeContent(desired, actual.content) && actual.mode === desired.mode ? 'same' : 'update',
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
  return keeps === undefined ? content : content + splitDockerOptions(found).options
}

function writing({ path, mode }: StateFile, content: string): readonly string[] {
  return [`install -D -m ${mode.toString(8).padStart(4, '0')} /dev/stdin ${path} <<'END'`, `${content}END`]
}
