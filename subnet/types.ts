import type { Cidr, Family, IpAddr } from '../lib/address.ts'
import type { Source } from '../lib/latest.ts'
import type { NetworkConfig, SubnetOrigin } from './network-config.ts'
import type { Surroundings } from './surroundings.ts'

/** How a node can be reached: everything a sender must know. `backend` is flannel's BackendType; empty for udp and alloc. */
export interface PeerPath {
  readonly backend: string
  /** BackendData (key 4) and BackendV6Data (key 6), as parsed JSON; absent where flannel leaves the field out. */
  readonly data: ReadonlyMap<Family, unknown>
  /** UDP port at which the node receives, where it is not the one of flannel's configuration by default. flannel's leases do not say it. */
  readonly port?: number | undefined
  /** The node takes what comes to it without a tunnel, from hosts on its link, as well. flannel's leases do not say it. */
  readonly direct?: true | undefined
}

export interface FamilyLease {
  readonly subnet: Cidr
  readonly publicIp: IpAddr
  /** Where the node really sends from and receives at, when it does not own its public address. */
  readonly tunnelIp?: IpAddr
}

/** Which process wants to have a lease (it names another NodeID), or has taken it over (it names the lease's own). */
export interface LeaseClaim {
  readonly node: string
  /** Made anew by each process. */
  readonly nonce: string
}

/** One node's part of the network. */
export interface Lease {
  /** Name in the store: the last part of the etcd key, or the Kubernetes node name. */
  readonly id: string
  /** NodeID of the holder; empty where the holder (flannel) has none. */
  readonly node: string
  readonly primary: PeerPath
  /** Every way in which the node can receive now; empty while that is just `primary`. */
  readonly accepts: readonly PeerPath[]
  /** The ways that the node uses towards somebody, while it says so: during a change of its backend. Absent: by that of its own type. */
  readonly sends?: readonly PeerPath[] | undefined
  readonly families: ReadonlyMap<Family, FamilyLease>
  /** Which of two overlapping leases is older: compared as text of equal length, smaller is older. */
  readonly age: string
  /** The same of its key, where that is younger: with other families a lease gets another one. */
  readonly keyAge?: string
  /** A key without an expiry whose holder may not have come yet (flannel's "reservation"). */
  readonly reserved: boolean
  readonly claim?: LeaseClaim | undefined
  /** NodeIDs whose claims the holder has refused; the newest last. */
  readonly refused?: readonly string[] | undefined
}

/** What could not be read: shown and counted, never an error for the others. */
export interface RejectedLease {
  readonly id: string
  /** The one of several that the lease loses by it; absent: all of it. */
  readonly family?: Family
  /** One short stable word for the metric, as in `host-range`. */
  readonly reason: string
  /** A sentence for the log and the status. */
  readonly text: string
}

/** The whole truth of one moment, never a delta. */
export interface LeaseSnapshot {
  /** Of the store; opaque, only for display and for the question "did it go back". */
  readonly revision: string
  readonly leases: ReadonlyMap<string, Lease>
  /** Entries that could not be decoded. */
  readonly unreadable: readonly RejectedLease[]
  /** What was known before this start, of a store that has not answered yet: some may be gone, others missing. */
  readonly recorded?: boolean
}

/** What a node wants to say about itself; the subnet is found by the store. */
export interface LeaseAttrs {
  readonly node: string
  readonly primary: PeerPath
  readonly accepts: readonly PeerPath[]
  /** Absent: as that of the only way. */
  readonly sends?: readonly PeerPath[] | undefined
  /** Per enabled family. */
  readonly publicIps: ReadonlyMap<Family, IpAddr>
  readonly tunnelIps: ReadonlyMap<Family, IpAddr>
}

export interface OwnLease {
  readonly lease: Lease
  /** Milliseconds of the wall clock (UTC); undefined for a reservation and in Kubernetes. */
  readonly expiresAt: number | undefined
  /** Token for compare-and-swap (mod_revision in etcd). */
  readonly version: string
  /** Who had written over this node's entry before it was written now; absent: nobody. */
  readonly over?: Rival
  /** Why it has not the families that are wanted; absent: it has them. */
  readonly lacks?: LeaseWait
}

/** Another writer of an entry of ours: a flannel with our public address (no NodeID), or a process elsewhere with our NodeID. */
export type Rival = 'flannel' | 'same-node'

/** Why the own lease cannot be held: a decision for the operator, never solved by overwriting. */
export type LeaseConflict =
  /** Another NodeID, which lives, has our public address: two hosts with one address. */
  | { readonly type: 'public-address-taken'; readonly id: string; readonly node: string; readonly publicIp: IpAddr }
  /** A flannel elsewhere with our public address keeps writing over our lease. */
  | { readonly type: 'public-address-shared'; readonly id: string; readonly publicIp: IpAddr }
  /** Our subnet now belongs to somebody else; `publicIp`: who has our public address, too. */
  | { readonly type: 'subnet-taken'; readonly id: string; readonly holder: string; readonly publicIp?: IpAddr }
  /** A process elsewhere writes our lease under our NodeID: the state directory was copied. */
  | { readonly type: 'identity-shared'; readonly id: string; readonly publicIp: IpAddr }
  /** No free subnet is left between min and max. */
  | { readonly type: 'pool-exhausted'; readonly text: string }

