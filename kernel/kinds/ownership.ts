import type { Ownership, Wanted } from './kind.ts'
import { type KernelObject, kindOf } from './kinds.ts'

export type { Ownership } from './kind.ts'

interface Desired extends Wanted {
  readonly objects: ReadonlyMap<string, KernelObject>
}

/** Whose an object in the kernel is, given all that is wanted and what this instance may call its own. */
export function ownershipOf(actual: KernelObject, desired: Desired): Ownership {
  const kind = kindOf(actual.kind)
  return kind.ownership(actual, desired.objects.get(kind.key(actual)), desired)
}

/** Whether the mirror of the kernel holds the object. */
export function isKept(actual: KernelObject, desired: Desired): boolean {
  const kind = kindOf(actual.kind)
  return kind.kept === undefined || kind.kept(actual, desired.objects.get(kind.key(actual)), desired)
}
