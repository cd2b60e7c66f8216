import type { Clock } from '../../lib/clock.ts'
import { aborted, untilFirst } from '../../lib/signals.ts'
import type { ObjectKind } from '../objects.ts'

/** So long a program is waited for whatever else there is to do: nearly all of them take less. */
const PATIENCE_MS = 200

/**
 * What the kinds that run programs have under way, one thing at a time of each. A program that is slow, or hangs, must not hold up
 * the others: whoever has something else to do lets go of it, and finds it under way or done when he comes back.
 */
export class SlowPrograms {
  readonly #clock: Clock
  readonly #onFault: (cause: unknown) => void
  readonly #underWay = new Map<ObjectKind, Promise<void>>()
  #somethingElse = new AbortController()

  /** `onFault` hears of work that failed when nobody waited for it any more. */
  constructor(needs: { clock: Clock; onFault?: (cause: unknown) => void }) {
    this.#clock = needs.clock
    this.#onFault = needs.onFault ?? (() => {})
  }

  isUnderWay(kind: ObjectKind): boolean {
    return this.#underWay.has(kind)
  }

  /** There is nothing else to do from now on, until `letGo`. */
  begin(): void {
    this.#somethingElse = new AbortController()
  }

  /** There is something else to do. */
  letGo(): void {
    this.#somethingElse.abort()
  }

  /**
   * Does `work` after what is under way of that kind. False: it was not waited for, because of `letGo` or the signal; then it goes on, or
   * was not begun. Rejects as `work` does.
   */
  async run(kind: ObjectKind, work: () => Promise<void>, signal: AbortSignal): Promise<boolean> {
    const before = this.#underWay.get(kind)
    if (before !== undefined && !(await this.#isDone(before, signal))) return false
    const underWay = work().finally(() => this.#underWay.delete(kind))
    this.#underWay.set(kind, underWay)
    const done = await this.#isDone(underWay, signal)
    if (!done) underWay.catch(this.#onFault)
    return done
  }

  async #isDone(work: Promise<void>, signal: AbortSignal): Promise<boolean> {
    const decided = new AbortController()
    const tooLong = this.#clock
      .sleep(PATIENCE_MS, decided.signal)
      .then(() => untilFirst([this.#somethingElse.signal, signal, decided.signal], aborted))
    try {
      return await Promise.race([work.then(() => true), tooLong.then(() => false)])
    } finally {
      decided.abort()
    }
  }
}
