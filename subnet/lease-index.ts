import { type Cidr, contains, type Family, hostCidr, type IpAddr } from '../lib/address.ts'
import { printable } from '../lib/errors.ts'
import type { NetworkConfig } from './network-config.ts'
import { olderFirst } from './own-lease.ts'
import { addressesOf, isInside, type Which } from './peer-addresses.ts'
import { PrefixMap } from './prefix-map.ts'
import type { FamilyLease, Lease, PeerPath } from './types.ts'

/** What stands in BackendData and must be one node's alone. */
const uniqueFields: readonly { readonly field: string; readonly reason: string; readonly name: string }[] = [
  { field: 'VtepMAC', reason: 'duplicate-mac', name: 'VTEP MAC' },
  { field: 'PublicKey', reason: 'duplicate-key', name: 'public key' },
]

/** An address of a lease, public or tunnel. */
interface HeldAddress {
  readonly lease: Lease
  readonly which: Which
  readonly address: IpAddr
}

/** Nearly always one lease: thousands of lists of one would be thousands of arrays. */
type Held = Lease | readonly Lease[]

/** What a lease has and another one has first. */
interface Duplicate {
  readonly reason: string
  readonly text: string
}

/** Of one family. */
interface Loss extends Duplicate {
  readonly family: Family
}

/** Whether what a lease says of a family counts. */
export type Stands = (other: Lease, family: Family) => boolean

interface Table<K> {
  get(key: K): Held | undefined
  set(key: K, value: Held): void
  delete(key: K): void
}

/**
 * What leases hold (subnets, addresses, MACs, keys), found by value and never by comparing pairs: which of them exclude each other,
 * whichever of them are accepted. The own lease is held like the others.
 */
export class LeaseIndex {
  readonly #network: NetworkConfig
  readonly #own: Lease | undefined
  readonly #subnets = new PrefixMap<Held>()
  readonly #publicIps = new Map<IpAddr, Held>()
  /** Addresses that a subnet could contain: inside the network. */
  readonly #inside = new PrefixMap<Held>()
  /** By field and family. */
  readonly #uniques = new Map<string, Map<string, Held>>()

  constructor({ network, own }: { readonly network: NetworkConfig; readonly own: Lease | undefined }) {
    this.#network = network
    this.#own = own
    if (own !== undefined) this.add(own)
  }

