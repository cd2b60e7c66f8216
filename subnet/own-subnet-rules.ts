import { type Cidr, contains, type IpAddr } from '../lib/address.ts'
import { LeaseIndex } from './lease-index.ts'
import type { NetworkConfig } from './network-config.ts'
import { isInside } from './peer-addresses.ts'
import { emptySurroundings, HarmRules } from './surroundings.ts'
import type { Lease, LeaseAttrs, LeaseSnapshot, PublishHints } from './types.ts'

/** The harm rule for the choice of a new subnet: none that would take away an address that this host or another node needs. */
export class OwnSubnetRules {
  readonly #host: HarmRules
  readonly #nodes: LeaseIndex
  readonly #own: readonly IpAddr[]
  #example: string | undefined

  constructor(needs: {
    readonly snapshot: LeaseSnapshot
    readonly want: LeaseAttrs
    readonly hints: PublishHints
  }) {
    const { snapshot, want, hints } = needs
    this.#host = new HarmRules(hints.surroundings?.() ?? emptySurroundings)
    this.#nodes = new LeaseIndex({ network: hints.network, own: undefined })
    for (const lease of snapshot.leases.values()) if (mayBeHarmed(lease, hints.network)) this.#nodes.add(lease)
    this.#own = [...want.publicIps.values(), ...want.tunnelIps.values()]
  }

  /** Why one that is free was not allowed; undefined: all were. */
  get example(): string | undefined {
    return this.#example
  }

  allows(subnet: Cidr): boolean {
    const fault = this.#fault(subnet)
    this.#example ??= fault
    return fault === undefined
  }

  #fault(subnet: Cidr): string | undefined {
    const harm = this.#host.ofOwn(subnet)
    if (harm !== undefined) return harm.text
    const own = this.#own.find((address) => contains(subnet, address))
    if (own !== undefined) return `${subnet} contains ${own}, this node's own public address`
    const [node] = this.#nodes.addressesIn(subnet)
    return node && `${subnet} contains ${node.address}, the ${node.which} address of lease ${node.lease.id}`
  }
}

/** Nearly no node has an address where subnets are. */
function mayBeHarmed(lease: Lease, network: NetworkConfig): boolean {
  return [...network.families].some(([family, rules]) => {
    const part = lease.families.get(family)
    return part !== undefined && isInside(rules.network, part)
  })
}
