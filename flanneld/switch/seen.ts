import { carriedFamilies } from '../../backends/families.ts'
import type { Way } from '../../backends/way.ts'
import { type Family, type IpAddr, networkAddress } from '../../lib/address.ts'
import { type NetworkConfig, withFamilies } from '../../subnet/network-config.ts'
import type { OwnLease } from '../../subnet/types.ts'
import type { Advertised } from '../leases/advertised.ts'
import { heldLease } from '../leases/lease-attrs.ts'
import { isOlder, says } from '../leases/lease-comparison.ts'
import type { Folded } from '../node/fold.ts'
import type { Levels } from '../node/levels.ts'
import { keysOf } from './told-ways.ts'

/** All that one look at a change is made from. */
export interface Seen {
  readonly network: NetworkConfig
  readonly ways: readonly [Way, ...Way[]]
  /** By way, as the state names them. */
  readonly keys: ReadonlyMap<Way, string>
  readonly own: OwnLease
  readonly last: Folded
}

/** Undefined: not all of it is known yet. Pure. */
export function see({ configuration, ways, lease }: Levels, last: Folded | undefined): Seen | undefined {
  const own = heldLease(lease)
  if (configuration === undefined || ways === undefined || own === undefined || last === undefined) return undefined
  // One that is enabled, and that this node has no subnet of, moves nobody.
  const carried = [...own.lease.families.keys()].filter((family) =>
    ways.every(({ families }) => families.includes(family)),
  )
  return { network: withFamilies(configuration.network, carried), ways, keys: keysOf(ways), own, last }
}

/** Whether the store shows this of the own lease, and of the others what they said then or later. Pure. */
export function isShownBy({ own, last }: Seen, lease: Levels['lease'], advertised: Advertised): boolean {
  const isHeld = lease?.at === 'held' && last.isCurrent
  return isHeld && says(own.lease, advertised) && !isOlder(last.revision, own.version)
}

/** Where the own subnets begin, in each family that all ways carry: in another one nothing is to be proven, and no device may have it. */
export function ownAddresses({ own, network, ways }: Pick<Seen, 'own' | 'network' | 'ways'>): readonly IpAddr[] {
  const isCarried = (family: Family) => ways.every(({ backend }) => carriedFamilies(backend, network).includes(family))
  return [...own.lease.families].flatMap(([family, { subnet }]) => (isCarried(family) ? [networkAddress(subnet)] : []))
}