  add(lease: Lease): void {
    this.#eachValue(lease, (table, key) => {
      const held = listOf(table.get(key))
      // `primary` stands among `accepts`, too.
      if (!held.includes(lease)) table.set(key, held.length === 0 ? lease : [...held, lease])
    })
  }

  /** Takes back what `add` remembered. */
  forget(lease: Lease): void {
    this.#eachValue(lease, (table, key) => {
      const [first, ...rest] = listOf(table.get(key)).filter((held) => held !== lease)
      if (first === undefined) table.delete(key)
      else table.set(key, rest.length === 0 ? first : [first, ...rest])
    })
  }

  /** The addresses inside the subnet, but those of `except`; those of the oldest lease first. */
  addressesIn(subnet: Cidr, except?: Lease): readonly HeldAddress[] {
    const found = this.#inside.inside(subnet)
    const whole = this.#inside.get(subnet)
    if (whole === undefined && found.length === 0) return []
    const holders = new Set([whole, ...found].flatMap(listOf))
    if (except !== undefined) holders.delete(except)
    const sorted = [...holders].sort((a, b) => this.#order(a, b))
    return sorted.flatMap((lease) => {
      const addresses = [...lease.families.values()].flatMap(addressesOf)
      return addresses.filter(({ address }) => contains(subnet, address)).map((held) => ({ lease, ...held }))
    })
  }

  /**
   * The families in which its subnet or an address cannot be beside the subnets of those that `stands` names, with the oldest of them.
   * Those that are `lost` anyway are left out.
   */
  losses(lease: Lease, lost: ReadonlySet<Family>, stands: Stands): readonly Loss[] {
    const oldest = this.#oldestBut(lease, stands)
    const found: Loss[] = []
    for (const family of this.#network.families.keys()) {
      const part = lost.has(family) ? undefined : lease.families.get(family)
      if (part === undefined) continue
      const overlapped = oldest(family, this.#overlapping(part.subnet))
      const around = addressesOf(part).flatMap(({ which, address }) => {
        const holder = oldest(family, this.#subnets.around(hostCidr(address)))
        return holder === undefined ? [] : [{ which, address, holder }]
      })[0]
      if (overlapped !== undefined) {
        const text = `${part.subnet} overlaps the subnet of ${this.#name(overlapped)}`
        found.push({ family, reason: 'overlap', text })
      } else if (around !== undefined) {
        const { which, address, holder } = around
        const text = `its ${which} address ${address} lies inside the subnet of lease ${holder.id}`
        found.push({ family, reason: `${which}-address-inside`, text })
      }
    }
    return found
  }

  /** What it says of the families that it has `left`, must be its alone, and is that of the oldest of those that `stands` names. */
  duplicate(lease: Lease, left: ReadonlyMap<Family, FamilyLease>, stands: Stands): Duplicate | undefined {
    const oldest = this.#oldestBut(lease, stands)
    for (const [family, { publicIp }] of left) {
      const holder = oldest(family, [this.#publicIps.get(publicIp)])
      if (holder === undefined) continue
      const text = `its public address ${publicIp} is that of ${this.#name(holder)}`
      return { reason: 'duplicate-public-address', text }
    }
    for (const { family, kind, reason, name, value } of uniqueValues(lease)) {
      const holder = left.has(family) ? oldest(family, [this.#uniques.get(kind)?.get(value)]) : undefined
      if (holder === undefined) continue
      return { reason, text: `its ${name} ${printable(value)} is that of ${this.#name(holder)}` }
    }
    return undefined
  }

  #oldestBut(lease: Lease, stands: Stands) {
    return (family: Family, found: Iterable<Held | undefined>): Lease | undefined => {
      let first: Lease | undefined
      for (const held of found) {
        for (const other of listOf(held)) {
          if (other === lease || (other !== this.#own && !stands(other, family))) continue
          if (first === undefined || this.#order(other, first) < 0) first = other
        }
      }
      return first
    }
  }

  /** Every other lease whose verdict may depend on this one. */
  concerned(lease: Lease): ReadonlySet<Lease> {
    const found = new Set<Lease>()
    const take = (held: Held | undefined) => {
      for (const other of listOf(held)) found.add(other)
    }
    for (const part of lease.families.values()) {
      for (const held of this.#overlapping(part.subnet)) take(held)
      take(this.#publicIps.get(part.publicIp))
      take(this.#inside.get(part.subnet))
      for (const held of this.#inside.inside(part.subnet)) take(held)
      for (const { address } of addressesOf(part)) {
        take(this.#subnets.get(hostCidr(address)))
        for (const held of this.#subnets.around(hostCidr(address))) take(held)
      }
    }
    for (const { kind, value } of uniqueValues(lease)) take(this.#uniques.get(kind)?.get(value))
    found.delete(lease)
    if (this.#own !== undefined) found.delete(this.#own)
    return found
  }

  #overlapping(subnet: Cidr): (Held | undefined)[] {
    return [this.#subnets.get(subnet), ...this.#subnets.around(subnet), ...this.#subnets.inside(subnet)]
  }

  #eachValue(lease: Lease, visit: <K>(table: Table<K>, key: K) => void): void {
    for (const [family, part] of lease.families) {
      visit(this.#subnets, part.subnet)
      visit(this.#publicIps, part.publicIp)
      for (const address of this.#addressesInNetwork(family, part)) visit(this.#inside, hostCidr(address))
    }
    for (const { kind, value } of uniqueValues(lease)) {
      let holders = this.#uniques.get(kind)
      if (holders === undefined) {
        holders = new Map()
        this.#uniques.set(kind, holders)
      }
      visit(holders, value)
    }
  }

  #addressesInNetwork(family: Family, part: FamilyLease): ReadonlySet<IpAddr> {
    const network = this.#network.families.get(family)?.network
    if (network === undefined || !isInside(network, part)) return NO_ADDRESSES
    return new Set(addressesOf(part).flatMap(({ address }) => (contains(network, address) ? [address] : [])))
  }

  /** The own lease before all others. */
  #order(a: Lease, b: Lease): number {
    if (a === this.#own || b === this.#own) return a === b ? 0 : a === this.#own ? -1 : 1
    return olderFirst(a, b)
  }

  #name(lease: Lease): string {
    return lease === this.#own ? 'this node' : `lease ${lease.id}, which goes first`
  }
}

const NO_ADDRESSES: ReadonlySet<IpAddr> = new Set()
const NOBODY: readonly Lease[] = []

function listOf(held: Held | undefined): readonly Lease[] {
  if (held === undefined) return NOBODY
  return Array.isArray(held) ? held : [held as Lease]
}

interface UniqueValue {
  readonly family: Family
  /** Field and family. */
  readonly kind: string
  readonly reason: string
  readonly name: string
  readonly value: string
}

function uniqueValues(lease: Lease): UniqueValue[] {
  const found: UniqueValue[] = []
  const paths: readonly PeerPath[] = [lease.primary, ...lease.accepts]
  for (const path of paths) {
    for (const [family, data] of path.data) {
      // Of one that the lease has lost nothing counts.
      if (!lease.families.has(family)) continue
      if (typeof data !== 'object' || data === null) continue
      for (const { field, reason, name } of uniqueFields) {
        const value = (data as Record<string, unknown>)[field]
        // Longer ones are no MAC and no key: the backend rejects them.
        if (typeof value !== 'string' || value.length > 64) continue
        const text = field === 'VtepMAC' ? value.toLowerCase() : value
        // Each family has a device of its own, so v4 and v6 may share a MAC, as they share a WireGuard key.
        found.push({ family, kind: `${field} ${family}`, reason, name, value: text })
      }
    }
  }
  return found
}
