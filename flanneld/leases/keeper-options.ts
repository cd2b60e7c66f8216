import type { IpAddr } from '../../lib/address.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { AcquireHints, LeaseAttrs } from '../../subnet/types.ts'

/** What this node wants to have in the store. */
export interface LeaseWant {
  readonly attrs: LeaseAttrs
  readonly network: NetworkConfig
}

export interface LeaseKeeperOptions {
  /** Of this network: what is asked for first where no lease is ours, and what was in use since the host was booted. */
  readonly lastRun: (network: NetworkConfig) => Promise<Required<Pick<AcquireHints, 'previous' | 'sinceBoot'>>>
  /** Addresses by which this host reaches containers, asked before each try. */
  readonly occupied?: () => Promise<readonly IpAddr[]>
  /** What a new subnet must leave alone. */
  readonly surroundings?: AcquireHints['surroundings']
  readonly protectedRanges?: AcquireHints['protectedRanges']
  readonly renewMarginMs: number
  /** Wait between tries that need the operator or another node to change something. */
  readonly retryMs?: number
  /** Of two processes with one NodeID the one yields that has written over the other within this time. */
  readonly claimMs?: number
}
