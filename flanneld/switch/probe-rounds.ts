import type { Family } from '../../lib/address.ts'
import { Alarm } from '../../lib/alarm.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { ProbePort, ProbeRound } from './probe-port.ts'
import type { Verdict } from './switch.ts'

/** Whom to ask, by which way. */
export interface ProbeTarget extends ProbeRound {
  readonly id: string
  readonly family: Family
  /** Of the way that is asked for: with another one everything begins anew. */
  readonly way: string
  /** By which they go: a way with direct paths may lead through the tunnel until the peer has answered on the link. */
  readonly device: string | undefined
  /** The kernel has the route that the probes are to go by. Before that they would go by another one, and nothing is asked. */
  readonly isMade: boolean
}

interface Asked {
  readonly target: ProbeTarget
  /** Rounds in a row in which all, or not all, was answered. */
  good: number
  bad: number
  dueAt: number
  isUnderWay: boolean
  why: string | undefined
  /** How often the peer was moved to this way in vain. */
  vain: number
}

interface RoundsNeeds {
  readonly port: Pick<ProbePort, 'send'>
  readonly clock: Clock
  /** From 0 to below 1. */
  readonly random: () => number
  readonly onResult: () => void
}

/** At once; each has six packets, so this bounds how many of them are sent in a second. */
const MOST_ROUNDS = 64
const PAUSE_MS = 250
const GATHER_MS = 10
const LONGEST_PAUSE_MS = 30_000
const LONGEST_VAIN_MS = 600_000
const SPARSE_MS = 10_000
/** So at most 50 rounds a second of those that answer, and 20 of those that do not. */
const SPARSE_EACH_MS = 20
const LONGEST_EACH_MS = 50
/** Rounds in a row that prove a way; one is luck. */
const PROVEN = 2
/** And so many without an answer disprove it. One lost packet is no evidence. */
const FAILED = 3

/** Asks every peer that is to be asked, again and again, and remembers what was answered. */
export class ProbeRounds {
  readonly counts = { answered: 0, unanswered: 0 }
  readonly #needs: RoundsNeeds
  readonly #asked = new Map<string, Asked>()
  readonly #alarm: Alarm
  #underWay = 0

  constructor(needs: RoundsNeeds) {
    this.#needs = needs
    this.#alarm = new Alarm(needs)
  }

  /** These and no others from now on. */
  want(targets: readonly ProbeTarget[]): void {
    const wanted = new Set<string>()
    for (const target of targets) {
      const key = keyOf(target)
      wanted.add(key)
      const known = this.#asked.get(key)
      const isKnown = known !== undefined && isSame(known.target, target)
      if (isKnown && known.target.isMade === target.isMade) continue
      const now = this.#needs.clock.now()
      // Who has just been found out not to carry what it had promised is not asked again at once.
      const isBurnt = known?.target.by === 'used' && target.by === 'tried' && known.bad >= FAILED
      const vain = known?.target.way === target.way ? known.vain + Number(isBurnt) : 0
      const soon = now + (isBurnt ? pauseAfterVain(vain) : this.#needs.random() * Math.min(1_000, targets.length))
      const dueAt = isKnown ? Math.max(known.dueAt, soon) : soon
      const why = isBurnt || isKnown ? known.why : undefined
      this.#asked.set(key, { target, good: 0, bad: 0, dueAt, isUnderWay: false, why, vain })
    }
    for (const key of this.#asked.keys()) if (!wanted.has(key)) this.#asked.delete(key)
    this.#alarm.ring()
  }

  /** Of the peer by this way; what was asked of another one says nothing about it. */
  verdict({ id, family, way }: Pick<ProbeTarget, 'id' | 'family' | 'way'>): Verdict {
    const asked = this.#asked.get(keyOf({ id, family }))
    return asked?.target.way === way ? verdictOf(asked) : 'unproven'
  }

  /** What was not answered last; undefined: nothing was asked yet, or all was answered. */
  why(id: string, family: Family): string | undefined {
    const { why, vain = 0 } = this.#asked.get(keyOf({ id, family })) ?? {}
    return why !== undefined && vain > 0 ? `${why} (moved in vain ${vain} times)` : why
  }

  /** Until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#alarm.stop(), { once: true })
    while (!signal.aborted) {
      const now = this.#needs.clock.now()
      let next = Number.POSITIVE_INFINITY
      for (const asked of this.#asked.values()) {
        if (!asked.target.isMade || asked.isUnderWay || this.#underWay >= MOST_ROUNDS) continue
        if (asked.dueAt <= now) void this.#ask(asked, signal)
        else next = Math.min(next, asked.dueAt)
      }
      await this.#alarm.until(next)
      // Of thousands one ends at every moment, and each time all are looked at.
      await this.#needs.clock.sleep(GATHER_MS, signal).catch(() => {})
    }
  }

  async #ask(asked: Asked, signal: AbortSignal): Promise<void> {
    const { port, clock, random, onResult } = this.#needs
    asked.isUnderWay = true
    this.#underWay += 1
    // What cannot be sent is not answered. Nobody waits for this promise: it must not fail.
    const missing = await port.send(asked.target, signal).catch(messageOf)
    const before = [verdictOf(asked), asked.why]
    asked.why = missing
    asked.good = missing === undefined ? asked.good + 1 : 0
    asked.bad = missing === undefined ? 0 : asked.bad + 1
    this.counts[missing === undefined ? 'answered' : 'unanswered'] += 1
    asked.isUnderWay = false
    this.#underWay -= 1
    asked.dueAt = clock.now() + pauseAfter(asked, this.#asked.size) * (1 + random() / 4)
    this.#alarm.ring()
    // Whom nothing answers, and who answers as before, is no news.
    const isNews = before[0] !== verdictOf(asked) || before[1] !== asked.why
    if (isNews && !signal.aborted) onResult()
  }
}

function verdictOf({ target, good, bad }: Asked): Verdict {
  if (target.by === 'tried') return good >= PROVEN ? 'proven' : 'unproven'
  if (bad >= FAILED) return 'failed'
  return good > 0 ? 'confirmed' : 'unproven'
}

/** `count`: of all that are asked. Thousands that have to be asked for days must not cost what a few may. */
function pauseAfter({ target, good, bad }: Asked, count: number): number {
  const isProving = target.by === 'tried' && good < PROVEN
  if (good > 0) return isProving ? PAUSE_MS : Math.max(SPARSE_MS, SPARSE_EACH_MS * count)
  const longest = Math.max(LONGEST_PAUSE_MS, LONGEST_EACH_MS * count)
  return target.by === 'used' ? 2 * PAUSE_MS : Math.min(longest, PAUSE_MS * 2 ** Math.min(bad, 10))
}

/** Each time twice as long: packets are lost until it has gone back. */
function pauseAfterVain(times: number): number {
  return Math.min(LONGEST_VAIN_MS, LONGEST_PAUSE_MS * 2 ** (times - 1))
}

function keyOf({ id, family }: Pick<ProbeTarget, 'id' | 'family'>): string {
  return `${family} ${id}`
}

function isSame(a: ProbeTarget, b: ProbeTarget): boolean {
  return (
    a.way === b.way &&
    a.device === b.device &&
    a.by === b.by &&
    a.to === b.to &&
    a.from === b.from &&
    a.bytes === b.bytes
  )
}
