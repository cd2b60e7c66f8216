import type { HostFacts } from '../../backends/backend.ts'
import type { Family, IpAddr } from '../../lib/address.ts'
import type { LeaseAttrs, OwnLease } from '../../subnet/types.ts'
import { type Advertised, pathsSaid } from './advertised.ts'
import type { LeaseState } from './lease-keeper.ts'

/** What this node publishes. Where it does not own its public address it says from where its packets really come. */
export function leaseAttrs(
  node: string,
  { accepts: ways, sends }: Advertised,
  host: Pick<HostFacts, 'external' | 'ownAddresses'>,
): LeaseAttrs {
  const { publicIps, addresses } = host.external
  const tunnelIps = new Map<Family, IpAddr>()
  for (const [family, publicIp] of publicIps) {
    const address = addresses.get(family)
    if (address === undefined || host.ownAddresses.has(publicIp)) continue
    // While the interface is away the host owns neither.
    if (address !== publicIp) tunnelIps.set(family, address)
  }
  const said = sends === undefined ? {} : { sends: sends.map(({ path }) => path) }
  return { node, ...pathsSaid(ways), ...said, publicIps, tunnelIps }
}

/** After a loss, and while the store cannot be asked, running containers keep their addresses: moving them is the operator's decision. */
export function heldLease(state: LeaseState | undefined): OwnLease | undefined {
  switch (state?.at) {
    case 'held':
    case 'recorded':
      return state.own
    case 'lost':
      return state.last
    default:
      return undefined
  }
}

/** Whether containers may be told the subnet anew. */
export function isCertain(state: LeaseState | undefined): boolean {
  return state?.at !== 'recorded' || state.isGood
}
