import type { Logger } from '../lib/log.ts'
import type { ClaimTable } from './address-claim.ts'
import type { Lease, OwnLease } from './types.ts'

/** A store as far as claiming needs it: the current leases, and writes that compare first. */
export interface LeaseTable extends ClaimTable {
  /** Waits until everything that was written before this version is in the view. */
  passed(version: string, signal: AbortSignal): Promise<void>
  /** Writes `value` if the entry is as expected (`absent`, or at this version); what a lost race showed is in the next view. */
  write(write: LeaseWrite, signal: AbortSignal): Promise<WriteResult>
  /**
   * Deletes the entry `from` and makes that of `write`, as one: if `from` is as `write` expects it, and nothing stands at the other. A lost
   * race shows what stands at `from`.
   */
  move(from: string, write: MoveWrite, signal: AbortSignal): Promise<WriteResult>
}

export interface LeaseWrite {
  readonly id: string
  readonly value: string
  readonly expected: 'absent' | { readonly version: string }
  /** Without an expiry. */
  readonly reserved: boolean
}

export interface MoveWrite extends LeaseWrite {
  readonly expected: { readonly version: string }
}

export type WriteResult =
  | { readonly won: true; readonly own: OwnLease }
  | {
      readonly won: false
      readonly current: { readonly lease: Lease | undefined; readonly version: string } | undefined
    }

export interface ClaimingNeeds {
  readonly table: LeaseTable
  readonly log: Logger
  readonly random: () => number
  /** Of this process. */
  readonly nonce: string
  /** How long a holder may object to a claim. */
  readonly claimMs: number
}
