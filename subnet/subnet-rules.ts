import { type Cidr, type Family, familyOf, prefixLength } from '../lib/address.ts'
import type { NetworkConfig } from './network-config.ts'
import { RangeSet, rangeOf } from './range-set.ts'
import type { HarmRules } from './surroundings.ts'
import type { Lease } from './types.ts'

/** Where a peer's subnet of one family may lie, whatever other peers there are. Its length is free: `SubnetLen` may have been another one. */
export class SubnetRules {
  readonly #network: Cidr
  readonly #range: ReturnType<typeof rangeOf>
  readonly #own: Cidr | undefined
  readonly #ownRange: RangeSet
  /** Undefined: there is none, as a rule. */
  readonly #protected: RangeSet | undefined
  readonly #harm: HarmRules

  constructor(
    needs: { network: NetworkConfig; own: Lease | undefined; protectedRanges: readonly Cidr[]; harm: HarmRules },
    family: Family,
  ) {
    const rules = needs.network.families.get(family)
    if (rules === undefined) throw new TypeError(`family ${family} is not enabled`)
    this.#network = rules.network
    this.#range = rangeOf(rules.network)
    this.#own = needs.own?.families.get(family)?.subnet
    this.#harm = needs.harm
    const isOfFamily = (cidr: Cidr) => familyOf(cidr) === family && prefixLength(cidr) > 0
    const protectedRanges = needs.protectedRanges.filter(isOfFamily)
    this.#ownRange = new RangeSet(this.#own === undefined ? [] : [this.#own])
    this.#protected = protectedRanges.length === 0 ? undefined : new RangeSet(protectedRanges)
  }

  /** Whether it is a subnet of the network. */
  judge(subnet: Cidr): { reason: string; text: string } | undefined {
    const range = rangeOf(subnet)
    if (range.first < this.#range.first || range.last > this.#range.last) {
      return { reason: 'outside-network', text: `${subnet} does not lie inside ${this.#network}` }
    }
    return undefined
  }

  /** What a route to it would take away from this host: that says nothing against the peer's other family. */
  harmOf(subnet: Cidr): { reason: string; text: string } | undefined {
    if (this.#ownRange.overlapping(rangeOf(subnet)) !== undefined) {
      return { reason: 'own-subnet', text: `${subnet} overlaps the own subnet ${this.#own}` }
    }
    const other = this.#protected?.overlapping(rangeOf(subnet))
    if (other !== undefined) {
      return { reason: 'protected-range', text: `${subnet} overlaps the protected ${other.cidr}` }
    }
    return this.#harm.ofPeer(subnet, this.#own)
  }
}
