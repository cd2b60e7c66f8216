import { type Cidr, contains, firstHost, hostCidr, type IpAddr, prefixLength } from '../lib/address.ts'
import { PrefixMap } from './prefix-map.ts'

/** What of this host and of its store a subnet may take away, as plain values: whoever reads the host makes them. */
export interface Surroundings {
  /** Those inside the network are enough. */
  readonly addresses: readonly NeededAddress[]
  /** Of the main table, neither ours nor on a device of the overlay. Those inside the network or around a part of it are enough; no default routes. */
  readonly routes: readonly HostRoute[]
  /** Every address of this host that is not on a device of the overlay. */
  readonly ownAddresses: readonly IpAddr[]
  /** What leads to containers of this host: bridges that are no uplink, and pairs with a single address. */
  readonly containerDevices: readonly ContainerDevice[]
}

export interface ContainerDevice {
  readonly device: string
  readonly address: IpAddr
  readonly prefix: Cidr
}

export interface NeededAddress {
  readonly address: IpAddr
  /** As in `an address of eth0`. */
  readonly what: string
  readonly device?: string
}

export interface HostRoute {
  readonly dst: Cidr
  /** As `ip route` shows it. */
  readonly text: string
  readonly device?: string
  readonly type: 'unicast' | 'blackhole' | 'other'
  /**
   * Flannel makes such routes to peers, and leaves the blackhole of each subnet that the host has had: one at a wanted destination is
   * adopted.
   */
  readonly adoptable: boolean
  /** What `ip route add` and flannel write (RTPROT_BOOT). */
  readonly boot: boolean
}

export const emptySurroundings: Surroundings = { addresses: [], routes: [], ownAddresses: [], containerDevices: [] }

export interface Harm {
  readonly reason: 'host-range'
  readonly text: string
}

/** What breaks when a subnet belongs to somebody: the harm rule, as far as this host and its store are concerned. */
export class HarmRules {
  readonly #addresses = new PrefixMap<NeededAddress[]>()
  readonly #routes = new PrefixMap<HostRoute[]>()
  readonly #containerDevices: readonly ContainerDevice[]

  constructor({ addresses, routes, containerDevices }: Surroundings) {
    for (const needed of addresses) append(this.#addresses, hostCidr(needed.address), needed)
    for (const route of routes) append(this.#routes, route.dst, route)
    this.#containerDevices = containerDevices
  }

  /** Of a route to a peer's subnet. */
  ofPeer(subnet: Cidr, own: Cidr | undefined): Harm | undefined {
    return this.#find(subnet, own, () => true)
  }

  /** Of giving the subnet's addresses to containers of this host. Flannel's blackhole route for it may be there already. */
  ofOwn(subnet: Cidr): Harm | undefined {
    return this.#find(subnet, subnet, ({ type, boot }) => !(type === 'blackhole' && boot))
  }

  /** Routes around the subnet or inside it: the longest prefix wins, so each does what it did before. */
  beside(subnet: Cidr): readonly HostRoute[] {
    return [...this.#routes.around(subnet), ...this.#routes.inside(subnet)].flatMap(([route]) => route ?? [])
  }

  /** Whether a route of this host leads to the address in particular: one to less than the whole network. */
  knows(address: IpAddr, network: Cidr): boolean {
    const routes = this.#routes.around(hostCidr(address)).flat()
    return routes.some(({ type, dst }) => type === 'unicast' && prefixLength(dst) > prefixLength(network))
  }

  /** What hangs on the bridge of the own subnet does not count. */
  #find(subnet: Cidr, own: Cidr | undefined, counts: (route: HostRoute) => boolean): Harm | undefined {
    const routes = (this.#routes.get(subnet) ?? []).filter((route) => !route.adoptable && counts(route))
    const contained = [...(this.#addresses.get(subnet) ?? []), ...this.#addresses.inside(subnet).flat()]
    if (routes.length === 0 && contained.length === 0) return undefined
    const bridges = own === undefined ? new Set() : this.#bridgesOf(own)
    const isElsewhere = ({ device }: { readonly device?: string }) => !bridges.has(device)
    const route = routes.find(isElsewhere)
    if (route !== undefined) {
      return { reason: 'host-range', text: `${subnet} is the destination of this host's route ${route.text}` }
    }
    const needed = contained.find(isElsewhere)
    return needed && { reason: 'host-range', text: `${subnet} contains ${needed.address}, ${needed.what}` }
  }

  #bridgesOf(subnet: Cidr): ReadonlySet<unknown> {
    const gateway = firstHost(subnet)
    const found = this.#containerDevices.filter(
      ({ address, prefix }) => address === gateway || contains(subnet, prefix),
    )
    return new Set(found.map(({ device }) => device))
  }
}

function append<V>(map: PrefixMap<V[]>, prefix: Cidr, value: V): void {
  const values = map.get(prefix)
  if (values === undefined) map.set(prefix, [value])
  else values.push(value)
}
