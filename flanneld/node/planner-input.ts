import type { HostFacts } from '../../backends/backend.ts'
import type { Way } from '../../backends/way.ts'
import type { OwnershipScope } from '../../kernel/desired.ts'
import type { Family, IpAddr } from '../../lib/address.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { Lease } from '../../subnet/types.ts'
import type { CniNetwork } from '../cni/conflist.ts'
import type { GuardOptions } from './guard-rules.ts'
import type { TrafficOptions } from './traffic-rules.ts'

/** While the node changes from one way to another. */
export interface PlannedChange {
  /** Where it goes. */
  readonly target: Way
  /** Nobody has been told of it yet: what it lacks takes nothing away from the node. */
  readonly isTold: boolean
}

/** Of one peer; another node that has got its subnet is not reached by them yet. */
export interface CurrentWays {
  readonly node: string
  /** Undefined: by one that is not prepared yet. */
  readonly ways: ReadonlyMap<Family, Way | undefined>
}

/** Addresses of the overlay that sockets of this host have, and no device of a way. */
export interface KeptAddresses {
  /** ADDRESS/LENGTH: on the loopback device by this instance, as its journal says. */
  readonly ours: ReadonlySet<string>
  /** That no socket has. */
  readonly unused: ReadonlySet<IpAddr>
}

/** The whole truth of one moment. What has not changed since the last one is the same object, or it is planned anew for nothing. */
export interface PlannerInput {
  readonly network: NetworkConfig
  /** At least one, the preferred one first. */
  readonly ways: readonly Way[]
  /** By which of the ways peers are reached now, by lease id; none where nothing is said. */
  readonly current?: ReadonlyMap<string, CurrentWays>
  readonly change?: PlannedChange | undefined
  readonly own: Lease
  /** Absent: none is kept and none is known. */
  readonly kept?: KeptAddresses
  /** Accepted peers only, by id. No two of them have one address. */
  readonly peers: ReadonlyMap<string, Lease>
  readonly facts: HostFacts
  /** What the ways use; what is left of earlier ones the reconciler's journal knows. */
  readonly scope: OwnershipScope
  /** Whether the peers are known in full: only then may anything be removed. */
  readonly complete: boolean
  /** This node is planned by itself, and where its peers are counts as not known. */
  readonly isAlone?: boolean
  readonly options: {
    readonly subnetFile: string
    readonly ipMasq: boolean
    readonly blackholeRoute: boolean
    /** Of the lease store's endpoints; a route of ours must not cover one. */
    readonly storeAddresses?: readonly IpAddr[]
    /** Undefined: no rules. */
    readonly traffic?: TrafficOptions
    /** Undefined: no ingress guard. */
    readonly guard?: GuardOptions | undefined
    /** Undefined: no conflist is written. */
    readonly cni?: CniNetwork | undefined
  }
}
