import { type Cidr, contains, FAMILIES, type Family, familyOf, type IpAddr } from '../lib/address.ts'
import { addressNumber, RangeSet } from './range-set.ts'
import type { FamilyLease, Lease } from './types.ts'

export type Which = 'public' | 'tunnel'

/** What no packet can be sent to. Hosts may have link-local addresses only. */
const neverNodes: readonly { readonly cidr: Cidr; readonly name: string }[] = [
  { cidr: '0.0.0.0/32', name: 'unspecified' },
  { cidr: '127.0.0.0/8', name: 'loopback' },
  { cidr: '224.0.0.0/4', name: 'multicast' },
  { cidr: '255.255.255.255/32', name: 'broadcast' },
  { cidr: '::/128', name: 'unspecified' },
  { cidr: '::1/128', name: 'loopback' },
  { cidr: '::ffff:0:0/96', name: 'IPv4-mapped' },
  { cidr: 'ff00::/8', name: 'multicast' },
].map(({ cidr, name }) => ({ cidr: cidr as Cidr, name }))

interface AddressFault {
  readonly reason: string
  readonly text: string
}

/** What a peer's public and tunnel address may be, whatever other peers there are. */
export class PeerAddressRules {
  readonly #own: ReadonlySet<IpAddr>
  readonly #ownSubnets: readonly Cidr[]
  readonly #never: ReadonlyMap<Family, RangeSet>

  constructor({ own, ownAddresses }: { own: Lease | undefined; ownAddresses: readonly IpAddr[] }) {
    const parts = [...(own?.families.values() ?? [])]
    this.#own = new Set([...ownAddresses, ...parts.flatMap((part) => addressesOf(part).map(({ address }) => address))])
    this.#ownSubnets = parts.map(({ subnet }) => subnet)
    const ranges = FAMILIES.map((family) => {
      const cidrs = neverNodes.map(({ cidr }) => cidr).filter((cidr) => familyOf(cidr) === family)
      return [family, new RangeSet(cidrs)] as const
    })
    this.#never = new Map(ranges)
  }

  /** What no node can have. */
  impossible(part: FamilyLease): AddressFault | undefined {
    for (const { which, address } of addressesOf(part)) {
      const at = addressNumber(address)
      const never = this.#never.get(familyOf(address))?.overlapping({ first: at, last: at })
      if (never !== undefined) {
        const name = neverNodes.find(({ cidr }) => cidr === never.cidr)?.name
        return { reason: `bad-${which}-address`, text: `its ${which} address ${address} is ${name}` }
      }
    }
    return undefined
  }

  /** What only this node has. */
  own(part: FamilyLease): AddressFault | undefined {
    for (const { which, address } of addressesOf(part)) {
      if (this.#own.has(address)) {
        return { reason: `own-${which}-address`, text: `its ${which} address ${address} is this node's` }
      }
    }
    return undefined
  }

  /** A loop, in this family. */
  loopOf(part: FamilyLease): AddressFault | undefined {
    for (const { which, address } of addressesOf(part)) {
      if (contains(part.subnet, address)) return inside(which, address, `its own subnet ${part.subnet}`)
      const own = this.#ownSubnets.find((other) => contains(other, address))
      if (own !== undefined) return inside(which, address, `this node's subnet ${own}`)
    }
    return undefined
  }
}

export function addressesOf({ publicIp, tunnelIp }: FamilyLease): readonly { which: Which; address: IpAddr }[] {
  const addresses = [{ which: 'public' as const, address: publicIp }]
  return tunnelIp === undefined ? addresses : [...addresses, { which: 'tunnel' as const, address: tunnelIp }]
}

/** Whether one of the addresses lies in the network, where a subnet could take it away. */
export function isInside(network: Cidr, { publicIp, tunnelIp }: FamilyLease): boolean {
  return contains(network, publicIp) || (tunnelIp !== undefined && contains(network, tunnelIp))
}

function inside(which: Which, address: IpAddr, where: string): AddressFault {
  return { reason: `${which}-address-inside`, text: `its ${which} address ${address} lies inside ${where}` }
}
