import { carriedFamilies } from '../../backends/families.ts'
import type { AnyBackend } from '../../backends/registry.ts'
import { type Cidr, contains, type Family, prefixLength } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'
import type { Configuration } from '../node/configuration.ts'
import { type FamiliesInUse, familyObjections } from './family-change.ts'
import type { Objection } from './objection.ts'

/** Who would lose something by another configuration. */
export interface LeasesInUse extends FamiliesInUse {
  /** All of them; undefined: they are not known yet. */
  readonly leases: ReadonlyMap<string, Lease> | undefined
}

/** A node that has its own lease before it knows of any other. */
const OTHERS_AWAITED: Objection = {
  path: 'Network',
  text: 'the leases of the other nodes are not known yet, and with them whose subnets would not lie in it',
  remedy: 'none is needed: it is judged again when they are read; `flanneld status` says why they are not',
}
const NO_LEASES: ReadonlyMap<string, Lease> = new Map()
const NAMED = 3

export interface KnownLeases extends Pick<LeasesInUse, 'own'> {
  readonly leases: NonNullable<LeasesInUse['leases']>
}

/** What a change would take away that works, the gravest first; none: it may be used. Pure. */
export function objections(next: Configuration, inUse: Configuration, inView: LeasesInUse): readonly Objection[] {
  const { own, leases } = inView
  // Whom it would take what from can be said of all or of none.
  if (leases === undefined && own !== undefined) return [OTHERS_AWAITED]
  return [
    ...renumbering(next, inUse, { own, leases: leases ?? NO_LEASES }),
    ...familyObjections(next, inUse, inView),
    ...leftFamilies(next, inUse),
    ...gbpAlone(next, inUse),
  ]
}

/** Of containers that run: their addresses cannot be changed under them. */
export function renumbering(
  next: Configuration,
  inUse: Configuration,
  { own, leases }: KnownLeases,
): readonly Objection[] {
  return [...next.network.families].flatMap(([family, rules]): Objection[] => {
    const before = inUse.network.families.get(family)
    if (before === undefined) return []
    const name = family === 4 ? '' : 'IPv6'
    const subnetOf = (lease: Lease) => lease.families.get(family)?.subnet
    const ownSubnet = own && subnetOf(own)
    if (ownSubnet !== undefined && next.subnets === 'leased' && contains(rules.network, ownSubnet)) {
      const length = prefixLength(ownSubnet)
      // One of another length than the last configuration's is no newer fault.
      if (length !== rules.subnetLen && length === before.subnetLen) {
        const others = othersThat(leases, own, (lease) => hasLength(subnetOf(lease), before.subnetLen))
        return [
          refusedBy(
            `${name}SubnetLen`,
            `${rules.subnetLen} is not the length of ${ownSubnet}, the subnet of this node`,
            others,
            inUse,
          ),
        ]
      }
    }
    const leaves = (subnet: Cidr | undefined) =>
      subnet !== undefined && contains(before.network, subnet) && !contains(rules.network, subnet)
    const others = othersThat(leases, own, (lease) => leaves(subnetOf(lease)))
    if (leaves(ownSubnet))
      return [
        refusedBy(
          `${name}Network`,
          `${ownSubnet}, the subnet of this node, does not lie in ${rules.network}`,
          others,
          inUse,
        ),
      ]
    const [first] = others
    if (first === undefined) return []
    return [refusedBy(`${name}Network`, `the subnet of another node does not lie in ${rules.network}`, others, inUse)]
  })
}

function refusedBy(path: string, why: string, others: readonly Lease[], inUse: Configuration): Objection {
  const named = others.slice(0, NAMED).map(({ id }) => id)
  const more = others.length > NAMED ? ` and ${others.length - NAMED} more` : ''
  const also = others.length === 0 ? '' : `; to be renumbered besides: ${named.join(', ')}${more}`
  return {
    path,
    text: `${why}${also}`,
    remedy: `put ${path} of ${inUse.origin} back; or renumber, one host after another: stop its containers, then restart flanneld`,
  }
}

function othersThat(leases: KnownLeases['leases'], own: Lease | undefined, fits: (lease: Lease) => boolean) {
  return [...leases.values()].filter((lease) => lease.id !== own?.id && !lease.reserved && fits(lease))
}

function hasLength(subnet: Cidr | undefined, length: number): boolean {
  return subnet !== undefined && prefixLength(subnet) === length
}

function leftFamilies(next: Configuration, inUse: Configuration): readonly Objection[] {
  const carried = carriedFamilies(next.backend as AnyBackend, next.network)
  const left = carriedFamilies(inUse.backend, inUse.network).filter(
    (family: Family) => next.network.families.has(family) && !carried.includes(family),
  )
  if (left.length === 0) return []
  const names = left.map((family) => `IPv${family}`).join(' and ')
  return [
    {
      path: 'Backend.Type',
      text: `${next.backend.type} does not carry ${names}, which ${inUse.backend.type} carries now`,
      remedy: `use a backend that carries ${names} (vxlan, host-gw), or set Enable${names} to false`,
    },
  ]
}

/** The kernel refuses a second device with GBP on one port ("Address already in use"), and changes none alive. */
function gbpAlone(next: Configuration, inUse: Configuration): readonly Objection[] {
  if (next.backend.type !== 'vxlan' || inUse.backend.type !== 'vxlan') return []
  const before = inUse.backend.written(inUse.config)
  const after = next.backend.written(next.config)
  if (before['GBP'] === after['GBP'] || before['Port'] !== after['Port']) return []
  return [
    {
      path: 'Backend.GBP',
      text: `${after['GBP']} on port ${after['Port']}, where a device with ${before['GBP']} stands: the kernel has one of them on a port`,
      remedy: 'change Backend.Port with it; both ways stand side by side then',
    },
  ]
}
