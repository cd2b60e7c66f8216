import type { Family } from '../lib/address.ts'
import type { KernelObject } from './kinds/kinds.ts'

/** What plans may know of the kernel: its objects, their keys and how they are compared. */
export type { Address } from './kinds/address/kind.ts'
export type { Fdb } from './kinds/fdb/kind.ts'
export type { StateFile } from './kinds/file/kind.ts'
export { type FouPort, IPPROTO_IPIP } from './kinds/fou-port/kind.ts'
export { compare, deviceOf, type KernelObject, keyOf, type ObjectKind } from './kinds/kinds.ts'
export type { LinkDriver, MadeDriver } from './kinds/link/drivers/drivers.ts'
export type { IpipDriver } from './kinds/link/drivers/ipip.ts'
export type { Link } from './kinds/link/kind.ts'
export type { Neighbour } from './kinds/neighbour/kind.ts'
export type { Route } from './kinds/route/kind.ts'
export { BOOT_PROTOCOL, defaultMetric, ROUTE_PROTOCOL } from './kinds/route/numbers.ts'
export type { Sysctl } from './kinds/sysctl/kind.ts'
export type { UdpPeer } from './kinds/udp-peer/kind.ts'
export type { UdpProxy } from './kinds/udp-proxy/kind.ts'

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

export type DesiredObject = KernelObject & { readonly role: Role }
