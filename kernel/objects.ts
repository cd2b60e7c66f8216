import type { Cidr, Family, IpAddr, MacAddr } from '../lib/address.ts'
import { assertNever } from '../lib/errors.ts'
import { type Comparison, compareDrivers, type LinkDriver } from './kinds/link/drivers.ts'

export type { Comparison, IpipDriver, LinkDriver, MadeDriver, VxlanDriver } from './kinds/link/drivers.ts'

import { compareGuard, type GuardObject, keyOfGuard } from './guard/objects.ts'
import { keyOfRules, type RuleObject, sameRules } from './rules/objects.ts'

/**
 * What the failure of an object means. `required`: the node is not ready without it. `peer`: one peer is degraded.
 * `advisory`: worth a condition with a remedy, nothing more.
 */
export type Role =
  | Required
  | { readonly class: 'peer'; readonly peer: string }
  | { readonly class: 'advisory'; readonly remedy: string }

export interface Required {
  readonly class: 'required'
  /** The one family that it is for; absent: it is for all. */
  readonly family?: Family
  /** Families that are enough: while one of them has all that it requires, this one may fail. None where nothing is said. */
  readonly instead?: readonly Family[]
  /** What mends a refusal, where who planned it knows. */
  readonly remedy?: string
}

/** Everything the kernel (or the file system) may be asked to hold. Devices are named by name; tables turn names into indexes. */
export type KernelObject =
  | FouPort
  | Link
  | Address
  | UdpPeer
  | UdpProxy
  | Route
  | Neighbour
  | Fdb
  | Sysctl
  | StateFile
  | RuleObject
  | GuardObject
export type ObjectKind = KernelObject['kind']
export type DesiredObject = KernelObject & { readonly role: Role }

/**
 * A UDP port whose IPv4 datagrams the kernel unwraps: behind the UDP header stands a packet of the IP protocol (4: IPv4 itself),
 * received as if it had come without. Source: linux/fou.h.
 */
export interface FouPort {
  readonly kind: 'fou-port'
  /** Host byte order. */
  readonly port: number
  readonly protocol: number
  /** Only datagrams to this address; undefined: to every one, as ours. */
  readonly local?: IpAddr
}

/** A device. `mac` undefined in a desired link means: any. */
export interface Link {
  readonly kind: 'link'
  readonly name: string
  readonly mtu: number
  readonly mac?: MacAddr
  readonly up: boolean
  readonly driver: LinkDriver
}

export interface Address {
  readonly kind: 'address'
  readonly device: string
  readonly family: Family
  readonly address: IpAddr
  /** Prefix length in bits. */
  readonly length: number
}

/** A subnet that this process's udp proxy sends to, and takes packets from: `backends/udp/proxy-tables.ts`. */
export interface UdpPeer {
  readonly kind: 'udp-peer'
  readonly subnet: Cidr
  readonly publicIp: IpAddr
}

/** A worker of this process that carries packets between a tun device and a UDP port. It lives no longer than the process. */
export interface UdpProxy {
  readonly kind: 'udp-proxy'
  /** Name of the tun. */
  readonly device: string
  /** Address of the socket. */
  readonly local: IpAddr
  /** Of this node and of every peer; host byte order. */
  readonly port: number
  /** The tun's address: source of "net unreachable". */
  readonly own: IpAddr
}

/** A route of the main table; key: destination and metric. */
export interface Route {
  readonly kind: 'route'
  readonly family: Family
  readonly dst: Cidr
  /** Kernel priority; for IPv6 1024 stands where IPv4 has 0. */
  readonly metric: number
  readonly type: 'unicast' | 'blackhole'
  readonly device?: string
  readonly via?: IpAddr
  readonly onLink?: boolean
  readonly scope?: 'link'
  /** RTPROT_* number; ours is `ROUTE_PROTOCOL`. Of a desired route always that. */
  readonly protocol: number
}

/** A permanent neighbour entry (ARP, ND). */
export interface Neighbour {
  readonly kind: 'neighbour'
  readonly family: Family
  readonly device: string
  readonly address: IpAddr
  readonly mac: MacAddr
}

/** A permanent entry of a vxlan device's own forwarding database: frames to `mac` go to the VTEP at `dst`. */
export interface Fdb {
  readonly kind: 'fdb'
  readonly device: string
  readonly mac: MacAddr
  readonly dst: IpAddr
}

/** A value below /proc/sys; `path` as in `net/ipv4/conf/eth0/rp_filter`. Never removed, only set. */
export interface Sysctl {
  readonly kind: 'sysctl'
  readonly path: string
  readonly value: string
  /** The host's own: its value is recorded before it is changed, and given back afterwards. */
  readonly borrowed?: true
}

/** A small file that other programs read, subnet.env for one. */
export interface StateFile {
  readonly kind: 'file'
  readonly path: string
  readonly content: string
  readonly mode: number
}

