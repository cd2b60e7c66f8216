import type { DesiredObject, LinkDriver, Role } from '../kernel/objects.ts'
import type { ObjectTable } from '../kernel/table.ts'
import type { Cidr, Family, IpAddr, MacAddr } from '../lib/address.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/log.ts'
import type { NetworkConfig } from '../subnet/network-config.ts'
import type { FamilyLease, Lease, PeerPath } from '../subnet/types.ts'

/** The interface that carries the outer packets, chosen by the options (`flanneld/host/external-interface.ts`). */
export interface ExternalInterface {
  readonly name: string
  readonly index: number
  /** Bytes. */
  readonly mtu: number
  /** The interface's own address, per enabled family. */
  readonly addresses: ReadonlyMap<Family, IpAddr>
  /** What peers are told; may be an address this host does not own. */
  readonly publicIps: ReadonlyMap<Family, IpAddr>
  /** Why this one, for the log. */
  readonly reason: string
}

/** How the host itself would reach a peer's public address (route lookup and neighbour state). */
export interface Reach {
  /** Device of an on-link route (no gateway); undefined: via a gateway or not at all. */
  readonly onLink: string | undefined
  /** A neighbour reply was seen and has not failed for long since. */
  readonly answered: boolean
}

/** What the plan must know of this host; the whole truth of one moment. */
export interface HostFacts {
  readonly external: ExternalInterface
  /** By public address of a peer; absent: not looked up yet. */
  readonly reach: ReadonlyMap<string, Reach>
  /** Prefixes on the external interface's link; none where nothing is said. */
  readonly onLink?: readonly Cidr[]
  /** Every address of this host: decides whether the public address is its own. */
  readonly ownAddresses: ReadonlySet<IpAddr>
  /** Of these the ones of the loopback device; absent: the host has none. */
  readonly loopbackAddresses?: ReadonlySet<IpAddr>
  /**
   * Whether the external interface drops what comes in by another way than answers would leave (rp_filter 1, as many
   * distributions have it); the host's own setting, whatever a plan has changed it to.
   */
  readonly strictReversePath: boolean
  /** Tunnel devices that stand, by name: what can be adopted. */
  readonly devices: ReadonlyMap<string, HostDevice>
  /** Whether the kernel has nexthop objects. */
  readonly nexthops: boolean
}

export interface HostDevice {
  readonly driver: LinkDriver
  readonly mac?: MacAddr
}

/** Devices of a way, under the names by which a node has them. */
export interface WayDevices {
  /** By the family whose packets go by them; none of a family that needs none. */
  readonly names: ReadonlyMap<Family, string>
  /**
   * It is one of IP in IP. With one local address the kernel has one that sends by any interface, and one more that is bound to the uplink.
   * While both are there either may receive for the other.
   */
  readonly ipInIp?: 'by any interface' | 'by the uplink'
}

export interface PrepareContext {
  readonly network: NetworkConfig
  readonly facts: HostFacts
  /** What this node's lease said before this start: a VTEP MAC is taken again from it. */
  readonly previous: PeerPath | undefined
  /** Those that this node has chosen for the way. */
  readonly devices: WayDevices
  /** What this process has made for this way in other families: it stays. Absent: nothing. */
  readonly made?: PeerPath | undefined
  /** Cryptographically strong random bytes. */
  readonly randomBytes: (count: number) => Uint8Array
  /** Whether the kernel unwraps packets from UDP by itself, asked now. */
  readonly hasFou: () => Promise<boolean>
}

export interface Prepared<I> {
  readonly identity: I
  /** What is published as the way to reach this node. */
  readonly path: PeerPath
}

/** What a node needs for a backend whoever its peers are: nothing of how they are reached is in it. */
export interface LocalInput<C, I> {
  readonly config: C
  readonly network: NetworkConfig
  readonly identity: I
  readonly devices: WayDevices
  readonly own: Lease
  readonly facts: LocalFacts
  /** Families in whose network hosts or endpoints of the store have addresses; none where nothing is said. */
  readonly underlayInside?: ReadonlySet<Family>
}

export type LocalFacts = Omit<HostFacts, 'reach'>

/** The backend's own objects and what follows from them for the node. */
export interface LocalPlan {
  readonly objects: readonly DesiredObject[]
  /** Bytes; what subnet.env says. */
  readonly mtu: number
  /** Things true of this host and config that the operator should know; stable code, sentence, remedy. */
  readonly notices: readonly Notice[]
  /** Undefined: peers' packets do not come in by this backend's doing. */
  readonly ingress?: Ingress
}

/** All that the plans of peers may depend on beside the peer. */
export interface PeerInput<C, I> {
  readonly config: C
  readonly identity: I
  /** Names of the backend's own tunnel devices, as the local plan says them (`Ingress`). */
  readonly tunnels: ReadonlyMap<Family, string>
  /** Whether the kernel has nexthop objects. */
  readonly nexthops: boolean
}

/** One peer in one family. */
export interface PlannedPeer {
  /** Of all its objects. */
  readonly role: Role
  readonly family: Family
  readonly part: FamilyLease
  /** What its lease says about this way to it in this family. */
  readonly data: unknown
}

/** What one peer needs in the kernel in one family, or why that cannot be had. */
export type PeerPlan =
  | {
      /** Undefined: somebody else carries the packets. */
      readonly path?: PathState
      readonly objects: readonly DesiredObject[]
    }
  | Refusal

export interface Refusal {
  /** One short stable word, as in `no-direct-path`. */
  readonly reason: string
  readonly text: string
}

export interface SkippedPeer extends Refusal {
  readonly id: string
}

/** How a peer is reached under this plan, for the status: `tunnel` or `direct`. */
export type PathState = 'tunnel' | 'direct'

