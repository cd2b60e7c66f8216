import { BOOT_PROTOCOL } from '../../kernel/kinds/route/numbers.ts'
import type { Route } from '../../kernel/objects.ts'
import type { KernelEvent } from '../../kernel/table.ts'
import { type Cidr, contains, networkAddress } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'

type Leases = ReadonlyMap<string, Lease>

/** Finds, among what happens in the kernel, the routes to peers that flannel's daemon makes. This program's own are no events. */
export class FlannelsRoutes {
  #leases: Leases | undefined
  #toPeers: ReadonlySet<string> = new Set()

  /** The last one of these events; `networks`: of this instance. */
  lastOf(events: readonly KernelEvent[], networks: readonly Cidr[], leases: Leases): Route | undefined {
    return events
      .flatMap((event) =>
        event.type === 'object' && event.present && event.object.kind === 'route' ? event.object : [],
      )
      .findLast((route) => this.#isFlannels(route, networks, leases))
  }

  #isFlannels(route: Route, networks: readonly Cidr[], leases: Leases): boolean {
    const { protocol, dst, via, device, onLink, nexthop } = route
    if (protocol !== BOOT_PROTOCOL || via === undefined || nexthop !== undefined) return false
    if (!networks.some((network) => network !== dst && contains(network, dst))) return false
    // vxlan, in which the peer has the first address of its subnet; the address of a peer is the gateway of all other backends.
    if (onLink === true && device?.startsWith('flannel') && via === networkAddress(dst)) return true
    if (leases !== this.#leases) this.#toPeers = new Set([...leases.values()].flatMap(waysTo))
    this.#leases = leases
    return this.#toPeers.has(`${dst} ${via}`)
  }
}

function waysTo({ families }: Lease): readonly string[] {
  return [...families.values()].map(({ subnet, publicIp }) => `${subnet} ${publicIp}`)
}
