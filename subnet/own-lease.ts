import { contains, type Family, type IpAddr, ipFromNumber, ipToNumber, prefixLength } from '../lib/address.ts'
import { type NetworkConfig, withFamilies } from './network-config.ts'
import { rangeOf } from './range-set.ts'
import type { Lease } from './types.ts'

/** How a node knows its own lease again. */
export interface Identity {
  readonly node: string
  readonly publicIps: ReadonlyMap<Family, IpAddr>
}

/** The lease of the last run: by NodeID, then (flannel's, reservations) by public address; the oldest of several. */
export function findOwnLease(leases: ReadonlyMap<string, Lease>, who: Identity): Lease | undefined {
  return (
    oldestOf(leases, (lease) => isOwnNode(lease, who)) ??
    oldestOf(leases, (lease) => lease.node === '' && namesAddress(lease, who))
  )
}

/** Of the leases that fit the oldest. */
export function oldestOf(leases: ReadonlyMap<string, Lease>, fits: (lease: Lease) => boolean): Lease | undefined {
  let oldest: Lease | undefined
  for (const lease of leases.values()) {
    if (fits(lease) && (oldest === undefined || olderFirst(lease, oldest) < 0)) oldest = lease
  }
  return oldest
}

export function isOwnNode(lease: Lease, who: Identity): boolean {
  return who.node !== '' && lease.node === who.node
}

/** Whether the lease names our public address. In dual stack the IPv4 one decides, as for flannel. */
export function namesAddress(lease: Lease, who: Identity): boolean {
  const family = who.publicIps.has(4) ? 4 : 6
  const address = who.publicIps.get(family)
  return address !== undefined && lease.families.get(family)?.publicIp === address
}

/** Whether one that names our address did so before another one: who came later has to ask us. */
export function hadAddressFirst(own: Lease, other: Lease, who: Identity): boolean {
  return namesAddress(own, who) && olderFirst(own, other) < 0
}

/** Whether a lease could have been chosen under this configuration: families, length, min to max. */
export function fitsNetwork(lease: Lease, network: NetworkConfig): boolean {
  if (lease.families.size !== network.families.size) return false
  for (const [family, rules] of network.families) {
    const subnet = lease.families.get(family)?.subnet
    if (subnet === undefined || prefixLength(subnet) !== rules.subnetLen) return false
    const at = ipToNumber(subnet.slice(0, subnet.indexOf('/')) as IpAddr)
    if (at < ipToNumber(rules.subnetMin) || at > ipToNumber(rules.subnetMax)) return false
  }
  return true
}

/** Whether a lease may stay: it could have been chosen, or containers have its addresses and it fits but for `SubnetMin` and `SubnetMax`. */
export function mayStay(lease: Lease, network: NetworkConfig, occupied: readonly IpAddr[] = []): boolean {
  if (fitsNetwork(lease, network)) return true
  const subnets = [...lease.families.values()].map(({ subnet }) => subnet)
  if (!subnets.some((subnet) => occupied.some((address) => contains(subnet, address)))) return false
  return fitsNetwork(lease, withoutBounds(network))
}

/** Whether a lease that has not the families of the network may stay in those that both have. */
export function mayChange(lease: Lease, network: NetworkConfig, occupied: readonly IpAddr[] = []): boolean {
  const common = [...network.families.keys()].filter((family) => lease.families.has(family))
  const isSame = common.length === network.families.size && common.length === lease.families.size
  if (common.length === 0 || isSame) return false
  const families = new Map([...lease.families].filter(([family]) => common.includes(family)))
  return mayStay({ ...lease, families }, withFamilies(network, common), occupied)
}

function withoutBounds(network: NetworkConfig): NetworkConfig {
  const families = Array.from(network.families, ([family, rules]) => {
    const { first, last } = rangeOf(rules.network)
    const bounds = { subnetMin: ipFromNumber(family, BigInt(first)), subnetMax: ipFromNumber(family, BigInt(last)) }
    return [family, { ...rules, ...bounds }] as const
  })
  return { ...network, families: new Map(families) }
}

/** At which revision of the store the lease began, where its key is younger. */
export function sinceOf({ age, keyAge }: Pick<Lease, 'age' | 'keyAge'>): string | undefined {
  return keyAge === undefined ? undefined : revisionOf(age)
}

export function revisionOf(age: string): string {
  return age.replace(/^0+/, '')
}

/** Another lease that had one of these subnets before this one got its key; the one that was not the first gives way. */
export function firstHolder(
  leases: ReadonlyMap<string, Lease>,
  own: Lease,
  families: Iterable<Family>,
): Lease | undefined {
  const subnets = Array.from(families, (family) => [family, own.families.get(family)?.subnet] as const)
  const keyFirst = (lease: Lease) => ({ ...lease, age: lease.keyAge ?? lease.age })
  for (const other of leases.values()) {
    const isShared = subnets.some(([family, subnet]) => other.families.get(family)?.subnet === subnet)
    if (isShared && other.id !== own.id && olderFirst(keyFirst(other), keyFirst(own)) < 0) return other
  }
  return undefined
}

/** Order by age; the name decides between leases of one transaction. */
export function olderFirst(a: Lease, b: Lease): number {
  if (a.age !== b.age) return a.age < b.age ? -1 : 1
  return a.id < b.id ? -1 : 1
}
