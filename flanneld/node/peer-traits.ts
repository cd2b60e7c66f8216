import type { Reach } from '../../backends/backend.ts'
import { contains, FAMILIES, type Family, type IpAddr, prefixLength } from '../../lib/address.ts'
import type { Change } from '../../lib/persistent-map.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import { isInside } from '../../subnet/peer-addresses.ts'
import type { Lease } from '../../subnet/types.ts'
import { addressesInside, type OwnSide } from './own-addresses.ts'

/**
 * What the node's own objects depend on of all peers together, a word each: the lengths of their subnets (`4/24`), that one of
 * them has an address inside the network (`4 inside`), and on which links there are some (`on eth0`). Few words, whatever the
 * number of peers, of which each counts how many peers it is true of.
 */
export class PeerTraits {
  readonly #network: NetworkConfig
  readonly #counts = new Map<string, number>()
  #words: ReadonlySet<string> = new Set()

  constructor(network: NetworkConfig) {
    this.#network = network
  }

  /** The same object while no word comes or goes. */
  get words(): ReadonlySet<string> {
    return this.#words
  }

  change(leases: readonly Change<Lease>[], reached: readonly Change<Reach>[]): void {
    for (const { before, after } of leases) {
      if (after !== undefined) this.#add(traitsOf(this.#network, after), 1)
      if (before !== undefined) this.#add(traitsOf(this.#network, before), -1)
    }
    for (const { before, after } of reached) {
      if (after?.onLink !== undefined) this.#add([linkTrait(after.onLink)], 1)
      if (before?.onLink !== undefined) this.#add([linkTrait(before.onLink)], -1)
    }
    const { size } = this.#words
    const isSame = size === this.#counts.size && [...this.#words].every((word) => this.#counts.has(word))
    if (!isSame) this.#words = new Set(this.#counts.keys())
  }

  #add(words: readonly string[], many: number): void {
    for (const word of words) {
      const count = (this.#counts.get(word) ?? 0) + many
      if (count === 0) this.#counts.delete(word)
      else this.#counts.set(word, count)
    }
  }
}

/** Of peers that are not known: their hosts may have addresses inside the network, which no route to all of it may take away. */
export const ANYWHERE: ReadonlySet<string> = new Set(FAMILIES.map(insideTrait))

function traitsOf(network: NetworkConfig, lease: Lease): readonly string[] {
  return [...lease.families].flatMap(([family, part]) => {
    const whole = network.families.get(family)?.network
    if (whole === undefined) return []
    const length = lengthTrait(family, prefixLength(part.subnet))
    return isInside(whole, part) ? [length, insideTrait(family)] : [length]
  })
}

/** Lengths of subnets in use, the longest first: those of the peers, the own one, and the one of the configuration. */
export function lengthsInUse(
  traits: ReadonlySet<string>,
  { network, own }: { readonly network: NetworkConfig; readonly own: Lease },
  family: Family,
): readonly number[] {
  const subnet = own.families.get(family)?.subnet
  const known = [network.families.get(family)?.subnetLen, subnet && prefixLength(subnet)]
  const ofPeers = [...traits].filter((trait) => trait.startsWith(`${family}/`)).map((trait) => Number(trait.slice(2)))
  const lengths = [...known.filter((length) => length !== undefined), ...ofPeers]
  return [...new Set(lengths)].sort((a, b) => b - a)
}

/**
 * Families in whose network there is an address that outer packets or the store need: of this host, of a peer, of the store
 * (`store`: its endpoints, as far as they are given as addresses). Gateways need no route of their own.
 */
export function underlayInside(
  traits: ReadonlySet<string>,
  side: OwnSide,
  store: readonly IpAddr[] = [],
): ReadonlySet<Family> {
  const inside = [...side.network.families].filter(
    ([family, { network }]) =>
      traits.has(insideTrait(family)) ||
      addressesInside(side, family).length > 0 ||
      store.some((address) => contains(network, address)),
  )
  return new Set(inside.map(([family]) => family))
}

/** Devices by which peers on the same link may send without a tunnel, the uplink first; on these the guard judges what claims to be a container. */
export function judgedLinks(uplink: string, traits: ReadonlySet<string>): readonly string[] {
  const start = linkTrait('')
  const links = [...traits].flatMap((trait) => (trait.startsWith(start) ? [trait.slice(start.length)] : []))
  return [uplink, ...links.filter((link) => link !== uplink).sort()]
}

function linkTrait(device: string): string {
  return `on ${device}`
}

function lengthTrait(family: Family, length: number): string {
  return `${family}/${length}`
}

function insideTrait(family: Family): string {
  return `${family} inside`
}
