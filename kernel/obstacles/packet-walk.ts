/** Packets of the network that are forwarded: those that come from it, and those that go to it. */
export type Direction = 'from' | 'to'
export const DIRECTIONS: readonly Direction[] = ['from', 'to']

/** A rule as far as it holds for all packets of a direction. */
export interface WalkRule {
  /** Every packet of these directions meets it. */
  readonly all: readonly Direction[]
  /** At least some packets of these do, `all` included. */
  readonly some: readonly Direction[]
  readonly verdict: Verdict
  /** It accepts what belongs to a connection that was let through before. */
  readonly answers: boolean
  /** Every packet of these directions may meet it: its condition is not known, as that of a set. None where nothing is said. */
  readonly may?: readonly Direction[]
}

/** `nothing`: the packet goes on with the next rule. */
export type Verdict = 'accept' | 'drop' | 'return' | 'nothing' | Way
interface Way {
  readonly to: string
  /** Whether what that chain does not decide comes back behind the rule. */
  readonly comesBack: boolean
}

/** The rule that drops, by its number in its chain from 1 on; undefined: the policy of the chain that packets enter first. */
export type Drop = { readonly chain: string; readonly rule: number } | undefined

/** As deep as the kernel lets chains call each other. */
const DEEPEST = 16
/** Rules looked at; chains that branch at every step are not followed to their ends. */
const MOST_RULES = 20_000

/**
 * Leads the packets of a network through chains, and says where the first ones are dropped; undefined: all pass. Rules with
 * conditions that are not known of all packets (ports, devices, marks) are passed by: who is accepted there may be so, who is dropped as well.
 */
export function dropOf(
  entry: string,
  policy: 'accept' | 'drop',
  chains: (name: string) => readonly WalkRule[] | undefined,
): { readonly drop: Drop } | undefined {
  const walk = new Walk(chains)
  const left = walk.through(entry, new Set(DIRECTIONS), true, 0)
  const drops = new Map(walk.drops)
  for (const direction of left) {
    if (policy === 'drop' && !drops.has(direction) && !walk.maybe.has(direction)) drops.set(direction, undefined)
  }
  // Answers pass, and nothing else needs to: connections are opened from within.
  if (walk.answers && walk.accepted.has('from') && !walk.drops.has('from')) drops.delete('to')
  const first = DIRECTIONS.find((direction) => drops.has(direction))
  return first === undefined ? undefined : { drop: drops.get(first) }
}

class Walk {
  readonly accepted = new Set<Direction>()
  /** An earlier rule may have accepted them: neither are they let through for sure, nor dropped. */
  readonly maybe = new Set<Direction>()
  readonly drops = new Map<Direction, Drop>()
  answers = false
  readonly #chains: (name: string) => readonly WalkRule[] | undefined
  #looked = 0

  constructor(chains: (name: string) => readonly WalkRule[] | undefined) {
    this.#chains = chains
  }

  /** The directions that nothing here decides about. `whole`: all their packets are here, not only some. */
  through(name: string, entering: ReadonlySet<Direction>, whole: boolean, depth: number): ReadonlySet<Direction> {
    const here = new Set(entering)
    const back = new Set<Direction>()
    if (depth > DEEPEST) return here
    for (const [index, rule] of (this.#chains(name) ?? []).entries()) {
      if (here.size === 0) break
      this.#looked += 1
      // Nothing is said rather than something wrong.
      if (this.#looked > MOST_RULES) return new Set()
      const { verdict } = rule
      const all = rule.all.filter((direction) => here.has(direction))
      const some = rule.some.filter((direction) => here.has(direction))
      this.answers ||= rule.answers
      if (verdict === 'accept')
        for (const direction of rule.may ?? []) if (here.has(direction)) this.maybe.add(direction)
      if (verdict === 'nothing' || some.length === 0) continue
      if (verdict === 'drop') {
        for (const direction of some) {
          if (!this.drops.has(direction) && !this.maybe.has(direction))
            this.drops.set(direction, { chain: name, rule: index + 1 })
          here.delete(direction)
        }
      } else if (verdict === 'accept' || verdict === 'return') {
        for (const direction of all) {
          if (verdict === 'return') back.add(direction)
          else if (whole) this.accepted.add(direction)
          here.delete(direction)
        }
      } else {
        // Of some directions only a part goes that way: the rest is still here.
        const part = some.filter((direction) => !all.includes(direction))
        if (part.length > 0) this.through(verdict.to, new Set(part), false, depth + 1)
        if (all.length === 0) continue
        const left = this.through(verdict.to, new Set(all), whole, depth + 1)
        for (const direction of all) {
          if (left.has(direction) && verdict.comesBack) continue
          if (left.has(direction)) back.add(direction)
          here.delete(direction)
        }
      }
    }
    return new Set([...here, ...back])
  }
}
