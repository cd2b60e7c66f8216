import type { OwnershipScope } from './kinds/kind.ts'
import type { DesiredObject, ObjectKind } from './objects.ts'

export type { OwnershipScope } from './kinds/kind.ts'

/** What the kernel shall hold of ours. Replaces all that was wanted before. */
export interface DesiredState {
  /** By `keyOf`. */
  readonly objects: ReadonlyMap<string, DesiredObject>
  /** The peers are known in full: what is ours and not wanted may be removed. */
  readonly complete: boolean
  /** What this state uses. To that the reconciler adds what its journal says of earlier ones. */
  readonly scope: OwnershipScope
}

/** One object that is not as wanted, and why. */
export interface Failure {
  readonly key: string
  readonly object: DesiredObject
  /** `foreign`: somebody else's object is in the way and stays untouched. `refused`: the kernel said no. `fought`: changed again and again by another program. */
  readonly cause: 'foreign' | 'refused' | 'fought'
  readonly text: string
  /** The errno name of a refusal. */
  readonly code?: string
  /** Key of the object that must be there first. */
  readonly waitsFor?: string
}

/** Why a kind cannot be read now; what was known of it counts until it can. */
export interface Unreadable {
  readonly text: string
  /** The errno name of a refusal, else empty. */
  readonly code: string
}

/** The outcome of trying every object at least once. */
export interface Settlement {
  readonly generation: number
  readonly failures: ReadonlyMap<string, Failure>
  readonly unreadable: ReadonlyMap<ObjectKind, Unreadable>
}

/** What the reconciler has counted since the start, for metrics and status. */
export interface ReconcileCounts {
  readonly driftRepaired: ReadonlyMap<ObjectKind, number>
  readonly adopted: ReadonlyMap<ObjectKind, number>
  readonly errors: ReadonlyMap<ObjectKind, number>
  readonly overruns: number
  readonly passes: number
  /** Sum of the durations of all passes, in seconds. */
  readonly passSeconds: number
}

/** What the reconciler says of itself whenever it changes. */
export interface ReconcileStatus {
  /** The newest generation of which every object has been tried; 0: none yet. */
  readonly generation: number
  readonly failures: ReadonlyMap<string, Failure>
  readonly unreadable: ReadonlyMap<ObjectKind, Unreadable>
}
