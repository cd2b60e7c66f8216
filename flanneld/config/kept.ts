import { contains, type IpAddr } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'
import { type Configuration, hasSameFamilies, isSameNetwork } from '../node/configuration.ts'
import { type KnownLeases, renumbering } from './admission.ts'
import { leavingFamilies } from './family-change.ts'

interface LastRunNeeds {
  /** Of the last run. */
  readonly last: Configuration | undefined
  readonly leases: () => Promise<KnownLeases>
  /** Addresses by which this host reaches containers. */
  readonly occupied: () => Promise<readonly IpAddr[]>
}

/**
 * With what a node begins that finds `found`: with that, but where its containers would lose their subnet with what it used before its
 * start. Where nothing is known of that, or no container runs, with what it finds.
 */
export async function beginWith(found: Configuration, needs: LastRunNeeds): Promise<Configuration> {
  const { last } = needs
  if (last === undefined || isSameNetwork(found, last)) return found
  const leases = await needs.leases()
  const { own } = leases
  if (own === undefined) return found
  const isRenumbered = renumbering(found, last, leases).length > 0
  if (!isRenumbered && hasSameFamilies(found, last)) return found
  const occupied = await needs.occupied()
  const isLost = isRenumbered
    ? hasContainers(own, occupied)
    : leavingFamilies(found, last, { own, occupied }).length > 0
  return isLost ? { ...last, origin: found.origin } : found
}

export function hasContainers({ families }: Lease, occupied: readonly IpAddr[]): boolean {
  return [...families.values()].some(({ subnet }) => occupied.some((address) => contains(subnet, address)))
}
