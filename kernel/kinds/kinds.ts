import { address } from './address/kind.ts'
import { fdb } from './fdb/kind.ts'
import { file } from './file/kind.ts'
import { fouPort } from './fou-port/kind.ts'
import { guardChains } from './guard-chains/kind.ts'
import { guardPeer } from './guard-peer/kind.ts'
import { guardSets } from './guard-sets/kind.ts'
import { iptablesChain } from './iptables-chain/kind.ts'
import type { Comparison, Kind } from './kind.ts'
import { link } from './link/kind.ts'
import { neighbour } from './neighbour/kind.ts'
import { nexthop } from './nexthop/kind.ts'
import { nftTable } from './nft-table/kind.ts'
import { probeRoute } from './probe-route/kind.ts'
import { probeRule } from './probe-rule/kind.ts'
import { route } from './route/kind.ts'
import { sysctl } from './sysctl/kind.ts'
import { udpPeer } from './udp-peer/kind.ts'
import { udpProxy } from './udp-proxy/kind.ts'

/**
 * Every kind of kernel object, in the order of application: a phase each. Everything else about kinds is derived from this list.
 * What is no longer wanted is removed after all phases, in the reverse order: no route may point at a neighbour that is gone.
 */
export const KINDS = [
  // A device that speaks first must find its port open.
  fouPort,
  link,
  // Those below a device's directory need the device.
  sysctl,
  address,
  // What comes back by a route must be let in: the guard knows the peers before routes do (to the proxy of udp a peer is what a
  // route is elsewhere), and it judges (guardChains) when all that it judges by is there.
  guardSets,
  guardPeer,
  udpPeer,
  udpProxy,
  // A packet that takes a route must find neighbour and FDB entry in place.
  neighbour,
  fdb,
  // Routes name it; it takes them along when it goes.
  nexthop,
  route,
  probeRoute,
  probeRule,
  // Beside a table of ours Docker's chain holds nothing of ours, so the table comes first.
  nftTable,
  iptablesChain,
  guardChains,
  // A subnet.env that is there means "ready" to other programs.
  file,
] as const

type ObjectOf<K> = K extends Kind<infer O> ? O : never

/** Everything the kernel (or the file system) may be asked to hold. Devices are named by name; tables turn names into indexes. */
export type KernelObject = ObjectOf<(typeof KINDS)[number]>
export type ObjectKind = KernelObject['kind']

const BY_NAME = Object.fromEntries(KINDS.map((kind) => [kind.name, kind])) as unknown as Readonly<
  Record<ObjectKind, Kind<KernelObject>>
>

export function kindOf(name: ObjectKind): Kind<KernelObject> {
  return BY_NAME[name]
}

/** Two objects with one key exclude each other in the kernel. */
export function keyOf(object: KernelObject): string {
  return BY_NAME[object.kind].key(object)
}

/** What it takes to make `actual` into `desired`; both have one key. */
export function compare(actual: KernelObject, desired: KernelObject): Comparison {
  return actual.kind === desired.kind ? BY_NAME[actual.kind].compare(actual, desired) : 'recreate'
}

/** The device that takes the object with it when it is deleted. */
export function deviceOf(object: KernelObject): string | undefined {
  return BY_NAME[object.kind].device?.(object)
}
