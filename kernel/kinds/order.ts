import { KINDS, kindOf, type ObjectKind } from './kinds.ts'

/** One phase per kind. */
export const APPLY_ORDER: readonly ObjectKind[] = KINDS.map(({ name }) => name)

/** Removals come after all phases, the other way round. */
export const REMOVE_ORDER: readonly ObjectKind[] = KINDS.flatMap(({ name, removed }) =>
  removed ? [name] : [],
).reverse()

/** Kinds whose objects, in the same table, are gone when one of this kind was made anew. */
export function emptiedBy(kind: ObjectKind): readonly ObjectKind[] {
  return (kindOf(kind).empties ?? []) as readonly ObjectKind[]
}

/** Kinds whose objects may have vanished when somebody else deleted or changed one of this kind. */
export function carriedBy(kind: ObjectKind): readonly ObjectKind[] {
  return (kindOf(kind).carries ?? []) as readonly ObjectKind[]
}

/** What must be read again when something happened to a device. */
export const KINDS_ON_DEVICES: readonly ObjectKind[] = KINDS.flatMap(({ name, device }) =>
  device === undefined ? [] : [name],
)

/** What must be read again when something happened to a device that matters to nothing that is wanted, where something on it is in the way. */
export const KINDS_ON_ANY_DEVICE: readonly ObjectKind[] = KINDS.flatMap(({ name, keyedWithoutDevice }) =>
  keyedWithoutDevice === true ? [name] : [],
)

/** Kinds whose objects tell that another program uses a device. */
export const KINDS_SHOWING_USE: readonly ObjectKind[] = KINDS.flatMap(({ name, showsOtherUser }) =>
  showsOtherUser === undefined ? [] : [name],
)

/** Kinds of which the mirror leaves out what the scope does not call ours: they are read anew when the scope is another. */
export const KINDS_OF_SCOPE: readonly ObjectKind[] = KINDS.flatMap(({ name, kept }) =>
  kept === undefined ? [] : [name],
)
