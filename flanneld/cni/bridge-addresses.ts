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

/**
 * Gateways of containers that the bridge has not (any more): the plugin gives it one only together with a container, so where somebody has
 * taken it off (NetworkManager, `ip address flush`) those that are there lead nowhere. Pure.
 */
export function missingGateways(
  bridge: BridgeFacts | undefined,
  reservations: readonly Reservation[],
  { network, subnets }: Pick<OwnNetwork, 'subnets'> & { readonly network: string },
): readonly { readonly address: IpAddr; readonly length: number }[] {
  if (bridge === undefined || bridge.ports === 0) return []
  return [...subnets.values()].flatMap((subnet) => {
    const [address, length] = [firstHost(subnet), prefixLength(subnet)]
    const isNeeded = reservations.some((one) => one.network === network && contains(subnet, one.address))
    return isNeeded && !bridge.addresses.some((one) => one.address === address) ? [{ address, length }] : []
  })
}
