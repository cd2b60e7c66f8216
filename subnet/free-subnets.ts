import {
  addressBits,
  type Cidr,
  cidrOf,
  contains,
  type Family,
  familyOf,
  ipFromNumber,
  ipToNumber,
  networkAddress,
} from '../lib/address.ts'
import { InvalidLease } from '../lib/errors.ts'
import { decodeLeaseKey } from './lease-codec.ts'
import type { FamilyNetwork, NetworkConfig } from './network-config.ts'
import { OwnSubnetRules } from './own-subnet-rules.ts'
import { RangeSet, rangeOf } from './range-set.ts'
import type { LeaseAttrs, LeaseSnapshot, PublishHints } from './types.ts'

export interface SubnetQuestion {
  readonly snapshot: LeaseSnapshot
  readonly want: LeaseAttrs
  readonly hints: PublishHints
  /** How many of the first free subnets to choose from: flannel's 100, more after lost races. */
  readonly window: number
  /** From 0 to below 1. */
  readonly random: () => number
}

/** The free subnets of a network at one moment. */
export class SubnetPools {
  readonly #question: SubnetQuestion
  readonly #taken: ReadonlyMap<Family, Cidr[]>
  readonly #harm: OwnSubnetRules

  constructor(question: SubnetQuestion) {
    this.#question = question
    this.#taken = takenSubnets(question.snapshot, question.hints.network)
    this.#harm = new OwnSubnetRules(question)
  }

  /** The previous one, else the preferred one, else one at random; or why there is none. */
  choose(family: Family, preferred?: Cidr): { readonly subnet: Cidr } | { readonly text: string } {
    const { hints } = this.#question
    const rules = hints.network.families.get(family)
    if (rules === undefined) throw new TypeError(`family ${family} is not enabled`)
    const harm = this.#harm
    const protectedRanges = (hints.protectedRanges ?? []).filter((range) => familyOf(range) === family)
    const busy = new RangeSet([...(this.#taken.get(family) ?? []), ...protectedRanges])
    const pool = { family, rules, busy, harm }
    const subnet =
      usableSubnet(hints.previous?.get(family), pool) ??
      usableSubnet(preferred, pool) ??
      randomSubnet(pool, this.#question)
    if (subnet !== undefined) return { subnet }
    const why = harm.example === undefined ? '' : ` whose addresses nobody needs: ${harm.example}`
    return {
      text: `no free subnet is left between ${rules.subnetMin} and ${rules.subnetMax} (/${rules.subnetLen})${why}`,
    }
  }
}

/** Where a subnet of one family is looked for. */
export interface SubnetPool {
  readonly family: Family
  readonly rules: FamilyNetwork
  /** Subnets that somebody has. */
  readonly busy: RangeSet
  readonly harm: Pick<OwnSubnetRules, 'allows'>
}

/** The subnet, where it may be had. */
function usableSubnet(subnet: Cidr | undefined, { rules, busy, harm }: SubnetPool): Cidr | undefined {
  if (subnet === undefined || !subnet.endsWith(`/${rules.subnetLen}`)) return undefined
  const { first } = rangeOf(subnet)
  if (first < ipToNumber(rules.subnetMin) || first > ipToNumber(rules.subnetMax)) return undefined
  return busy.overlapping(rangeOf(subnet)) === undefined && harm.allows(subnet) ? subnet : undefined
}

/** The subnet of one network that has the place there that `subnet` has in another one; undefined: the network is too small. */
export function subnetAtPlaceOf(subnet: Cidr, from: FamilyNetwork, to: FamilyNetwork): Cidr | undefined {
  const [own, other] = [familyOf(from.network), familyOf(to.network)]
  const distance = ipToNumber(networkAddress(subnet)) - ipToNumber(networkAddress(from.network))
  const place = distance >> BigInt(addressBits(own) - from.subnetLen)
  const first = ipToNumber(networkAddress(to.network)) + (place << BigInt(addressBits(other) - to.subnetLen))
  return distance >= 0n && first <= ipToNumber(to.subnetMax)
    ? cidrOf(ipFromNumber(other, first), to.subnetLen)
    : undefined
}

function randomSubnet(pool: SubnetPool, question: SubnetQuestion): Cidr | undefined {
  const free = freeSubnets(pool, question.window)
  return free[Math.floor(question.random() * free.length)]
}

/** The first `most` free subnets between min and max, in order. */
export function freeSubnets({ family, rules, busy, harm }: SubnetPool, most: number): Cidr[] {
  const size = 1n << BigInt((family === 4 ? 32 : 128) - rules.subnetLen)
  const end = ipToNumber(rules.subnetMax)
  const free: Cidr[] = []
  for (let at = ipToNumber(rules.subnetMin); at <= end && free.length < most; ) {
    const range =
      family === 4 ? { first: Number(at), last: Number(at + size) - 1 } : { first: at, last: at + size - 1n }
    const taken = busy.overlapping(range)
    const subnet = taken === undefined ? cidrOf(ipFromNumber(family, at), rules.subnetLen) : undefined
    if (subnet !== undefined && harm.allows(subnet)) free.push(subnet)
    // A large foreign range is left in one step; a small one costs the whole candidate.
    const next = taken === undefined || taken.last <= range.last ? BigInt(range.last) : BigInt(taken.last)
    at = next + 1n
  }
  return free
}

/**
 * Every subnet that any key names: also where the value cannot be read, for its key is in the way all the same. Not one as wide as
 * the network, which is nobody's subnet: it would leave no address for anyone.
 */
export function takenSubnets(snapshot: LeaseSnapshot, network: NetworkConfig): ReadonlyMap<Family, Cidr[]> {
  const taken = new Map<Family, Cidr[]>([
    [4, []],
    [6, []],
  ])
  const take = (family: Family, subnet: Cidr) => {
    const rules = network.families.get(family)
    if (rules !== undefined && !contains(subnet, rules.network)) taken.get(family)?.push(subnet)
  }
  for (const lease of snapshot.leases.values()) {
    for (const [family, { subnet }] of lease.families) take(family, subnet)
  }
  for (const { id } of snapshot.unreadable) {
    for (const [family, subnet] of subnetsOfKey(id)) take(family, subnet)
  }
  return taken
}

function subnetsOfKey(id: string): ReadonlyMap<Family, Cidr> {
  try {
    return decodeLeaseKey(id) ?? new Map()
  } catch (cause) {
    if (cause instanceof InvalidLease) return new Map()
    throw cause
  }
}
