import type { ReconcileStatus } from '../../kernel/desired.ts'
import { type DesiredObject, keyOf } from '../../kernel/objects.ts'
import type { Folded } from '../node/fold.ts'
import type { ProbeTarget } from './probe-rounds.ts'
import type { PlannedTarget } from './probe-targets.ts'

interface Seen {
  readonly last: Folded
  /** Of the reconciler, as which it has got that plan. */
  readonly generation: number
  readonly status: ReconcileStatus | undefined
}

/** Of the routes that probes are to go by: which the kernel has. A plan is in the kernel later, or in part never. */
export class ProbedRoutes {
  /** By way, device and key: the first generation with this route, as far as anybody has looked. */
  #since: ReadonlyMap<string, number> = new Map()
  /** By family and lease id: what the kernel said to the route. */
  #faults: ReadonlyMap<string, string> = new Map()

  /** The same targets, and whether anything may be asked of them. To be told of all of them at every look. */
  of(targets: readonly PlannedTarget[], { last, generation, status }: Seen): readonly ProbeTarget[] {
    const since = new Map<string, number>()
    const faults = new Map<string, string>()
    const rules = last.plan.own.filter(isBetweenWays)
    const mayTry = !rules.some((object) => status?.failures.has(keyOf(object)))
    const probed = targets.map(({ route, ...target }): ProbeTarget => {
      if (route === undefined) return { ...target, device: undefined, isMade: false }
      const { key, device } = route
      const name = `${target.way} ${device} ${key}`
      const first = this.#since.get(name) ?? generation
      since.set(name, first)
      const failure = status?.failures.get(key)
      if (failure !== undefined) faults.set(`${target.family} ${target.id}`, failure.text)
      const isThere = (status?.generation ?? 0) >= first && failure === undefined
      return { ...target, device, isMade: isThere && (mayTry || target.by === 'used') }
    })
    this.#since = since
    this.#faults = faults
    return probed
  }

  /** Why the kernel does not have the peer's route; undefined: it has, or nobody knows yet. */
  faultOf({ id, family }: Pick<ProbeTarget, 'id' | 'family'>): string | undefined {
    return this.#faults.get(`${family} ${id}`)
  }
}

/** Without the rules probes would go by the way that is in use, and prove nothing. */
export function isBetweenWays({ kind }: DesiredObject): boolean {
  return kind === 'probe-rule'
}