export class LeaseConflictError extends Error {
  override readonly name = 'LeaseConflictError'
  readonly conflict: LeaseConflict

  constructor(message: string, conflict: LeaseConflict) {
    super(message)
    this.conflict = conflict
  }
}

/** State of the connection to the store, for conditions and metrics. */
export interface StoreHealth {
  readonly up: boolean
  /** Wall clock, ms, of the last proof that the view is current. */
  readonly lastSuccess: number | undefined
  /** Why it is down, secrets left out. */
  readonly error?: string
  readonly endpoint?: string
  /** Id of the etcd cluster that the leases were read from; absent before that, and where there is none. */
  readonly cluster?: string
  /** What an operator can do while it is down; absent: as for etcd. */
  readonly remedy?: string
  /** How often the whole list was read again, by cause. */
  readonly resyncs: ReadonlyMap<string, number>
}

/**
 * Who holds which subnet. A store keeps its own mirror while `run` is running; `watch` yields its snapshots.
 * Every write compares before it puts.
 */
export interface LeaseStore extends Source<LeaseSnapshot> {
  readonly health: Source<StoreHealth>
  /** The own lease as it stands in the store, or none, known before all of them are; absent: it is known with the others. */
  readonly ownFirst?: Source<LeaseSnapshot> | undefined
  /**
   * Keeps the mirror current until the signal is aborted. An unreachable store is waited for, never an error. `ownFirst`: somebody wants
   * that source; else nothing is read for it.
   */
  run(signal: AbortSignal, wanted?: { readonly ownFirst: boolean }): Promise<void>
  /**
   * Finds (by NodeID, then public address, then `previous`, then a free one) and writes the own lease. One of another NodeID with our
   * public address is claimed first, and got only if its holder does not object.
   * Waits for the store as long as the signal lasts; throws LeaseConflictError where waiting does not help.
   */
  acquire(want: LeaseAttrs, hints: AcquireHints, signal: AbortSignal): Promise<OwnLease>
  /**
   * Writes `want` over the own lease (renewal, changed attributes, an answer to a claim) if it is still ours; else LeaseConflictError.
   * Refuses every claim that it finds.
   */
  publish(own: OwnLease, want: LeaseAttrs, hints: PublishHints, signal: AbortSignal): Promise<OwnLease>
  /** What stands there now, as far as is known. `lease` is undefined where it cannot be read. */
  entry(id: string): { readonly lease: Lease | undefined; readonly version: string } | undefined
}

export interface PublishHints {
  /** In use now: what a lease must fit that is had, or made again. */
  readonly network: NetworkConfig
  /** Whose writes over our entry are not to be undone (once more): such a one is a conflict. */
  readonly yieldTo?: ReadonlySet<Rival>
  /** Hears what is waited for; undefined: nothing more. */
  readonly waiting?: (wait: LeaseWait | undefined) => void
  /** Only a family that this one lacks is asked for: where it cannot be had, nothing is written. */
  readonly retryOf?: OwnLease
  /** Subnets of earlier runs: only a hint. */
  readonly previous?: ReadonlyMap<Family, Cidr>
  /** Of these, those that a lease was seen to have before any other one; absent: all. */
  readonly recorded?: ReadonlyMap<Family, Cidr> | undefined
  /** What a new subnet must not take away; absent: nothing is known. */
  readonly surroundings?: () => Surroundings
  /** `--protected-cidrs`: a new subnet overlaps none of them. */
  readonly protectedRanges?: readonly Cidr[]
}

/** Why the own lease is not there yet though nothing has failed. */
export interface LeaseWait {
  readonly text: string
  readonly remedy: string
}

export interface AcquireHints extends PublishHints {
  readonly previous: ReadonlyMap<Family, Cidr>
  /**
   * Subnets that this host has used since it was booted (subnet.env and the record of this boot say so). A lease of them is this host's for certain; any other one of
   * our NodeID may be in use by a host from which our state directory was copied, so who takes it over says so in it (`claim`).
   */
  readonly sinceBoot?: ReadonlyMap<Family, Cidr>
  /** Addresses by which this host reaches containers: a lease whose subnet has one stays, though a new one could not be chosen so. */
  readonly occupied?: readonly IpAddr[]
  /** After a loss: nothing but this subnet (per family) is acceptable. */
  readonly only?: ReadonlyMap<Family, Cidr>
  /** Told to containers since this start, when the store had not answered: where no lease is ours, nothing but this subnet is acceptable. */
  readonly keep?: ReadonlyMap<Family, Cidr>
}

/** The text of the network configuration, as the store has it now; undefined while there is none. */
export interface ConfigText {
  readonly text: string | undefined
  readonly revision: string
  /** Where it came from, for messages: a file path or an etcd key. */
  readonly origin: string
  /** Absent: leased. */
  readonly subnets?: SubnetOrigin
}
