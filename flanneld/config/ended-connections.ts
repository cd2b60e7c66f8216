import type { Translated } from '../../kernel/rules/connections.ts'
import { type Cidr, FAMILIES, familyOf, type IpAddr } from '../../lib/address.ts'
import { addressNumber, RangeSet } from '../../subnet/range-set.ts'

/** A route to a subnet that is going to lead through another device, or to go. */
export interface LeavingRoute {
  readonly dst: Cidr
  /** Through which it leads now. */
  readonly device: string | undefined
}

/** Of each device of the host. */
export type DeviceAddresses = ReadonlyMap<string, ReadonlySet<IpAddr>>

/** Of the masqueraded connections those that end. */
export interface EndedConnections {
  /** Null: not known. */
  readonly count: number | null
  /** Why; empty where it is known. */
  readonly unknown: string
}

/**
 * Whether a connection with a translated source ends when these routes leave their device. The kernel remembers by which device a masqueraded
 * one leaves (`nf_nat_oif_changed`), and tells nobody; but MASQUERADE takes an address of that device as the source, where it has one, and
 * what was translated to another address carries on. Pure.
 */
export function endsWith(
  routes: readonly LeavingRoute[],
  addresses: DeviceAddresses,
): (connection: Translated) => boolean {
  const devices = new Map(routes.map(({ dst, device = '' }) => [dst, device]))
  const subnets = new Map(
    FAMILIES.map((family) => [family, new RangeSet([...devices.keys()].filter((dst) => familyOf(dst) === family))]),
  )
  return ({ to, as }) => {
    const number = addressNumber(to)
    const family = familyOf(to)
    const route = subnets.get(family)?.overlapping({ first: number, last: number })
    if (route === undefined) return false
    const possible = addresses.get(devices.get(route.cidr) ?? '') ?? NO_ADDRESSES
    // Without one of the family it is that of some other device.
    return possible.has(as) || ![...possible].some((address) => familyOf(address) === family)
  }
}

const NO_ADDRESSES: ReadonlySet<IpAddr> = new Set()
