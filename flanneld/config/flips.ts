/** What is remembered of the values that the configuration has had. Hosts of a certain age write their own one at every boot. */
export interface FlipHistory {
  /** The last valid one. */
  readonly value: string
  /** When it came, on `Clock.now()`. */
  readonly since: number
  /** Values before it, with when each was last replaced. */
  readonly left: ReadonlyMap<string, number>
  /** When a value came back. */
  readonly flips: readonly number[]
  /** There were so many that no further one is followed. */
  readonly isHolding: boolean
  /** Whether the value may go into use: new ones always may. */
  readonly isFollowed: boolean
}

/** Milliseconds within which a value that comes back is a flip, and for which a value must stand until all is forgotten. */
export const FLIP_WINDOW_MS = 600_000
/** So many within that time are followed. */
export const MOST_FLIPS = 4
/** The latest are remembered, whoever writes how many. */
const MOST_VALUES = 100

export function firstValue(value: string, now: number): FlipHistory {
  return { value, since: now, left: new Map(), flips: [], isHolding: false, isFollowed: true }
}

/** With what the configuration says now: `value` tells configurations apart that are parsed to something else. Pure. */
export function observe(history: FlipHistory, value: string, now: number): FlipHistory {
  const known = afterQuiet(history, now)
  if (value === known.value) return known
  const isRecent = (at: number) => now - at < FLIP_WINDOW_MS
  const recent = [...known.left].filter(([earlier, at]) => isRecent(at) && earlier !== known.value)
  const isFlip = recent.some(([earlier]) => earlier === value)
  const left = new Map([...recent.slice(1 - MOST_VALUES), [known.value, now]])
  const flips = [...known.flips.filter(isRecent), ...(isFlip ? [now] : [])]
  const isHolding = known.isHolding || flips.length >= MOST_FLIPS
  return { value, since: now, left, flips, isHolding, isFollowed: !isFlip || !known.isHolding }
}

/** A value that has stood for so long is no part of a quarrel any more. */
export function afterQuiet(history: FlipHistory, now: number): FlipHistory {
  return now - history.since < FLIP_WINDOW_MS ? history : firstValue(history.value, history.since)
}
