import { type Cidr, cidrOf, type Family, networkAddress, prefixLength } from '../lib/address.ts'
import { printable } from '../lib/errors.ts'
import type { NetworkConfig } from './network-config.ts'
import type { Lease, PeerPath } from './types.ts'

/** What stands in BackendData and must be one node's alone. */
const uniqueFields: readonly { readonly field: string; readonly reason: string; readonly name: string }[] = [
  { field: 'VtepMAC', reason: 'duplicate-mac', name: 'VTEP MAC' },
  { field: 'PublicKey', reason: 'duplicate-key', name: 'public key' },
]

/** Remembers what accepted leases hold, so that a younger one with the same is found at once: by key, never by comparing pairs. */
export class DuplicateFinder {
  readonly #holders = new Map<string, string>()
  readonly #subnets = new Map<Family, SubnetTree>([
    [4, new SubnetTree()],
    [6, new SubnetTree()],
  ])

  add(lease: Lease, holder: string): void {
    for (const [family, part] of lease.families) {
      this.#holders.set(`address ${part.publicIp}`, holder)
      this.#subnets.get(family)?.add(part.subnet, holder)
    }
    for (const { key } of uniqueValues(lease)) this.#holders.set(key, holder)
  }

  find(lease: Lease, network: NetworkConfig): { reason: string; text: string } | undefined {
    for (const [family, { subnet, publicIp }] of lease.families) {
      if (!network.families.has(family)) continue
      const overlapped = this.#subnets.get(family)?.overlapping(subnet)
      if (overlapped !== undefined)
        return { reason: 'overlap', text: `${subnet} overlaps the subnet of ${overlapped}, which is older` }
      const holder = this.#holders.get(`address ${publicIp}`)
      if (holder !== undefined) {
        return {
          reason: 'duplicate-public-address',
          text: `its public address ${publicIp} is that of ${holder}, which is older`,
        }
      }
    }
    for (const { key, reason, name, value } of uniqueValues(lease)) {
      const holder = this.#holders.get(key)
      if (holder !== undefined)
        return { reason, text: `its ${name} ${printable(value)} is that of ${holder}, which is older` }
    }
    return undefined
  }
}

function uniqueValues(lease: Lease): { key: string; reason: string; name: string; value: string }[] {
  const found: { key: string; reason: string; name: string; value: string }[] = []
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
        found.push({ key: `${field} ${family} ${text}`, reason, name, value: text })
      }
    }
  }
  return found
}

/** Accepted subnets, none of which overlap. Lookups cost one step per prefix length in use: one, in etcd. */
class SubnetTree {
  /** By length: the subnets themselves, and what lies above longer ones. */
  readonly #held = new Map<number, Map<Cidr, string>>()
  readonly #above = new Map<number, Map<Cidr, string>>()

  add(subnet: Cidr, holder: string): void {
    const length = prefixLength(subnet)
    let held = this.#held.get(length)
    if (held === undefined) {
      held = new Map()
      this.#held.set(length, held)
    }
    held.set(subnet, holder)
    for (const [shorter, parents] of this.#above) {
      if (shorter < length) parents.set(truncate(subnet, shorter), holder)
    }
  }

  overlapping(subnet: Cidr): string | undefined {
    const length = prefixLength(subnet)
    for (const [other, held] of this.#held) {
      if (other > length) continue
      const holder = held.get(other === length ? subnet : truncate(subnet, other))
      if (holder !== undefined) return holder
    }
    return this.#parentsAt(length).get(subnet)
  }

  #parentsAt(length: number): Map<Cidr, string> {
    const known = this.#above.get(length)
    if (known !== undefined) return known
    const parents = new Map<Cidr, string>()
    for (const [longer, held] of this.#held) {
      if (longer <= length) continue
      for (const [subnet, holder] of held) parents.set(truncate(subnet, length), holder)
    }
    this.#above.set(length, parents)
    return parents
  }
}

function truncate(subnet: Cidr, length: number): Cidr {
  return cidrOf(networkAddress(subnet), length)
}
