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
  readonly #forbidden: readonly { reason: string; label: string; ranges: RangeSet }[]
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
    this.#forbidden = [
      {
        reason: 'own-subnet',
        label: 'the own subnet',
        ranges: new RangeSet(this.#own === undefined ? [] : [this.#own]),
      },
      {
        reason: 'protected-range',
        label: 'the protected',
        ranges: new RangeSet(needs.protectedRanges.filter(isOfFamily)),
      },
    ]
  }

  judge(subnet: Cidr): { reason: string; text: string } | undefined {
    const range = rangeOf(subnet)
    if (range.first < this.#range.first || range.last > this.#range.last) {
      return { reason: 'outside-network', text: `${subnet} does not lie inside ${this.#network}` }
    }
    for (const { reason, label, ranges } of this.#forbidden) {
      const other = ranges.overlapping(range)
      if (other !== undefined) return { reason, text: `${subnet} overlaps ${label} ${other.cidr}` }
    }
    return this.#harm.ofPeer(subnet, this.#own)
  }
}
