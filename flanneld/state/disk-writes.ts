import type { Clock } from '../../lib/clock.ts'
import { AlreadyRunningError, messageOf, PermissionError } from '../../lib/errors.ts'
import { Latest } from '../../lib/latest.ts'
import { isSystemError, readSystemError } from '../../lib/system-error.ts'
import type { ConditionSet } from '../status/status.ts'

/** Something that shall be on a disk. */
export interface DiskWrite {
  /** Names the write, too: a newer one to the same place takes its place. */
  readonly path: string
  /** What is so for as long as it fails; completes "... could not be written: ". */
  readonly effect: string
  /** Does it, or does it again; throws the system's error. */
  readonly write: () => Promise<void>
}

const FIRST_MS = 1_000
const MOST_MS = 30_000

/**
 * Writes that a disk may refuse (full, read-only, out of quota, broken) without anything else having to stop: a refused one
 * is a condition, is tried again until it works or something newer is to be written there, and then the condition ends.
 */
export class DiskWrites {
  /** Counts writes that worked after they had failed: what waited for them can go on. */
  readonly changes = new Latest<number>('disk writes')
  readonly #conditions: ConditionSet
  readonly #clock: Clock
  readonly #failing = new Map<string, DiskWrite>()
  readonly #failed = new Latest<number>('failed disk writes')
  readonly #isStarting: () => boolean
  #turns: Promise<unknown> = Promise.resolve()

  /** `isStarting`: what the operator must change still ends the process. */
  constructor(needs: { conditions: ConditionSet; clock: Clock; isStarting: () => boolean }) {
    this.#conditions = needs.conditions
    this.#clock = needs.clock
    this.#isStarting = needs.isStarting
  }

  /**
   * Writes now. False: the disk refused it, and it is tried again. One write at a time.
   * @throws PermissionError and AlreadyRunningError while the process starts; what is no fault of a disk at any time
   */
  async attempt(wanted: DiskWrite): Promise<boolean> {
    this.#failing.delete(wanted.path)
    return await this.#inTurn(() => this.#try(wanted, !this.#isStarting()))
  }

  /** Tries again what has failed, until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    for await (const _ of this.#failed.watch(signal)) {
      for (let wait = FIRST_MS; this.#failing.size > 0 && !signal.aborted; wait = Math.min(MOST_MS, wait * 2)) {
        await this.#clock.sleep(wait, signal).catch(() => {})
        if (!signal.aborted) await this.#tryAgain()
      }
    }
  }

  async #tryAgain(): Promise<void> {
    for (const wanted of [...this.#failing.values()]) {
      const done = await this.#inTurn(async () => {
        // Something newer was to be written there meanwhile.
        if (this.#failing.get(wanted.path) !== wanted) return false
        return await this.#try(wanted, true)
      })
      if (done) this.changes.set((this.changes.current ?? 0) + 1)
    }
  }

  async #try(wanted: DiskWrite, goesOn: boolean): Promise<boolean> {
    const code = `write-failed ${wanted.path}`
    try {
      await wanted.write()
    } catch (cause) {
      const isRefusal = isSystemError(cause) || (goesOn && endsStart(cause))
      if (!isRefusal) throw cause
      const text = `${wanted.path} could not be written: ${wanted.effect} (${isSystemError(cause) ? readSystemError(cause).message : messageOf(cause)})`
      this.#conditions.set({ code, severity: 'warning', text, remedy: remedyFor(cause) })
      this.#failing.set(wanted.path, wanted)
      this.#failed.set((this.#failed.current ?? 0) + 1)
      return false
    }
    this.#failing.delete(wanted.path)
    this.#conditions.clear(code)
    return true
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turns.then(work)
    this.#turns = result.catch(() => {})
    return result
  }
}

function endsStart(cause: unknown): boolean {
  return cause instanceof PermissionError || cause instanceof AlreadyRunningError
}

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'make room on its file system: see `df -h` and `df -i`',
  EDQUOT: "raise the quota, or remove some of this user's files",
  EROFS: 'mount its file system read-write, or name another place',
  EIO: 'its disk is broken: see `dmesg`',
  EMFILE: 'raise the limit of open files (LimitNOFILE= in the unit)',
  ENFILE: 'raise the sysctl fs.file-max',
  ESTALE: 'mount the network file system again, or name another place',
  EUCLEAN: 'its file system is damaged: run `fsck`',
  ENOTDIR: 'remove what stands where a directory of its path should be',
  EISDIR: 'remove the directory that stands in its place',
  ENOTEMPTY: 'remove the directory that stands in its place',
}

function remedyFor(cause: unknown): string {
  if (cause instanceof AlreadyRunningError) return 'stop one of the two'
  if (cause instanceof PermissionError) return 'give the daemon the right to write there; it is tried again'
  const remedy = REMEDIES[readSystemError(cause).code]
  return `${remedy ?? 'see what the reason says'}; it is tried again, at least twice a minute`
}