/** Outer packets that carry an inner one: to a UDP port, of either family, or IPv4 packets of the protocol 4. */
export type OuterForm =
  /** Behind the UDP header stands a VXLAN header and an Ethernet frame. */
  | { readonly type: 'vxlan'; readonly port: number; readonly vni: number }
  /** Behind the UDP header stands an IPv4 packet. */
  | { readonly type: 'udp'; readonly port: number }
  | { readonly type: 'ipip' }

/** Where packets of peers come in under a plan, for the rules that judge them. */
export interface Ingress {
  /** Devices that packets go into a tunnel by, and come out of it; none of a family whose packets take none. */
  readonly tunnels: ReadonlyMap<Family, string>
  /** Further devices that packets of peers may come out of, while they are there; none where nothing is said. */
  readonly alsoBy?: readonly string[]
  /** How the outer packets arrive. */
  readonly outer: readonly OuterForm[]
  /** What this host itself says by a tunnel device, as if it had come from outside. */
  readonly own?: { readonly device: string; readonly address: IpAddr }
}

export interface Notice {
  readonly code: string
  readonly text: string
  readonly remedy: string
}

/** What tables that live in this process may use. */
export interface Ports {
  readonly clock: Clock
  readonly log: Logger
  /** As Math.random. */
  readonly random: () => number
  /** Who has a UDP port of this host, in words. */
  readonly portHolder: (port: number) => string
  /** Who holds a tun device, in words. */
  readonly tunHolder: (device: string) => string
}

/** Objects that live in this process and not in the kernel, as the reconciler sees them. */
export interface BackendTables {
  readonly tables: readonly ObjectTable[]
  /** Undefined as long as no packets were to be carried here. */
  counts(): DataPlaneCounts | undefined
  /** When the daemon ends: at once, whatever is wanted. */
  stop(): Promise<void>
}

/** What this process carried itself; all numbers only grow. */
export interface DataPlaneCounts {
  readonly packets: { readonly in: number; readonly out: number }
  readonly bytes: { readonly in: number; readonly out: number }
  /** Packets by reason, as in `inner-source`. */
  readonly drops: Readonly<Record<string, number>>
  /** How often the worker died and was started anew. */
  readonly deaths: number
}

/**
 * One way to carry packets between hosts. `local` and `peer` are pure, synchronous and total: a bad peer gives a reason and is never thrown.
 * C: the parsed `Backend` object. I: what makes this node recognisable to peers (MAC, key).
 */
export interface Backend<C, I> {
  /** As in `Backend.Type`, lower case. */
  readonly type: string
  /** What stands as BackendType in a lease; differs from `type` for udp and alloc (empty). */
  readonly wireType: string
  /** Families that it carries; both where nothing is said. Of a network's others it plans nothing. */
  readonly families?: readonly Family[]
  /** Throws ConfigError with a path below `Backend`; `warnings` receives unknown keys. */
  parseConfig(raw: unknown, warnings: string[]): C
  /** The keys of `Backend` but for its type, as they are written, each with the value in use: `parseConfig` of them gives the same config. */
  written(config: C): Readonly<Record<string, unknown>>
  /** Throws ConfigError for values that are good in themselves and make something of this network that no kernel takes. */
  check?(config: C, network: NetworkConfig): void
  /**
   * Of the config what cannot change while packets go by it: it stands in the path, or in a device that would have to be made anew. Two
   * configs that are equal in it are one way. Absent: all of the config.
   */
  lasting?(config: C): unknown
  /**
   * Whether hosts on one link send to each other without the tunnel under this config. Two configs that differ in that alone are two ways with
   * the same devices. Absent: no.
   */
  isDirect?(config: C): boolean
  /** Why the kernel does not have devices of both configs of this backend at once, though they have other names; undefined: it does. */
  beside?(one: C, other: C): string | undefined
  /**
   * Whether peers cannot tell the one config from the other and the kernel does not have both at once: then the one takes the other's place,
   * with a gap as long as that takes.
   */
  takesPlaceOf?(one: C, other: C): boolean
  /** The one impure step: keys, MAC. Called once for each way of this node, and again where it gets another family. */
  prepare(config: C, context: PrepareContext): Promise<Prepared<I>>
  /** Own device, address, sysctls, MTU. */
  local(input: LocalInput<C, I>): LocalPlan
  /** `reach`: how the host itself would reach the peer's public address; undefined: not looked up. */
  peer(input: PeerInput<C, I>, peer: PlannedPeer, reach: Reach | undefined): PeerPlan
  /**
   * Whether a lease with these data can be reached under this config: tells ways of one type from each other. Absent: the type says all.
   * Data that no config fits are named by `peer`.
   */
  fits?(config: C, family: Family, data: unknown): boolean
  /**
   * UDP port at which it receives under this config, where that is not flannel's by default: the lease says it, so that two ways which differ
   * in nothing else are told from each other. Absent: it has none, or its data say it.
   */
  ownPort?(config: C): number | undefined
  /**
   * The devices that it makes under this config, with the best names first: a node takes those beside which its other ways have theirs. All
   * of them are recorded before one is made.
   */
  devices(config: C, network: NetworkConfig): readonly [WayDevices, ...WayDevices[]]
  /** Whether a device that stands may have been made under this config, as far as its kind tells. */
  mayHaveMade?(config: C, driver: LinkDriver): boolean
  /** FOU ports that this backend may open under this config; recorded like the devices. */
  fouPorts?(config: C): readonly number[]
  /** Of kinds that no other backend has. Nothing runs before an object is applied. */
  tables?(ports: Ports): BackendTables
  /** Whether `peer` looks at `reach`; where it does, neighbour replies are asked for (`answered`) only if `probe`. */
  reach(config: C): 'unused' | 'lookup' | 'probe'
}
