/** Why a watch ended or could not be had; for a list, why it is read. */
export type Cause =
  | 'start'
  | 'unreachable'
  | 'broken'
  | 'canceled'
  | 'compacted'
  | 'restored'
  | 'stale'
  | 'mismatch'
  | 'asked'
  | 'stopping'
/** After these a new watch can go on where the last one ended; after all others something was missed for certain. */
export const resumable: ReadonlySet<Cause> = new Set(['unreachable', 'broken', 'canceled'])
