import { messageOf, printable } from '../../lib/errors.ts'
import type { Source } from '../../lib/latest.ts'
import { type Logger, silentLogger } from '../../lib/log.ts'
import { BorrowedSysctls, readBorrowed } from './borrowed-sysctls.ts'
import type { DiskWrites } from './disk-writes.ts'
import { type Footprint, footprintText, isSameFootprint, NO_FOOTPRINT, parseFootprint, withMore } from './footprint.ts'
import { PrivateFiles } from './private-files.ts'
import { type FilePort, StateFiles } from './state-files.ts'

const NODE_ID = 'node-id'
const FOOTPRINT = 'footprint.json'
const WITHOUT_NODE_ID =
  'the identity of this node ends with this process, and the next start claims its subnet anew, as a new host with its address does'
const WITHOUT_FOOTPRINT = 'what an earlier configuration has left in the kernel may not be found after a restart'

/** What this instance must know again after a restart: who it is, and which networks and devices may still be in the kernel. */
export class StateDir {
  readonly files: StateFiles
  readonly sysctls: BorrowedSysctls
  /** Tells when something is on disk that could not be written before. */
  readonly changes: Source<number>
  readonly #log: Logger
  readonly #randomBytes: (count: number) => Uint8Array
  #footprint: Footprint = NO_FOOTPRINT

  private constructor(needs: StateDirNeeds, files: StateFiles, sysctls: BorrowedSysctls) {
    this.files = files
    this.sysctls = sysctls
    this.changes = needs.writes.changes
    this.#log = needs.log
    this.#randomBytes = needs.randomBytes
  }

  /** @throws PermissionError when the directory or a file in it is not ours alone */
  static async open(needs: StateDirNeeds, path: string): Promise<StateDir> {
    const openFiles = needs.openFiles ?? PrivateFiles.open
    const files = new StateFiles({ ...needs, files: await openFiles(path, needs.uid) })
    const state = new StateDir(needs, files, await BorrowedSysctls.open({ files, log: needs.log }))
    state.#footprint = (await state.#readFootprint()) ?? state.#footprint
    return state
  }

  /**
   * 128 random bits as 32 hexadecimal digits, made at the first start. Not machine-id: cloned machines share that. One that
   * cannot be written serves as long as the process lives.
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
    const fresh = Buffer.from(this.#randomBytes(16)).toString('hex')
    await this.files.keep(NODE_ID, `${fresh}\n`, WITHOUT_NODE_ID)
    return fresh
  }

  /** Everything this instance may call its own in the kernel. */
  get footprint(): Footprint {
    return this.#footprint
  }

  /**
   * Adds to the footprint. Await it before the first of these is made, else a crash in between leaves an orphan; that the
   * disk refuses it is no reason not to make them.
   */
  async record(more: Footprint): Promise<void> {
    await this.become(withMore(this.#footprint, more))
  }

  /** From now on this is the whole footprint; what is not in it is nobody's, or another's. */
  async become(footprint: Footprint): Promise<void> {
    if (isSameFootprint(footprint, this.#footprint)) return
    this.#footprint = footprint
    await this.files.keep(FOOTPRINT, footprintText(footprint), WITHOUT_FOOTPRINT)
  }

  /** After a clean-up: nothing of ours is left in the kernel. */
  async forget(): Promise<void> {
    this.#footprint = NO_FOOTPRINT
    await this.files.remove(FOOTPRINT)
  }

  async #readFootprint(): Promise<Footprint | undefined> {
    const text = await this.files.read(FOOTPRINT)
    if (text === undefined) return undefined
    try {
      const footprint = parseFootprint(text, (device) =>
        this.#log.warn('device on record can be none of any kernel, not heeded any more', {
          device: printable(device),
        }),
      )
      this.files.found(FOOTPRINT, text, WITHOUT_FOOTPRINT)
      return footprint
    } catch (cause) {
      this.#log.warn('record of used networks was damaged and begun anew', {
        file: `${this.files.path}/${FOOTPRINT}`,
        cause: messageOf(cause),
        effect: 'leftovers of earlier configurations are not found any more',
      })
      return undefined
    }
  }
}

/** What a start would find on record, read without writing anything; undefined when there was no start yet. */
export interface PeekedState {
  readonly nodeId: string
  readonly footprint: Footprint
  readonly borrowed: ReadonlyMap<string, string>
}

/** @throws PermissionError */
export async function peekState(path: string, uid: number): Promise<PeekedState | undefined> {
  const files = await PrivateFiles.peek(path, uid)
  if (files === undefined) return undefined
  const nodeId = (await files.read(NODE_ID))?.trim() ?? ''
  const text = await files.read(FOOTPRINT)
  const footprint = text === undefined ? NO_FOOTPRINT : parseFootprint(text)
  return { nodeId, footprint, borrowed: await readBorrowed({ files, log: silentLogger }) }
}

export interface StateDirNeeds {
  readonly log: Logger
  readonly writes: DiskWrites
  /** Cryptographically strong. */
  readonly randomBytes: (count: number) => Uint8Array
  /** Of this process. */
  readonly uid: number
  /** Absent: the directory is on the disk of this host. */
  readonly openFiles?: (path: string, uid: number) => Promise<FilePort>
}
