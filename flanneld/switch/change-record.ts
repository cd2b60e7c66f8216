import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/log.ts'
import type { ChangeCounts } from './change-status.ts'
import type { SwitchState } from './switch.ts'

interface ChangeRecordNeeds {
  readonly clock: Clock
  readonly log: Logger
  readonly nameOf: (key: string) => string
  /** What the last probes to a peer lacked. */
  readonly why: (id: string, family: 4 | 6) => string | undefined
}

/** When the change under way began, and what the changes since the start of the process have come to. */
export class ChangeRecord {
  readonly #needs: ChangeRecordNeeds
  readonly counts: Omit<{ -readonly [K in keyof ChangeCounts]: number }, 'probesAnswered' | 'probesUnanswered'> = {
    finished: 0,
    moves: 0,
    fallBacks: 0,
    seconds: 0,
  }
  #began: { readonly at: number; readonly since: string } | undefined

  constructor(needs: ChangeRecordNeeds) {
    this.#needs = needs
  }

  /** RFC 3339; undefined: there is none under way. */
  get since(): string | undefined {
    return this.#began?.since
  }

  get ms(): number {
    return this.#began === undefined ? 0 : this.#needs.clock.now() - this.#began.at
  }

  begin(): void {
    const { clock } = this.#needs
    this.#began ??= { at: clock.now(), since: new Date(clock.wall()).toISOString() }
  }

  end(): void {
    this.#began = undefined
  }

  /** From one state to the next. */
  take(before: SwitchState | undefined, next: SwitchState): void {
    if (next.held.length > 1) this.#countMoves(before, next)
    else if (this.#began !== undefined) this.#countEnd(next)
  }

  #countEnd({ target }: SwitchState): void {
    const { log, nameOf } = this.#needs
    const seconds = this.ms / 1000
    log.info('change of the backend finished', { to: nameOf(target), seconds: Number(seconds.toFixed(1)) })
    this.counts.finished += 1
    this.counts.seconds += seconds
  }

  #countMoves(before: SwitchState | undefined, { pins, target }: SwitchState): void {
    const { log, nameOf, why } = this.#needs
    for (const [id, { ways }] of pins) {
      for (const [family, key] of ways) {
        if (before?.pins.get(id)?.ways.get(family) === key) continue
        const isBack = key !== target
        this.counts[isBack ? 'fallBacks' : 'moves'] += 1
        const fields = { peer: id, family, to: nameOf(key), ...(isBack ? { why: why(id, family) } : {}) }
        if (isBack) log.warn('peer moved back', fields)
        else log.debug('peer moved', fields)
      }
    }
  }
}
