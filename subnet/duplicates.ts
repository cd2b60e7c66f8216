import { hostCidr, type IpAddr } from '../lib/address.ts'
import { printable } from '../lib/errors.ts'
import type { NetworkConfig } from './network-config.ts'
import { addressesOf } from './peer-addresses.ts'
import { PrefixMap } from './prefix-map.ts'
import type { FamilyLease, Lease, PeerPath } from './types.ts'

/** What stands in BackendData and must be one node's alone. */
const uniqueFields: readonly { readonly field: string; readonly reason: string; readonly name: string }[] = [
  { field: 'VtepMAC', reason: 'duplicate-mac', name: 'VTEP MAC' },
  { field: 'PublicKey', reason: 'duplicate-key', name: 'public key' },
]

/**
 * Remembers what accepted leases hold, so that a younger one with the same is found at once: by key, never by comparing pairs.
 * The keys are the leases' own strings, of which there are thousands.
 */
export class DuplicateFinder {
  readonly #addresses = new Map<IpAddr, Lease>()
  /** By field and family. */
  readonly #uniques = new Map<string, Map<string, Lease>>()
  /** None of them overlap. */
  readonly #subnets = new PrefixMap<Lease>()
  readonly #own: Lease | undefined

  constructor(own: Lease | undefined) {
    this.#own = own
    if (own !== undefined) this.add(own)
  }

  add(lease: Lease): void {
    for (const part of lease.families.values()) {
      this.#addresses.set(part.publicIp, lease)
      this.#subnets.set(part.subnet, lease)
    }
    for (const { kind, value } of uniqueValues(lease)) {
      const holders = this.#uniques.get(kind)
      if (holders === undefined) this.#uniques.set(kind, new Map([[value, lease]]))
      else holders.set(value, lease)
    }
  }

  /** Takes back what `add` remembered. */
  forget(lease: Lease): void {
    for (const part of lease.families.values()) {
      if (this.#addresses.get(part.publicIp) === lease) this.#addresses.delete(part.publicIp)
      if (this.#subnets.get(part.subnet) === lease) this.#subnets.delete(part.subnet)
    }
    for (const { kind, value } of uniqueValues(lease)) {
      const holders = this.#uniques.get(kind)
      if (holders?.get(value) === lease) holders.delete(value)
    }
  }

  find(lease: Lease, network: NetworkConfig): { reason: string; text: string } | undefined {
    for (const [family, { subnet, publicIp }] of lease.families) {
      if (!network.families.has(family)) continue
      const overlapped = this.#subnets.overlapping(subnet)
      if (overlapped !== undefined)
        return { reason: 'overlap', text: `${subnet} overlaps the subnet of ${this.#name(overlapped)}` }
      const holder = this.#addresses.get(publicIp)
      if (holder !== undefined) {
        return {
          reason: 'duplicate-public-address',
          text: `its public address ${publicIp} is that of ${this.#name(holder)}`,
        }
      }
    }
    for (const { kind, reason, name, value } of uniqueValues(lease)) {
      const holder = this.#uniques.get(kind)?.get(value)
      if (holder !== undefined)
        return { reason, text: `its ${name} ${printable(value)} is that of ${this.#name(holder)}` }
    }
    return undefined
  }

  /** The first of these addresses that lies in a subnet, and whose that is. */
  around(part: FamilyLease) {
    for (const { which, address } of addressesOf(part)) {
      const [lease] = this.#subnets.around(hostCidr(address))
      if (lease !== undefined) return { which, address, lease }
    }
    return undefined
  }

  #name(lease: Lease): string {
    return lease === this.#own ? 'this node' : `lease ${lease.id}, which is older`
  }
}

function uniqueValues(lease: Lease): { kind: string; reason: string; name: string; value: string }[] {
  const found: { kind: string; reason: string; name: string; value: string }[] = []
  const paths: readonly PeerPath[] = [lease.primary, ...lease.accepts]
  for (const path of paths) {
    for (const [family, data] of path.data) {
      if (typeof data !== 'object' || data === null) continue
      for (const { field, reason, name } of uniqueFields) {
        const value = (data as Record<string, unknown>)[field]
        // Longer ones are no MAC and no key: the backend rejects them.
        if (typeof value !== 'string' || value.length > 64) continue
        const text = field === 'VtepMAC' ? value.toLowerCase() : value
        // Each family has a device of its own, so v4 and v6 may share a MAC, as they share a WireGuard key.
        found.push({ kind: `${field} ${family}`, reason, name, value: text })
      }
    }
  }
  return found
}