/** IANA protocol number of IPv4 in IPv4. */
export const IPPROTO_IPIP = 4
/** RTPROT number of our routes: above those in use by routing daemons (/etc/iproute2/rt_protos). */
export const ROUTE_PROTOCOL = 102
/** RTPROT_BOOT: what `ip route add` and flannel write. */
export const BOOT_PROTOCOL = 3

/** Kernel priority of an ordinary route, flannel's and ours: IPv6 reads 0 back as 1024. */
export function defaultMetric(family: Family): number {
  return family === 4 ? 0 : 1024
}

/** Two objects with one key exclude each other in the kernel. */
export function keyOf(object: KernelObject): string {
  switch (object.kind) {
    case 'fou-port':
      return `fou-port ${object.port}`
    case 'link':
      return `link ${object.name}`
    case 'address':
      return `address ${object.device} ${object.address}/${object.length}`
    case 'udp-peer':
      return text('udp-peer', object.subnet)
    case 'udp-proxy':
      return `udp-proxy ${object.device}`
    case 'route':
      return text('route', object.dst, 'metric', object.metric)
    case 'neighbour':
      return text('neighbour', object.device, object.address)
    case 'fdb':
      return text('fdb', object.device, object.mac)
    case 'sysctl':
      return `sysctl ${object.path}`
    case 'file':
      return `file ${object.path}`
    case 'nft-table':
    case 'iptables-chain':
      return keyOfRules(object)
    case 'guard-sets':
    case 'guard-peer':
    case 'guard-chains':
      return keyOfGuard(object)
    default:
      return assertNever(object)
  }
}

// Of these there are thousands: V8 keeps the parts of a concatenation beside the result, but not those of a join.
function text(...words: readonly (string | number)[]): string {
  return words.join(' ')
}

/** The device that takes the object with it when it is deleted. */
export function deviceOf(object: KernelObject): string | undefined {
  switch (object.kind) {
    case 'route':
    case 'address':
    case 'neighbour':
    case 'fdb':
      return object.device
    case 'sysctl':
      // Sysctls of a device come back with their defaults when it is made again.
      return /^net\/[^/]+\/(?:conf|neigh)\/([^/]+)\//.exec(object.path)?.[1]
    // A proxy would make its device anew: it must be gone before its device, not with it.
    default:
      return undefined
  }
}

/** What it takes to make `actual` into `desired`; both have one key. */
export function compare(actual: KernelObject, desired: KernelObject): Comparison {
  if (actual.kind !== desired.kind) return 'recreate'
  switch (desired.kind) {
    case 'fou-port': {
      const { protocol, local } = actual as FouPort
      return protocol === desired.protocol && local === desired.local ? 'same' : 'recreate'
    }
    case 'link':
      return compareLinks(actual as Link, desired)
    case 'route':
      return sameRoute(actual as Route, desired) ? 'same' : 'update'
    case 'address':
      return 'same'
    case 'udp-peer':
      return (actual as UdpPeer).publicIp === desired.publicIp ? 'same' : 'update'
    case 'udp-proxy':
      return compareProxies(actual as UdpProxy, desired)
    case 'neighbour':
      return (actual as Neighbour).mac === desired.mac ? 'same' : 'update'
    case 'fdb':
      return (actual as Fdb).dst === desired.dst ? 'same' : 'update'
    case 'sysctl':
      return (actual as Sysctl).value === desired.value ? 'same' : 'update'
    case 'file':
      return (actual as StateFile).content === desired.content && (actual as StateFile).mode === desired.mode
        ? 'same'
        : 'update'
    case 'nft-table':
    case 'iptables-chain':
      return sameRules(actual as RuleObject, desired) ? 'same' : 'update'
    case 'guard-sets':
    case 'guard-peer':
    case 'guard-chains':
      return compareGuard(actual as GuardObject, desired)
    default:
      return assertNever(desired)
  }
}

function compareLinks(actual: Link, desired: Link): Comparison {
  const drivers = compareDrivers(actual.driver, desired.driver)
  if (drivers !== 'same') return drivers
  const same =
    actual.mtu === desired.mtu && actual.up === desired.up && (desired.mac === undefined || actual.mac === desired.mac)
  return same ? 'same' : 'update'
}

function compareProxies(actual: UdpProxy, desired: UdpProxy): Comparison {
  if (actual.local !== desired.local || actual.port !== desired.port) return 'recreate'
  return actual.own === desired.own ? 'same' : 'update'
}

function sameRoute(actual: Route, desired: Route): boolean {
  return (
    actual.type === desired.type &&
    actual.device === desired.device &&
    actual.via === desired.via &&
    (actual.onLink ?? false) === (desired.onLink ?? false) &&
    actual.scope === desired.scope &&
    actual.protocol === desired.protocol
  )
}
