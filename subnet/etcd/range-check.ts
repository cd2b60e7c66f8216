import type { OpenWatch } from './client.ts'
import type { RangeState } from './range-reads.ts'

/** How far a mirror has come. */
export interface Position {
  readonly cluster: string
  /** Everything up to here was told by lists, events and answers about progress. */
  revision: bigint
  /** Of the newest change that reached the mirror, or of a read that showed nothing newer: from here a new watch goes on. */
  applied: bigint
}

/** `restored`: another history; `stale`: the watch is silent about something; `mismatch`: it says that it told all, and did not. */
export type Verdict = 'current' | 'restored' | 'stale' | 'mismatch'

export interface Mirror {
  readonly position: Position
  /** Keys held. */
  size(): number
}

interface CheckNeeds {
  readonly mirror: Mirror
  readonly watch: Pick<OpenWatch, 'requestProgress'>
  /** With `since`: also what is newer than that. @throws StoreUnavailable */
  readonly read: (since: bigint | undefined) => Promise<RangeState>
  /** Waits until it holds, asked after each answer of the watch; false if it does not in `patienceMs`. */
  readonly until: (done: () => boolean) => Promise<boolean>
}

/** Where progress is not told, how many checks go by the number of keys alone before the changes are asked for. */
const COARSE_CHECKS = 4

/**
 * Compares the mirror with the store, and asks before it doubts: a question without an answer proves nothing. A watch that says nothing of
 * its progress (etcd's grpc-proxy) is judged by what the store holds.
 */
export class RangeCheck {
  readonly #needs: CheckNeeds
  #mute = false
  #coarse = 0

  constructor(needs: CheckNeeds) {
    this.#needs = needs
  }

  /**
   * `exact`: nothing is taken for granted, as when a watch goes on after a break or a write may have arrived.
   * @throws StoreUnavailable where the store does not answer, which says nothing of the watch
   */
  async run(exact: boolean): Promise<Verdict> {
    const { mirror, watch, read, until } = this.#needs
    const { position } = mirror
    const thorough = exact || (this.#mute && this.#coarse >= COARSE_CHECKS)
    // As it was before the read: a later event may overtake the answer.
    const before = { ...position }
    let state = await read(thorough ? position.applied : undefined)
    if (isOtherHistory(before, state)) return 'restored'
    let proven = thorough
    if (!thorough && !this.#mute && state.revision > position.revision) {
      watch.requestProgress()
      if (!(await until(() => position.revision >= state.revision))) {
        this.#mute = true
        state = await read(position.applied)
        if (isOtherHistory(before, state)) return 'restored'
        proven = true
      }
    }
    if (!(await this.#delivered(state))) return this.#mute || exact ? 'stale' : 'mismatch'
    this.#coarse = proven ? 0 : this.#coarse + 1
    if (proven) advance(position, state.revision)
    return 'current'
  }

  /** What the read has shown arrives by the watch, late though it may be; given up when nothing more comes. */
  async #delivered(state: RangeState): Promise<boolean> {
    const { mirror, until } = this.#needs
    const { position } = mirror
    while (isBehind(mirror, state)) {
      const before = position.applied
      if (!(await until(() => position.applied > before || !isBehind(mirror, state)))) return false
    }
    return true
  }
}

export function isOtherHistory(position: Position, state: Pick<RangeState, 'cluster' | 'revision'>): boolean {
  return state.cluster !== position.cluster || state.revision < position.revision
}

/** Entries that stand are at the mirror or newer than it; so with none newer and as many keys, nothing was deleted either. */
export function isBehind({ position, size }: Mirror, state: RangeState): boolean {
  if (state.newest > position.applied) return true
  // Later events have changed the count since: the next check will tell.
  return position.applied <= state.revision && state.count !== size()
}

/** The mirror was proven to be the store's state at this revision. */
export function advance(position: Position, revision: bigint): void {
  if (position.applied < revision) position.applied = revision
  if (position.revision < revision) position.revision = revision
}
