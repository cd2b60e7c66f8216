import type { Cidr } from '../lib/address.ts'
import type { HarmRules, HostRoute } from './surroundings.ts'
import type { Lease } from './types.ts'

/** A route of this host that lies around subnets of peers, or inside one. */
export interface Overlap {
  readonly route: HostRoute
  /** A few of them. */
  readonly subnets: readonly Cidr[]
  /** Of all of them. */
  readonly count: number
}

const MOST_NAMED = 3

/** Which accepted peers lie beside routes of this host. A lease that is written anew keeps its place, so that the few that are named stay. */
export class RouteOverlaps {
  readonly #harm: HarmRules
  /** By route, the subnets of peers. */
  readonly #subnets = new Map<HostRoute, Set<Cidr>>()

  constructor(harm: HarmRules) {
    this.#harm = harm
  }

  /** All that is accepted otherwise than before, at once: one lease may get what another one loses. Undefined: it was or is not accepted. */
  change(changes: readonly { readonly before: Lease | undefined; readonly after: Lease | undefined }[]): void {
    const come = new Set(changes.flatMap(({ after }) => subnetsOf(after)))
    for (const subnet of changes.flatMap(({ before }) => subnetsOf(before))) {
      if (!come.has(subnet)) this.#each(subnet, (subnets) => subnets.delete(subnet))
    }
    for (const subnet of come) this.#each(subnet, (subnets) => subnets.add(subnet))
  }

  list(): readonly Overlap[] {
    return [...this.#subnets].flatMap(([route, subnets]) => {
      if (subnets.size === 0) return []
      const named: Cidr[] = []
      for (const subnet of subnets) {
        if (named.length === MOST_NAMED) break
        named.push(subnet)
      }
      return [{ route, subnets: named, count: subnets.size }]
    })
  }

  #each(subnet: Cidr, work: (subnets: Set<Cidr>) => void): void {
    for (const route of this.#harm.beside(subnet)) {
      let subnets = this.#subnets.get(route)
      if (subnets === undefined) {
        subnets = new Set()
        this.#subnets.set(route, subnets)
      }
      work(subnets)
    }
  }
}

function subnetsOf(lease: Lease | undefined): readonly Cidr[] {
  return lease === undefined ? [] : Array.from(lease.families.values(), ({ subnet }) => subnet)
}
