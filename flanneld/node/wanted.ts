import type { Family } from '../../lib/address.ts'
import type { Configuration } from './configuration.ts'

/** Which ways a node shall have, and in which families. */
export interface Wanted {
  readonly ways: readonly Configuration[]
  /** As in `WayPlan`. */
  readonly instead?: Configuration | undefined
  /** Of the enabled ones those that this host can have. */
  readonly families: readonly Family[]
  /** Those of the last run: with these a node begins where not all can be had. */
  readonly enough: readonly Family[]
  /** Another object when the addresses of the host have changed. */
  readonly host: unknown
}

export const NOTHING: Wanted = { ways: [], families: [], enough: [], host: undefined }
