import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/log.ts'
import { holdsSecret } from '../last-known/trust.ts'
import { WAYS_FILE } from '../state/state-dir.ts'
import type { StateFiles } from '../state/state-files.ts'
import { readWays, type WaysRecord, waysText } from './record.ts'

interface WaysFileNeeds {
  readonly files: Pick<StateFiles, 'read' | 'keep' | 'remove'>
  readonly clock: Clock
  readonly log: Logger
}

/** What is on disk, and since when. */
interface Saved {
  /** Undefined: of an earlier run. */
  readonly record: WaysRecord | undefined
  readonly text: string
  readonly at: number
}

const LOST_ON_CRASH =
  'at a restart this node may not know which network its containers have, nor by which backend it is reached while that changes'
/** Who has moved is written down no oftener, unless something depends on it. */
const SAVE_MS = 1_000

/** The record of the ways in the state directory, for the next start. */
export class WaysFile {
  readonly #needs: WaysFileNeeds
  #saved: Saved | undefined

  constructor(needs: WaysFileNeeds) {
    this.#needs = needs
  }

  /** Undefined: there is none that can be used. */
  async load(): Promise<WaysRecord | undefined> {
    const { files, log } = this.#needs
    const text = await files.read(WAYS_FILE)
    const record = readWays(text, log)
    if (record !== undefined && text !== undefined) this.#saved = { record: undefined, text, at: 0 }
    return record
  }

  /** Not at once where only who has moved differs: to be called again. */
  async save(record: WaysRecord | undefined): Promise<void> {
    const saved = this.#saved
    if (record === undefined || record === saved?.record) return
    const { files, clock } = this.#needs
    const isOnlyWhoMoved = record.state.held === saved?.record?.state.held && isSameUse(record, saved.record)
    if (saved !== undefined && isOnlyWhoMoved && clock.now() - saved.at < SAVE_MS) return
    const text = waysText(record)
    this.#saved = { record, text, at: clock.now() }
    if (text === saved?.text) return
    const written = [...record.configurations.values(), ...(record.instead ? [record.instead] : [])]
    const isSecret = written.some((each) => holdsSecret(JSON.parse(each.text)))
    if (isSecret) await files.remove(WAYS_FILE)
    else await files.keep(WAYS_FILE, text, LOST_ON_CRASH)
  }
}

/** A configuration may change without its way. */
function isSameUse(one: WaysRecord, other: WaysRecord): boolean {
  const isSame = [...one.configurations].every(
    ([key, configuration]) => other.configurations.get(key) === configuration,
  )
  return isSame && one.instead === other.instead
}
