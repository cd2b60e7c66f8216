import { join } from 'node:path'
import { messageOf, PermissionError } from '../../lib/errors.ts'
import type { Logger } from '../../lib/log.ts'
import type { DiskWrites } from './disk-writes.ts'
import type { PrivateFiles } from './private-files.ts'

/** A directory of small files: `PrivateFiles`, or a disk in memory. */
export type FilePort = Pick<PrivateFiles, 'path' | 'read' | 'has' | 'write' | 'remove'>

/** Made when it is written, where it is too long to be kept in memory. */
type Text = string | (() => string)

interface Kept {
  readonly text: Text
  readonly effect: string
  readonly onWritten: () => void
}

/**
 * What the files of the state directory shall say. What the disk refuses is tried again, and what somebody removes while
 * the process runs (the whole directory, say) is written again: at the next start it is all that is known.
 */
export class StateFiles {
  readonly writes: DiskWrites
  readonly #files: FilePort
  readonly #log: Logger
  readonly #kept = new Map<string, Kept>()

  constructor(needs: { files: FilePort; writes: DiskWrites; log: Logger }) {
    this.#files = needs.files
    this.writes = needs.writes
    this.#log = needs.log
  }

  get path(): string {
    return this.#files.path
  }

  /** Undefined: there is none, or its disk cannot read it, which goes to the log. @throws PermissionError for a file that is not ours alone */
  async read(name: string): Promise<string | undefined> {
    try {
      return await this.#files.read(name)
    } catch (cause) {
      if (cause instanceof PermissionError) throw cause
      this.#log.error('state file cannot be read', { file: join(this.path, name), why: messageOf(cause) })
      return undefined
    }
  }

  /**
   * From now on the file says this. False: not yet, the disk refuses it. `effect`: what is so until then, completes
   * "... could not be written: "; `onWritten` hears when it is on disk, at once or later.
   * @throws PermissionError as `DiskWrites.attempt`
   */
  async keep(name: string, text: Text, effect: string, onWritten: () => void = () => {}): Promise<boolean> {
    const kept = { text, effect, onWritten }
    this.#kept.set(name, kept)
    return await this.#write(name, kept)
  }

  /** As `keep`, of what was read from there. */
  found(name: string, text: string, effect: string): void {
    this.#kept.set(name, { text, effect, onWritten: () => {} })
  }

  async remove(name: string): Promise<void> {
    this.#kept.delete(name)
    await this.#files.remove(name)
  }

  /** Writes again what was removed. */
  async look(): Promise<void> {
    for (const [name, kept] of this.#kept) {
      if (await this.#files.has(name)) continue
      // What is only refused by the disk is not there either, and is tried again all the same.
      if (await this.#write(name, kept)) this.#log.warn('state file was missing and written again', { file: name })
    }
  }

  async #write(name: string, { text, effect, onWritten }: Kept): Promise<boolean> {
    const write = async () => {
      await this.#files.write(name, typeof text === 'string' ? text : text())
      onWritten()
    }
    return await this.writes.attempt({ path: join(this.path, name), effect, write })
  }
}
