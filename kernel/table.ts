import type { OwnershipScope } from './desired.ts'
import type { KernelObject, ObjectKind } from './objects.ts'

/** One change. `actual` is what the mirror holds at the key: the table refuses to touch anything else (EEXIST, not replace). */
export type Op<O extends KernelObject> =
  | { readonly verb: 'create'; readonly object: O }
  | { readonly verb: 'update'; readonly object: O; readonly actual: O }
  | { readonly verb: 'recreate'; readonly object: O; readonly actual: O }
  | { readonly verb: 'remove'; readonly object: O }

export type OpResult = { readonly ok: true } | { readonly ok: false; readonly error: OpError }

/** Why the kernel refused: errno name (`EEXIST`), its extended acknowledgement where it gave one. */
export interface OpError {
  readonly code: string
  readonly message: string
}

/**
 * All objects of one kind, read and written. Knows nothing of what is wanted nor whose an object is.
 * A real table and its fake pass the same conformance suite.
 */
export interface ObjectTable<O extends KernelObject = KernelObject> {
  readonly kind: ObjectKind
  /**
   * Everything of the kind in this network namespace, foreign objects included. Throws an OpFailure when it cannot be read.
   * Kinds too many to list (sysctl, file) read only the keys of `wanted`, and leave out what does not exist. Where a scope is
   * given, what it does not call ours may be left out, too, unless it stands where something is wanted.
   */
  dump(wanted: Iterable<O>, scope?: OwnershipScope): Promise<readonly O[]>
  /** Whether `dump` would give what it gave the last time: a kind of thousands may know without reading them. Throws as `dump`. */
  unchanged?(): Promise<boolean>
  /**
   * Calls `onChange` when something of the kind may have changed and no event of `Monitor` says so, until the signal is aborted. Of kinds
   * too many to list it watches what was wanted at the last `dump`.
   */
  watch?(onChange: () => void, signal: AbortSignal): Promise<void>
  /** One result per op, in order; a bad object never stops the rest. Never throws for one. */
  apply(ops: readonly Op<O>[]): Promise<readonly OpResult[]>
}

/** What happened in the kernel, as far as the mirror must know. */
export type KernelEvent =
  /** The kernel now holds this object (`present`) or no longer does. Where the mirror has an equal entry, nothing has changed. */
  | { readonly type: 'object'; readonly present: boolean; readonly object: KernelObject }
  /** A device came, went, changed its index, its flags or its name: what hangs on it may have vanished without an event. */
  | { readonly type: 'device'; readonly name: string }
  /** Something of these kinds changed; what, only reading shows. */
  | { readonly type: 'kinds'; readonly kinds: readonly ObjectKind[] }
  /** The queue overflowed: everything must be read again. */
  | { readonly type: 'overrun' }

export class OpFailure extends Error {
  readonly code: string

  constructor(error: OpError) {
    super(error.message)
    this.name = 'OpFailure'
    this.code = error.code
  }
}
