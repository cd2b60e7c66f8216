import type { Family, IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Source } from '../../lib/latest.ts'
import type { Logger } from '../../lib/log.ts'
import type { ConfigText, LeaseStore, StoreHealth } from '../../subnet/types.ts'
import type { StoreIdentity } from '../last-known/record.ts'
import type { NodeNetwork } from '../node/network-report.ts'
import type { Environment } from '../options/options.ts'
import type { ConditionSet } from '../status/status.ts'

/** Where configuration and leases come from. */
export interface LeaseSource {
  /** `refresh`: reads it again now. */
  readonly configSource: Source<ConfigText> & { refresh(): void }
  readonly storeHealth: Source<StoreHealth>
  readonly store: LeaseStore
  /** Gives up the connection: the next use of it opens another. */
  readonly reconnectStore: (why: string) => Promise<void>
  readonly identity: StoreIdentity
  /** Of the only lease that can be this node's; absent: not known before the store answers. */
  readonly leaseId?: string
  /** Of the first Service of the cluster, as a pod is told; absent: not known. */
  readonly serviceAddress?: IpAddr
  /** Addresses that no peer's subnet may take away. */
  readonly endpoints: readonly string[]
  /** Public addresses of this host that an operator has put into the store, once its leases are known; absent: there are none. */
  readonly givenAddresses?: () => ReadonlyMap<Family, IpAddr>
  /** Absent where nobody asks for it. */
  readonly nodeNetwork?: NodeNetwork
}

export interface SourceNeeds {
  readonly clock: Clock
  readonly log: Logger
  readonly conditions: ConditionSet
  readonly random: () => number
  readonly env: Environment
}
