import { contains, type Family, type IpAddr } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'
import { type Configuration, hasSameFamilies, wayKey } from '../node/configuration.ts'
import type { Objection } from './objection.ts'

/** What a change of the enabled families meets on this node. */
export interface FamiliesInUse {
  readonly own: Lease | undefined
  /** Addresses by which this host reaches containers; undefined: the host was not read yet. */
  readonly occupied: readonly IpAddr[] | undefined
  /** A change of the backend is under way: whom it has moved is known by the leases, which get other names with other families. */
  readonly isChanging?: boolean | undefined
}

/** What keeps a node from having other families than now; none: it has them. Pure. */
export function familyObjections(
  next: Configuration,
  inUse: Configuration,
  known: FamiliesInUse,
): readonly Objection[] {
  if (hasSameFamilies(next, inUse)) return []
  const stays = [...next.network.families.keys()].some((family) => inUse.network.families.has(family))
  if (!stays)
    return [
      {
        path: 'EnableIPv4',
        text: 'no family would stay: a node that has one has nothing to go on with meanwhile',
        remedy: 'two edits: turn the second family on first; when all nodes have it, turn the first one off',
      },
    ]
  if (wayKey(next) !== wayKey(inUse))
    return [
      {
        path: 'Backend',
        text: `${inUse.backend.type} would change together with the families: each is made sure of by the other one staying`,
        remedy: 'two edits, one after the other, in any order: EnableIPv4 and EnableIPv6, and Backend',
      },
    ]
  if (known.isChanging)
    return [
      {
        path: 'EnableIPv6',
        text: 'a change of the backend is under way, the families follow when it is over',
        remedy: 'none is needed: it is used then by itself; `flanneld status` says who is waited for',
      },
    ]
  return leavingFamilies(next, inUse, known)
}

/** Families in whose subnet of this node a device of containers has an address. */
export function leavingFamilies(
  next: Configuration,
  inUse: Configuration,
  { own, occupied }: FamiliesInUse,
): readonly Objection[] {
  return [...inUse.network.families.keys()].flatMap((family): Objection[] => {
    const subnet = next.network.families.has(family) ? undefined : own?.families.get(family)?.subnet
    if (subnet === undefined) return []
    const key = keyOf(family)
    if (occupied === undefined)
      return [
        {
          path: key,
          text: `it is not known yet whether containers of this host have addresses of ${subnet}`,
          remedy: 'none is needed: it is used by itself when there are none',
        },
      ]
    const address = occupied.find((each) => contains(subnet, each))
    if (address === undefined) return []
    return [
      {
        path: key,
        text: `containers of this host have addresses of ${subnet}, its IPv${family} subnet (by ${address} of this host)`,
        remedy: `it is used by itself when there are none: stop those containers, or take ${address} from this host's end (bridge or veth); or set ${key} to true again`,
      },
    ]
  })
}

function keyOf(family: Family): string {
  return `EnableIPv${family}`
}
