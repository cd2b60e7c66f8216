import { createHash } from 'node:crypto'
import { type JournalEntries, NO_ENTRIES } from '../../kernel/reconciler/journal.ts'
import type { Source } from '../../lib/latest.ts'
import { type Logger, silentLogger } from '../../lib/log.ts'
import type { DiskWrites } from './disk-writes.ts'
import { readJournal } from './journal-files.ts'
import { PrivateFiles } from './private-files.ts'
import { type FilePort, StateFiles } from './state-files.ts'
import { StateJournal } from './state-journal.ts'

const NODE_ID = 'node-id'
/** By which ways the node sends and receives; `flanneld/switch/record.ts` knows what is in it. */
export const WAYS_FILE = 'ways.json'
const WITHOUT_NODE_ID =
  'the identity of this node ends when the host is booted anew, and the start after that claims its subnet anew, as a new host with its address does'

/** What this instance must know again after a restart: who it is, and what in the kernel is its own. */
export class StateDir {
  readonly files: StateFiles
  readonly journal: StateJournal
  /** Tells when something is on disk that could not be written before. */
  readonly changes: Source<number>
  readonly #log: Logger
  readonly #randomBytes: (count: number) => Uint8Array
  readonly #bootMark: () => Promise<string | undefined>

  private constructor(needs: StateDirNeeds, files: StateFiles, journal: StateJournal) {
    this.files = files
    this.journal = journal
    this.changes = needs.writes.changes
    this.#log = needs.log
    this.#randomBytes = needs.randomBytes
    this.#bootMark = needs.bootMark ?? (async () => undefined)
  }

  /** @throws PermissionError when the directory or a file in it is not ours alone */
  static async open(needs: StateDirNeeds, path: string): Promise<StateDir> {
    const openFiles = needs.openFiles ?? PrivateFiles.open
    const files = new StateFiles({ ...needs, files: await openFiles(path, needs.uid) })
    return new StateDir(needs, files, await StateJournal.open({ files, log: needs.log }))
  }

  /**
   * 128 random bits as 32 hexadecimal digits, made at the first start. Not machine-id: cloned machines share that. Where they cannot be
   * written, the identity follows from the boot of the host, so that a restart finds the lease again.
   */
  async nodeId(): Promise<string> {
    const text = await this.files.read(NODE_ID)
    if (text !== undefined && /^[0-9a-f]{32}\n?$/.test(text)) {
      this.files.found(NODE_ID, text, WITHOUT_NODE_ID)
      return text.trim()
    }
    if (text !== undefined) {
      this.#log.warn('node identity was damaged and made anew', { file: `${this.files.path}/${NODE_ID}` })
    }
    const keep = (id: string) => this.files.keep(NODE_ID, `${id}\n`, WITHOUT_NODE_ID)
    const fresh = Buffer.from(this.#randomBytes(16)).toString('hex')
    if (await keep(fresh)) return fresh
    const mark = await this.#bootMark()
    if (mark === undefined) return fresh
    const id = idOfBoot(mark, this.files.path)
    await keep(id)
    return id
  }
}

/** What a start would find on record, read without writing anything; undefined when there was no start yet. */
export interface PeekedState {
  readonly nodeId: string
  readonly entries: JournalEntries
  /** Text of the file that says by which ways the node sends and receives; absent: there is none. */
  readonly ways?: string
}

/** Before the first start. */
export const NOTHING_ON_RECORD: PeekedState = { nodeId: '', entries: NO_ENTRIES }

function idOfBoot(mark: string, path: string): string {
  return createHash('sha256')
    .update(JSON.stringify([mark, path]))
    .digest('hex')
    .slice(0, 32)
}

/**
 * `mark`: that of the boot, from which the identity follows where a start has left none on disk.
 * @throws PermissionError
 */
export async function peekState(path: string, uid: number, mark?: string): Promise<PeekedState | undefined> {
  const files = await PrivateFiles.peek(path, uid)
  if (files === undefined) return undefined
  const nodeId = (await files.read(NODE_ID))?.trim() ?? (mark === undefined ? '' : idOfBoot(mark, path))
  const entries = await readJournal({ read: (name) => files.read(name), log: silentLogger, path })
  const ways = await files.read(WAYS_FILE)
  return { nodeId, entries, ...(ways === undefined ? {} : { ways }) }
}

export interface StateDirNeeds {
  readonly log: Logger
  readonly writes: DiskWrites
  /** Cryptographically strong. */
  readonly randomBytes: (count: number) => Uint8Array
  /** Of this process. */
  readonly uid: number
  /** What this host has from boot to boot, and no other one at the same time; undefined, or absent: not known. */
  readonly bootMark?: () => Promise<string | undefined>
  /** Absent: the directory is on the disk of this host. */
  readonly openFiles?: (path: string, uid: number) => Promise<FilePort>
}
