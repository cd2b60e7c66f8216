import type { OwnershipScope } from '../../kernel/desired.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Route } from '../../kernel/objects.ts'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Source } from '../../lib/latest.ts'
import type { Lifecycle } from '../../lib/lifecycle.ts'
import type { Logger } from '../../lib/log.ts'
import type { ConfigText, LeaseStore, StoreHealth } from '../../subnet/types.ts'
import type { CniNetwork } from '../cni/conflist.ts'
import type { EndedConnections } from '../config/ended-connections.ts'
import type { InterfaceOptions } from '../host/external-interface.ts'
import type { WantedTraffic } from '../host/traffic-choice.ts'
import type { Moment, StoreIdentity } from '../last-known/record.ts'
import type { LeaseKeeper } from '../leases/lease-keeper.ts'
import type { PeerVerdicts } from '../leases/peer-view.ts'
import type { StateDir } from '../state/state-dir.ts'
import type { ConditionSet } from '../status/status.ts'
import type { ChangeCounts, ChangeStatus } from '../switch/change-status.ts'
import type { ProbePort } from '../switch/probe-port.ts'
import type { GuardOptions } from './guard-rules.ts'
import type { Levels } from './levels.ts'
import type { NodePlan } from './planner.ts'
import type { WantedWays } from './ways.ts'

export interface AgentNeeds {
  readonly kernel: Kernel
  readonly configSource: Source<ConfigText>
  /** Of the connection that configuration and leases share. */
  readonly storeHealth: Source<StoreHealth>
  readonly store: LeaseStore
  /** For a connection that nothing may come back on. */
  readonly reconnectStore: (why: string) => Promise<void>
  /** Of this host, in place of those of its flags, once the leases are known; absent: none. */
  readonly givenAddresses?: () => ReadonlyMap<Family, IpAddr>
  /** By which the store is known again at a start that cannot reach it. */
  readonly identity: StoreIdentity
  /** Of the only lease that can be this node's; absent: not known before the store answers. */
  readonly leaseId?: string
  /** Of the first Service of a Kubernetes cluster; absent: not known. */
  readonly serviceAddress?: IpAddr
  /** Of this host, now. */
  readonly moment: () => Moment
  readonly state: StateDir
  /** Await it before anything of what a configuration uses is made. @throws ConfigError when another instance uses a part of it */
  readonly claim: (footprint: OwnershipScope) => Promise<void>
  readonly conditions: ConditionSet
  readonly lifecycle: Lifecycle
  readonly clock: Clock
  readonly log: Logger
  readonly randomBytes: (count: number) => Uint8Array
  /** Hears the duration of every pass of the reconciler, in seconds. */
  /** From 0 to below 1. */
  readonly random: () => number
  /** For a change of the backend. */
  readonly probes: ProbePort
  readonly onPass: (seconds: number) => void
  /** Hears of routes to peers that flannel's daemon has made beside this one. */
  readonly onFlannelsRoute: (route: Route) => void
  /** Hears of a fault of the program that ended a pass; the next one is tried all the same. */
  readonly onPassFault: (cause: unknown) => void
}

export interface AgentOptions {
  readonly nodeId: string
  readonly interfaceOptions: InterfaceOptions
  readonly subnetFile: string
  /** Subnets that the last run wrote to subnet.env. */
  readonly previousSubnets: ReadonlyMap<Family, Cidr>
  readonly ipMasq: boolean
  readonly traffic: WantedTraffic
  /** Undefined: no ingress guard. */
  readonly guard: GuardOptions | undefined
  /** Undefined: no conflist is written. */
  readonly cni: CniNetwork | undefined
  /** How often rules are read that nobody tells of when they change. */
  readonly resyncMs: number
  readonly blackholeRoute: boolean
  /** Of the lease store: no peer's subnet may take one away. */
  readonly storeEndpoints: readonly string[]
  readonly protectedRanges: readonly Cidr[]
  readonly renewMarginMs: number
  /** How long peers that vanished together are kept. */
  readonly holdMs: number
  /** After so long a change of the backend that still waits for somebody is a warning. */
  readonly drainMs: number
  /** In place of those that the configuration, and a change of it, want. */
  readonly wantedWays?: WantedWays
}

/** What the agent has in hands now; every part appears when it is known. */
export interface AgentView extends Levels {
  readonly store?: StoreHealth
  readonly verdicts?: PeerVerdicts
  /** Of the verdicts and the plan: as in `Folded`. */
  readonly isCurrent?: boolean
  readonly plan?: NodePlan
  /** Of the backend; absent: the node has one way. */
  readonly change?: ChangeStatus
  /** What a change of the backend, under way or waiting, ends; absent: there is none, or nobody has counted yet. */
  readonly ending?: EndedConnections
  /** Of changes of the backend. */
  readonly changeCounts: ChangeCounts
  /** Of the own lease. */
  readonly renewals: LeaseKeeper['renewals']
}
