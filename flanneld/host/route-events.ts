import type { KernelEvent } from '../../kernel/table.ts'
import { type Cidr, type Family, familyOf, hostCidr, type IpAddr, prefixLength } from '../../lib/address.ts'
import { RangeSet, rangeOf } from '../../subnet/range-set.ts'
import type { Lease } from '../../subnet/types.ts'

/** What routes of the host can be about, as far as this daemon looks at any. */
interface Interests {
  /** Of this instance. */
  readonly networks: readonly Cidr[]
  /** All that are known; the same object while they are the same. */
  readonly leases: ReadonlyMap<string, Lease>
  /** That the external interface is chosen by. */
  readonly target: IpAddr | undefined
}

/**
 * Leaves out the routes that come and go beside us: a routing daemon that loses a neighbour changes 100,000, and for none of
 * them the host needs to be read again. What is left leads to a peer, to everywhere, or into a network of ours, or goes through a gateway there.
 */
export class RouteEvents {
  #leases: ReadonlyMap<string, Lease> | undefined
  #isToPeer = within(() => [])

  concerning(events: readonly KernelEvent[], { networks, leases, target }: Interests): readonly KernelEvent[] {
    let isOurs: ReturnType<typeof within> | undefined
    return events.filter((event) => {
      if (event.type !== 'object' || event.object.kind !== 'route') return true
      const { dst, via } = event.object
      if (prefixLength(dst) === 0) return true
      isOurs ??= within((family) => [...networks, ...hostsOf(target)].filter((cidr) => familyOf(cidr) === family))
      if (isOurs(dst) || hostsOf(via).some(isOurs)) return true
      if (leases !== this.#leases)
        this.#isToPeer = within((family) => [...leases.values()].flatMap((lease) => hostsOfLease(lease, family)))
      this.#leases = leases
      return this.#isToPeer(dst)
    })
  }
}

/** Whether a prefix shares an address with one of these, which are asked for when they are needed: there are thousands. */
function within(prefixes: (family: Family) => readonly Cidr[]): (dst: Cidr) => boolean {
  const ranges = new Map<Family, RangeSet>()
  return (dst) => {
    const family = familyOf(dst)
    const known = ranges.get(family) ?? new RangeSet(prefixes(family))
    ranges.set(family, known)
    return known.overlapping(rangeOf(dst)) !== undefined
  }
}

function hostsOfLease({ families }: Lease, family: Family): readonly Cidr[] {
  const part = families.get(family)
  return part === undefined ? [] : [...hostsOf(part.publicIp), ...hostsOf(part.tunnelIp)]
}

function hostsOf(address: IpAddr | undefined): readonly Cidr[] {
  return address === undefined ? [] : [hostCidr(address)]
}
