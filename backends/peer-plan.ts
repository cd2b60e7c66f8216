import { type DesiredObject, keyOf } from '../kernel/objects.ts'
import type { Family } from '../lib/address.ts'
import { InvalidLease } from '../lib/errors.ts'
import type { FamilyLease, Lease } from '../subnet/types.ts'
import type { PathState } from './backend.ts'

/** What one peer needs in the kernel in one family, or why that cannot be had. `keys`: of the objects, in their order. */
export type FamilyPlan =
  | { readonly path: PathState; readonly objects: readonly DesiredObject[]; readonly keys: readonly string[] }
  | { readonly reason: string; readonly text: string }

/** A plan for each family that the peer and the backend have; what is wrong with one leaves the other alone. */
export type PeerPlan = readonly FamilyPlan[]

export function familyPlan(path: PathState, objects: readonly DesiredObject[]): FamilyPlan {
  // A copy has no room to grow, of which an array that was filled bit by bit has more than it holds.
  return { path, objects: [...objects], keys: objects.map(keyOf) }
}

/**
 * `families`: those that the backend carries in this network. A peer may have only some of them: the others are not missed.
 * `plan` may throw InvalidLease, with `reason` for its reason unless it names one.
 */
export function planFamilies(
  lease: Lease,
  { families, reason }: { readonly families: Iterable<Family>; readonly reason: string },
  plan: (family: Family, part: FamilyLease) => FamilyPlan,
): PeerPlan {
  const carried = [...families]
  const plans = carried.flatMap((family): readonly FamilyPlan[] => {
    const part = lease.families.get(family)
    if (part === undefined) return []
    try {
      return [plan(family, part)]
    } catch (cause) {
      if (!(cause instanceof InvalidLease)) throw cause
      return [{ reason: cause.reason ?? reason, text: cause.message }]
    }
  })
  if (plans.length > 0) return plans
  const names = carried.map((family) => `IPv${family}`).join(' nor ')
  return [{ reason: 'missing-family', text: `the lease has no ${names} subnet` }]
}
