import { type Cidr, type Family, familyOf, type IpAddr } from '../lib/address.ts'
import type { NetworkConfig } from './network-config.ts'
import { addressNumber, RangeSet } from './range-set.ts'
import type { FamilyLease, Lease } from './types.ts'

/** No node can be reached there. Sources: IANA's special-purpose address registries. */
const neverNodes: readonly { readonly cidr: string; readonly name: string }[] = [
  { cidr: '0.0.0.0/8', name: 'unspecified' },
  { cidr: '127.0.0.0/8', name: 'loopback' },
  { cidr: '169.254.0.0/16', name: 'link-local' },
  { cidr: '224.0.0.0/4', name: 'multicast' },
  { cidr: '240.0.0.0/4', name: 'reserved' },
  { cidr: '::/128', name: 'unspecified' },
  { cidr: '::1/128', name: 'loopback' },
  { cidr: '::ffff:0:0/96', name: 'IPv4-mapped' },
  { cidr: 'fe80::/10', name: 'link-local' },
  { cidr: 'ff00::/8', name: 'multicast' },
]

/** What a peer's public and tunnel address may be, whatever its subnet. */
export class PeerAddressRules {
  readonly #own = new Set<IpAddr>()
  readonly #never: ReadonlyMap<Family, RangeSet>
  readonly #overlay: ReadonlyMap<Family, RangeSet>

  constructor(input: { own: Lease | undefined; network: NetworkConfig }) {
    for (const part of input.own?.families.values() ?? []) {
      this.#own.add(part.publicIp)
      if (part.tunnelIp !== undefined) this.#own.add(part.tunnelIp)
    }
    const never = neverNodes.map(({ cidr }) => cidr as Cidr)
    const networks = [...input.network.families.values()].map(({ network }) => network)
    this.#never = perFamily(never)
    this.#overlay = perFamily(networks)
  }

  judge(part: FamilyLease): { reason: string; text: string } | undefined {
    return (
      this.#judgeOne('public', part.publicIp) ?? (part.tunnelIp && this.#judgeOne('tunnel', part.tunnelIp)) ?? undefined
    )
  }

  #judgeOne(which: 'public' | 'tunnel', address: IpAddr): { reason: string; text: string } | undefined {
    const family = familyOf(address)
    const at = addressNumber(address)
    const range = { first: at, last: at }
    const never = this.#never.get(family)?.overlapping(range)
    if (never !== undefined) {
      const name = neverNodes.find(({ cidr }) => cidr === never.cidr)?.name
      return { reason: `bad-${which}-address`, text: `its ${which} address ${address} is ${name}` }
    }
    if (this.#own.has(address)) {
      return { reason: `own-${which}-address`, text: `its ${which} address ${address} is this node's` }
    }
    const overlay = this.#overlay.get(family)?.overlapping(range)
    if (overlay === undefined) return undefined
    return { reason: `${which}-address-inside`, text: `its ${which} address ${address} lies inside ${overlay.cidr}` }
  }
}

function perFamily(cidrs: readonly Cidr[]): ReadonlyMap<Family, RangeSet> {
  const of = (family: Family) => new RangeSet(cidrs.filter((cidr) => familyOf(cidr) === family))
  return new Map([
    [4, of(4)],
    [6, of(6)],
  ])
}
