import type { Clock } from '../../lib/clock.ts'
import { afterQuiet, FLIP_WINDOW_MS, type FlipHistory, firstValue, MOST_FLIPS, observe } from '../config/flips.ts'
import { differences, parsedKey } from '../config/values.ts'
import type { ConditionSet } from '../status/status.ts'
import type { Configuration } from './configuration.ts'

const MINUTES = FLIP_WINDOW_MS / 60_000

/** Keeps a configuration in use that several write against each other: the first changes back are followed and named, later ones wait. */
export class FlipGuard {
  readonly #conditions: ConditionSet
  readonly #clock: Clock
  #history: FlipHistory | undefined
  #waiting: Configuration | undefined

  constructor(needs: { readonly conditions: ConditionSet; readonly clock: Clock }) {
    this.#conditions = needs.conditions
    this.#clock = needs.clock
  }

  get waiting(): Configuration | undefined {
    return this.#waiting
  }

  /** When on `Clock.now()` to ask `due`; undefined: there is nothing to wait for. */
  get dueAt(): number | undefined {
    return this.#history?.flips.length ? this.#history.since + FLIP_WINDOW_MS : undefined
  }

  /** Whether the configuration may go into use now. */
  admits(next: Configuration, inUse: Configuration | undefined): boolean {
    const now = this.#clock.now()
    const value = parsedKey(next)
    this.#history = this.#history === undefined ? firstValue(value, now) : observe(this.#history, value, now)
    const waits = !this.#history.isFollowed && inUse !== undefined && parsedKey(inUse) !== value
    this.#waiting = waits ? next : undefined
    this.#tell(next.origin, inUse)
    return !waits
  }

  /** The document is gone, or cannot be used: what waited is not what it says any more. */
  retract(): void {
    this.#waiting = undefined
    this.#conditions.clear('config-held')
  }

  /** What has stood for long enough by now, to be used. */
  due(): Configuration | undefined {
    if (this.#history === undefined) return undefined
    const before = this.#history
    this.#history = afterQuiet(before, this.#clock.now())
    return this.#history === before ? undefined : this.#release()
  }

  /** What waits, to be used at once, by the operator's order; all is forgotten. */
  overrule(): Configuration | undefined {
    if (this.#history !== undefined) this.#history = firstValue(this.#history.value, this.#clock.now())
    return this.#release()
  }

  #release(): Configuration | undefined {
    const waited = this.#waiting
    this.#waiting = undefined
    for (const code of ['config-flips', 'config-held']) this.#conditions.clear(code)
    return waited
  }

  #tell(origin: string, inUse: Configuration | undefined): void {
    const count = this.#history?.flips.length ?? 0
    const find = `find out who writes ${origin}: an ExecStartPre= of an old unit that puts the configuration at every boot, say`
    // One is an attempt and the way back.
    if (count > 1) {
      this.#conditions.set({
        code: 'config-flips',
        severity: 'info',
        text: `the network configuration has been changed back ${count} times within ${MINUTES} minutes${count < MOST_FLIPS ? '' : '; no further time is followed'}`,
        remedy: find,
      })
    }
    if (this.#waiting === undefined || inUse === undefined) {
      this.#conditions.clear('config-held')
      return
    }
    this.#conditions.set({
      code: 'config-held',
      severity: 'warning',
      text: `the network configuration is changed back and forth; the last one stays in use until another one has stood for ${MINUTES} minutes: ${differences(inUse, this.#waiting).join('; ')}`,
      remedy: `${find}; \`flanneld switch\` uses it at once`,
    })
  }
}
