import {
  type Cidr,
  cidrOf,
  contains,
  type Family,
  familyOf,
  firstHost,
  type IpAddr,
  overlaps,
  prefixLength,
} from '../../lib/address.ts'
import type { BridgeFacts, Reservation } from './facts.ts'

/** An address of the bridge for which the `bridge` plugin refuses every container. */
export interface StaleAddress {
  readonly address: IpAddr
  readonly length: number
  /** What host-local has on record within its prefix. */
  readonly holders: readonly Reservation[]
  /** Nobody needs it any more. */
  readonly removable: boolean
}

export interface OwnNetwork {
  readonly subnets: ReadonlyMap<Family, Cidr>
  /** Networks of this instance, earlier ones, too. */
  readonly networks: readonly Cidr[]
}

const LINK_LOCAL = 'fe80::/10' as Cidr

/**
 * The plugin looks at the bridge's addresses in the kernel's order and fails at the first IPv4 address, or IPv6 address of an overlapping
 * prefix, that is not the gateway it wants. Source: containernetworking/plugins, plugins/main/bridge, ensureAddr. Pure.
 */
export function staleAddresses(
  bridge: BridgeFacts | undefined,
  reservations: readonly Reservation[],
  { subnets, networks }: OwnNetwork,
): readonly StaleAddress[] {
  if (bridge === undefined) return []
  // A container that nobody has on record may use any of them.
  const known = new Set(reservations.map(({ container }) => container)).size
  return [...subnets].flatMap(([family, subnet]) => {
    const gateway = `${firstHost(subnet)}/${prefixLength(subnet)}`
    const ofFamily = bridge.addresses.filter(({ address }) => familyOf(address) === family)
    const end = ofFamily.findIndex(({ address, length }) => `${address}/${length}` === gateway)
    const before = end < 0 ? ofFamily : ofFamily.slice(0, end)
    return before.flatMap(({ address, length }) => {
      const prefix = cidrOf(address, length)
      const isInside = networks.some((network) => contains(network, address))
      if (family === 6 && (contains(LINK_LOCAL, address) || !(isInside || overlaps(prefix, subnet)))) return []
      const holders = reservations.filter((one) => contains(prefix, one.address))
      const removable = holders.length === 0 && (bridge.ports === 0 || (isInside && bridge.ports <= known))
      return [{ address, length, holders, removable }]
    })
  })
}
