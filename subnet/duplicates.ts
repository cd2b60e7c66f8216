import { type Cidr, cidrOf, type Family, type IpAddr, networkAddress, prefixLength } from '../lib/address.ts'
import { printable } from '../lib/errors.ts'
import type { NetworkConfig } from './network-config.ts'
import type { Lease, PeerPath } from './types.ts'

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
  readonly #subnets = new Map<Family, SubnetTree>([
    [4, new SubnetTree()],
    [6, new SubnetTree()],
  ])
  readonly #own: Lease | undefined

  constructor(own: Lease | undefined) {
    this.#own = own
    if (own !== undefined) this.add(own)
  }

  add(lease: Lease): void {
    for (const [family, part] of lease.families) {
      this.#addresses.set(part.publicIp, lease)
      this.#subnets.get(family)?.add(part.subnet, lease)
    }
    for (const { kind, value } of uniqueValues(lease)) {
      const holders = this.#uniques.get(kind)
      if (holders === undefined) this.#uniques.set(kind, new Map([[value, lease]]))
      else holders.set(value, lease)
    }
  }

  /** Takes back what `add` remembered. */
  forget(lease: Lease): void {
    for (const [family, part] of lease.families) {
      if (this.#addresses.get(part.publicIp) === lease) this.#addresses.delete(part.publicIp)
      this.#subnets.get(family)?.remove(part.subnet)
    }
    for (const { kind, value } of uniqueValues(lease)) {
      const holders = this.#uniques.get(kind)
      if (holders?.get(value) === lease) holders.delete(value)
    }
  }

  find(lease: Lease, network: NetworkConfig): { reason: string; text: string } | undefined {
    for (const [family, { subnet, publicIp }] of lease.families) {
      if (!network.families.has(family)) continue
      const overlapped = this.#subnets.get(family)?.overlapping(subnet)
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

/** Accepted subnets, none of which overlap. Lookups cost one step per prefix length in use: one, in etcd. */
class SubnetTree {
  /** By length: the subnets themselves, and what lies above longer ones. */
  readonly #held = new Map<number, Map<Cidr, Lease>>()
  readonly #above = new Map<number, Map<Cidr, Lease>>()

  add(subnet: Cidr, lease: Lease): void {
    const length = prefixLength(subnet)
    let held = this.#held.get(length)
    if (held === undefined) {
      held = new Map()
      this.#held.set(length, held)
    }
    held.set(subnet, lease)
    for (const [shorter, parents] of this.#above) {
      if (shorter < length) parents.set(truncate(subnet, shorter), lease)
    }
  }

  remove(subnet: Cidr): void {
    this.#held.get(prefixLength(subnet))?.delete(subnet)
    // Another subnet may lie below the same parent: found again when it is asked for.
    this.#above.clear()
  }

  overlapping(subnet: Cidr): Lease | undefined {
    const length = prefixLength(subnet)
    for (const [other, held] of this.#held) {
      if (other > length) continue
      const holder = held.get(other === length ? subnet : truncate(subnet, other))
      if (holder !== undefined) return holder
    }
    return this.#parentsAt(length).get(subnet)
  }

  #parentsAt(length: number): Map<Cidr, Lease> {
    const known = this.#above.get(length)
    if (known !== undefined) return known
    const parents = new Map<Cidr, Lease>()
    for (const [longer, held] of this.#held) {
      if (longer <= length) continue
      for (const [subnet, lease] of held) parents.set(truncate(subnet, length), lease)
    }
    this.#above.set(length, parents)
    return parents
  }
}

function truncate(subnet: Cidr, length: number): Cidr {
  return cidrOf(networkAddress(subnet), length)
}
