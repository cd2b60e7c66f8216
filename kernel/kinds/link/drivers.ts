import type { IpAddr } from '../../../lib/address.ts'
import { assertNever } from '../../../lib/errors.ts'
import type { Comparison } from '../kind.ts'

/** How a device was made; `other` stands for every kind that this program never makes. */
export type LinkDriver = MadeDriver | { readonly type: 'other'; readonly name: string }

/** What this program makes. A new one: here, in `netlink/drivers/`, `driver-text.ts`, and a case of the conformance suite. */
export type MadeDriver = VxlanDriver | IpipDriver | TunDriver

/** Source: linux/if_link.h, IFLA_VXLAN_*. */
export interface VxlanDriver {
  readonly type: 'vxlan'
  readonly vni: number
  /** Name of the device below; undefined: none. The kernel deletes the vxlan device together with it. */
  readonly underlay?: string
  readonly local?: IpAddr
  /** Where frames to unknown addresses go; no device of ours has one. */
  readonly group?: IpAddr
  /** UDP port in host byte order. */
  readonly port: number
  readonly learning: boolean
  readonly gbp: boolean
}

/** IPv4 in IPv4, no key, no device of ours with one far end. Source: RFC 2003; linux/if_tunnel.h, IFLA_IPTUN_*. */
export interface IpipDriver {
  readonly type: 'ipip'
  /** Outer packets leave by this device only; undefined: as the routes say. The device outlives it. */
  readonly underlay?: string
  readonly local?: IpAddr
  /** The only far end; undefined: every packet goes to the gateway of its route. */
  readonly remote?: IpAddr
  /** Of outer packets; 0: the inner packet's. */
  readonly ttl: number
  /** Outer packets may never be fragmented; false: not if the inner one may not. */
  readonly pathMtuDiscovery: boolean
  readonly encapsulation?: FouEncapsulation
}

/** A device whose packets a program reads and writes. Source: linux/if_tun.h. */
export interface TunDriver {
  readonly type: 'tun'
  /** Stays when no program holds it: packets are lost then, and do not leave by another route. Ours always does. */
  readonly persistent: boolean
}

/** The outer packet is carried in UDP: what a FOU port with IP protocol 4 at the far end unwraps. Ports in host byte order. */
export interface FouEncapsulation {
  readonly sourcePort: number
  readonly port: number
}

/** What it takes to make a device of the driver `actual` into one of `desired`. */
export function compareDrivers(actual: LinkDriver, desired: LinkDriver): Comparison {
  switch (desired.type) {
    case 'vxlan':
      return actual.type === 'vxlan' ? compareVxlan(actual, desired) : 'recreate'
    case 'ipip':
      return actual.type === 'ipip' ? compareIpip(actual, desired) : 'recreate'
    case 'tun':
      if (actual.type !== 'tun') return 'recreate'
      return actual.persistent === desired.persistent ? 'same' : 'update'
    case 'other':
      return actual.type === 'other' ? 'same' : 'recreate'
    default:
      return assertNever(desired)
  }
}

/** Name of the device below; undefined: none. */
export function underlayOf(driver: LinkDriver): string | undefined {
  return 'underlay' in driver ? driver.underlay : undefined
}

/** Name of the kernel's kind, which is also that of its module. */
export function kindNameOf(driver: LinkDriver): string {
  return driver.type === 'other' ? driver.name : driver.type
}

// Learning, the local address and the device below change on a live vxlan device; VNI, port, group and GBP do not, nor can the device below be taken away.
// Source: drivers/net/vxlan/vxlan_core.c of Linux, vxlan_changelink.
function compareVxlan(actual: VxlanDriver, desired: VxlanDriver): Comparison {
  const kept =
    actual.vni === desired.vni &&
    actual.port === desired.port &&
    (desired.underlay !== undefined || actual.underlay === undefined) &&
    actual.group === desired.group &&
    actual.gbp === desired.gbp
  if (!kept) return 'recreate'
  const same =
    actual.local === desired.local && actual.underlay === desired.underlay && actual.learning === desired.learning
  return same ? 'same' : 'update'
}

// A far end makes the device point-to-point, for life. Underlay and encapsulation could change, but they take the MTU along.
function compareIpip(actual: IpipDriver, desired: IpipDriver): Comparison {
  const kept =
    actual.remote === desired.remote &&
    actual.underlay === desired.underlay &&
    actual.encapsulation?.port === desired.encapsulation?.port &&
    actual.encapsulation?.sourcePort === desired.encapsulation?.sourcePort
  if (!kept) return 'recreate'
  const same =
    actual.local === desired.local && actual.ttl === desired.ttl && actual.pathMtuDiscovery === desired.pathMtuDiscovery
  return same ? 'same' : 'update'
}
