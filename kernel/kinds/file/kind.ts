import type { Kind } from '../kind.ts'

/** A small file that other programs read, subnet.env for one. */
export interface StateFile {
  readonly kind: 'file'
  readonly path: string
  readonly content: string
  readonly mode: number
}

export const file: Kind<StateFile> = {
  name: 'file',
  events: false,
  removed: false,
  announces: true,
  key: ({ path }) => `file ${path}`,
  compare: (actual, desired) =>
    actual.content === desired.content && actual.mode === desired.mode ? 'same' : 'update',
  ownership: (_actual, wanted) => (wanted === undefined ? 'foreign' : 'ours'),
  // The content is left out.
  describe: ({ path, mode, content }) => `${path} mode ${mode.toString(8)}, ${content.length} characters`,
  commands: {
    create: writing,
    update: writing,
    remove: ({ path }) => `rm ${path}`,
  },
}

function writing({ path, mode, content }: StateFile): readonly string[] {
  return [`install -D -m ${mode.toString(8).padStart(4, '0')} /dev/stdin ${path} <<'END'`, `${content}END`]
}
