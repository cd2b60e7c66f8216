import type { Lease } from '../subnet/types.ts'
import type { PeerPlan } from './peer-plan.ts'

/**
 * Plans of peers, made once. A node plans anew whenever one of thousands of leases changes; for all others this gives back the
 * very objects of the last time, which nobody needs to compare again. No more than a cache: dropping it changes no plan.
 */
export class PeerMemo {
  #basis: readonly unknown[] = []
  #plans = new WeakMap<Lease, { readonly variant: string; readonly plan: PeerPlan }>()

  /** `basis`: everything but the peer that a plan is made from; values are compared by identity. */
  begin(basis: readonly unknown[]): void {
    if (basis.length === this.#basis.length && basis.every((value, index) => value === this.#basis[index])) return
    this.#basis = basis
    this.#plans = new WeakMap()
  }

  /** `variant`: what else the peer's plan depends on, as text. */
  of(lease: Lease, variant: string, make: () => PeerPlan): PeerPlan {
    const known = this.#plans.get(lease)
    if (known?.variant === variant) return known.plan
    const plan = make()
    this.#plans.set(lease, { variant, plan })
    return plan
  }
}
