import type { JournalEntry } from '../../kernel/kinds/kind.ts'
import {
  type Journal,
  type JournalEntries,
  keyOfEntry,
  NO_ENTRIES,
  scopeOf,
  withEntries,
  withoutEntries,
} from '../../kernel/reconciler/journal.ts'
import type { Logger } from '../../lib/log.ts'
import { JOURNAL_FILES, type JournalFile, readJournal } from './journal-files.ts'
import type { StateFiles } from './state-files.ts'

interface Needs {
  readonly files: StateFiles
  readonly log: Logger
}

/** The journal in the state directory. */
export class StateJournal implements Journal {
  readonly #needs: Needs
  #entries: JournalEntries
  /** What each file says on the disk; it may refuse what it shall say now. */
  readonly #written = new Map<JournalFile, JournalEntries>()

  private constructor(needs: Needs, entries: JournalEntries) {
    this.#needs = needs
    this.#entries = entries
    for (const file of JOURNAL_FILES) this.#written.set(file, entries)
  }

  /** @throws PermissionError for a file that is not ours alone */
  static async open(needs: Needs): Promise<StateJournal> {
    const { files, log } = needs
    const source = { read: (name: string) => files.read(name), log, path: files.path }
    const entries = await readJournal(source, ({ name, effect }, text) => files.found(name, text, effect))
    return new StateJournal(needs, entries)
  }

  get entries(): JournalEntries {
    return this.#entries
  }

  async record(entries: Iterable<JournalEntry>): Promise<boolean> {
    const missing = [...entries].filter((entry) => !this.#isWritten(keyOfEntry(entry)))
    if (missing.length === 0) return true
    // A value that could not be written yet has changed nothing: what the host has now is its own.
    const outdated = missing.filter((entry) => isOtherValue(entry, this.#entries.get(keyOfEntry(entry))))
    await this.#become(withEntries(withoutEntries(this.#entries, outdated), missing))
    return missing.every((entry) => this.#isWritten(keyOfEntry(entry)))
  }

  async forget(entries: Iterable<JournalEntry>, why: string): Promise<void> {
    const next = withoutEntries(this.#entries, entries)
    if (next === this.#entries) return
    const { devices, networks } = scopeOf(new Map([...this.#entries].filter(([key]) => !next.has(key))))
    if (devices.size + networks.length > 0) {
      const fields = { devices: [...devices].join(' '), networks: networks.map(({ network }) => network).join(' ') }
      this.#needs.log.info('given up what an earlier configuration used', { ...fields, why })
    }
    await this.#become(next)
  }

  /** After a clean-up: nothing of ours is left on this host. */
  async clear(): Promise<void> {
    this.#entries = NO_ENTRIES
    this.#written.clear()
    for (const { name } of JOURNAL_FILES) await this.#needs.files.remove(name)
  }

  async #become(next: JournalEntries): Promise<void> {
    const before = this.#entries
    this.#entries = next
    const others = JOURNAL_FILES.filter((file) => file.text(next) !== file.text(before))
    // All at once: nothing newer may come between two of them.
    await Promise.all(
      others.map((file) => {
        const written = () => void this.#written.set(file, next)
        return this.#needs.files.keep(file.name, file.text(next), file.effect, written)
      }),
    )
  }

  #isWritten(key: string): boolean {
    const entry = this.#entries.get(key)
    const file = JOURNAL_FILES.find((each) => entry !== undefined && each.holds(entry))
    const written = file && this.#written.get(file)?.get(key)
    return entry !== undefined && written !== undefined && !isOtherValue(entry, written)
  }
}

function isOtherValue(entry: JournalEntry, other: JournalEntry | undefined): boolean {
  return entry.kind === 'sysctl' && other?.kind === 'sysctl' && entry.value !== other.value
}
