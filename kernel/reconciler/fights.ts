import type { KernelObject } from '../objects.ts'

const WINDOW_MS = 60_000
const MOST_REPAIRS = 30
const SLOW_MS = 5_000

const NOBODY: ReadonlyMap<string, KernelObject> = new Map()

interface Fight {
  readonly object: KernelObject
  /** Times of the last repairs, oldest first, at most `MOST_REPAIRS`. */
  repairs: number[]
  slowed: boolean
  /** A repair was put off. */
  waiting: boolean
}

/**
 * Another program that undoes our repairs: after 30 repairs of one object within a minute it gets one per 5 s, until a
 * minute has passed without need of any. Two daemons that undo each other at full speed would take a core each.
 */
export class Fights {
  readonly #fights = new Map<string, Fight>()

  repaired(key: string, object: KernelObject, now: number): void {
    const fight = this.#fights.get(key) ?? { object, repairs: [], slowed: false, waiting: false }
    this.#fights.set(key, fight)
    fight.repairs.push(now)
    if (fight.repairs.length > MOST_REPAIRS) fight.repairs.shift()
    const first = fight.repairs[0] ?? now
    if (fight.repairs.length === MOST_REPAIRS && now - first <= WINDOW_MS) fight.slowed = true
    fight.waiting = false
  }

  /** Whether a repair must be put off. */
  mustWait(key: string, now: number): boolean {
    const fight = this.#fights.size === 0 ? undefined : this.#fights.get(key)
    if (fight === undefined || !fight.slowed || now >= lastOf(fight) + SLOW_MS) return false
    fight.waiting = true
    return true
  }

  /** When the object may be repaired next, if it is fought over. */
  nextRepair(key: string): number {
    const fight = this.#fights.size === 0 ? undefined : this.#fights.get(key)
    if (fight === undefined || !fight.slowed) return 0
    fight.waiting = true
    return lastOf(fight) + SLOW_MS
  }

  /** Objects that are fought over, after forgetting those at peace for a minute. */
  fought(now: number): ReadonlyMap<string, KernelObject> {
    if (this.#fights.size === 0) return NOBODY
    for (const [key, fight] of this.#fights) if (now - lastOf(fight) > WINDOW_MS) this.#fights.delete(key)
    return new Map([...this.#fights].filter(([, fight]) => fight.slowed).map(([key, { object }]) => [key, object]))
  }

  /** When a repair that was put off may be made, or a fight may be over; later than `now`. */
  nextDue(now: number): number {
    let next = Number.POSITIVE_INFINITY
    for (const fight of this.#fights.values()) {
      if (!fight.slowed) continue
      // The other program may have put it right by itself: then nothing is due until the fight is over.
      if (lastOf(fight) + SLOW_MS <= now) fight.waiting = false
      next = Math.min(next, lastOf(fight) + (fight.waiting ? SLOW_MS : WINDOW_MS + 1))
    }
    return next
  }
}

function lastOf(fight: Fight): number {
  return fight.repairs.at(-1) ?? 0
}
