import { constants } from 'node:fs'
import { type FileHandle, open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Clock } from '../../../lib/clock.ts'
import { Latest } from '../../../lib/latest.ts'
import { readSystemError } from '../../../lib/system-error.ts'
import { type ObjectTable, type Op, type OpError, OpFailure, type OpResult } from '../../table.ts'
import { makeDirectory } from './directory.ts'
import { type StateFile, wholeContent } from './kind.ts'
import { watchFiles } from './watch.ts'

const MOST_BYTES = 1 << 20

/** Small files that other programs read: a reader sees the old content or the new, whole, whatever dies when. */
export class FileTable implements ObjectTable<StateFile> {
  readonly kind = 'file'
  readonly #clock: Clock
  /** As of the last dump. */
  readonly #wanted = new Latest<ReadonlySet<string>>('wanted files')

  constructor(needs: { clock: Clock }) {
    this.#clock = needs.clock
  }

  async watch(onChange: () => void, signal: AbortSignal): Promise<void> {
    await watchFiles({ clock: this.#clock, onChange }, this.#wanted, signal)
  }

  async dump(wanted: Iterable<StateFile>): Promise<readonly StateFile[]> {
    const found: StateFile[] = []
    const paths = new Set(Array.from(wanted, ({ path }) => path))
    this.#wanted.set(paths)
    for (const path of paths) {
      const file = await read(path)
      if (file !== undefined) found.push(file)
    }
    return found
  }

  async apply(ops: readonly Op<StateFile>[]): Promise<readonly OpResult[]> {
    const results: OpResult[] = []
    for (const { verb, object } of ops) {
      const error = await attempt(verb === 'remove' ? () => unlink(object.path) : () => write(object))
      results.push(error === undefined ? { ok: true } : { ok: false, error })
    }
    return results
  }
}

/** What this process or the host lacks says nothing of a file. */
const LACKS: readonly string[] = ['EMFILE', 'ENFILE', 'ENOMEM']

/** Undefined for what is missing, unreadable or no regular file: writing it will show why. @throws OpFailure */
async function read(path: string): Promise<StateFile | undefined> {
  let file: FileHandle | undefined
  try {
    // Opening a pipe would wait for its other end.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const stat = await file.stat()
    if (!stat.isFile() || stat.size > MOST_BYTES) return undefined
    return { kind: 'file', path, content: await file.readFile('utf8'), mode: stat.mode & 0o7777 }
  } catch (cause) {
    const error = readSystemError(cause)
    if (LACKS.includes(error.code)) throw new OpFailure(error)
    return undefined
  } finally {
    await file?.close()
  }
}

/** What others may write into the file is read now: since the last dump it may have changed. */
async function write(object: StateFile): Promise<void> {
  const found = object.keeps === undefined ? undefined : await read(object.path)
  await replace({ ...object, content: wholeContent(object, found?.content ?? '') })
}

async function replace({ path, content, mode }: StateFile): Promise<void> {
  const directory = dirname(path)
  await makeDirectory(directory)
  // One name for all times: what a killed process left is removed by the next one. Never through a link laid by somebody else.
  const temporary = join(directory, `.${basename(path)}.new`)
  await unlink(temporary).catch(() => {})
  const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
  try {
    try {
      await file.writeFile(content)
      await file.chmod(mode)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (cause) {
    // On a full disk half a file would only fill it more.
    await unlink(temporary).catch(() => {})
    throw cause
  }
  const parent = await open(directory, constants.O_RDONLY)
  try {
    await parent.sync()
  } finally {
    await parent.close()
  }
}

async function attempt(work: () => Promise<void>): Promise<OpError | undefined> {
  try {
    await work()
    return undefined
  } catch (cause) {
    return readSystemError(cause)
  }
}
