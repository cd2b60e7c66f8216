import { contains, type Family } from '../../lib/address.ts'
import { printable } from '../../lib/errors.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { LastKnown, Moment, StoreIdentity } from './record.ts'

/** Pure: what of a record may be believed, and for how long. */

const HOUR_MS = 3_600_000
/** No lease lives longer (flannel's 86,400 s), whatever a record says. */
const LONGEST_LEASE_MS = 24 * HOUR_MS
/** The clock of a host is set while it runs; so much is no other time. */
const SLEW_MS = 60_000

/** Who this node is, and which store it asks. */
export interface Here {
  readonly nodeId: string
  /** Id of the only lease that can be this node's; absent: not known before the store answers. */
  readonly leaseId?: string
  readonly store: StoreIdentity
}

/** Why the record is not of this node and its store; undefined: it is. */
export function whyForeign({ nodeId, store, own }: LastKnown, here: Here): string | undefined {
  if (nodeId !== here.nodeId) return 'it is of another node'
  if (store.kind !== here.store.kind) return `it is of leases from ${store.kind}`
  // A machine that was cloned with its state directory has the NodeID of its template.
  const isOther = here.leaseId !== undefined && own.lease.id !== here.leaseId
  if (isOther) return `it is of the Node ${printable(own.lease.id)}, and this is ${printable(here.leaseId)}`
  if (store.prefix !== here.store.prefix) return `it is of the prefix ${store.prefix}`
  const isShared = here.store.marks.some((mark) => store.marks.includes(mark))
  return isShared ? undefined : 'it is of another cluster: no endpoint or certificate of it is one of this one'
}

/** Why its leases are not those of this network; undefined: they are. */
export function whyOtherNetwork({ networks, own }: LastKnown, { families }: NetworkConfig): string | undefined {
  const text = (entries: Iterable<readonly [Family, string]>) =>
    [...entries]
      .sort(([a], [b]) => a - b)
      .map(([, network]) => network)
      .join(' ')
  // A family may have been turned on or off since then.
  const known = [...networks].filter(([family]) => families.has(family))
  const enabled = [...families].filter(([family]) => networks.has(family))
  const [then, now] = [text(known), text(enabled.map(([family, { network }]) => [family, network]))]
  if (then === '') return 'it is of another family'
  if (then !== now) return `it is of the network ${then}, not of ${now}`
  const parts = [...own.lease.families]
  const isInside = parts.every(([family, { subnet }]) => contains(families.get(family)?.network ?? subnet, subnet))
  return isInside ? undefined : 'its own subnet lies outside the network'
}

/**
 * Milliseconds from now on for which the own lease is certain to have an hour left; 0: it may have expired. Infinite for one that
 * does not run out. Within one boot the time since it was written is that of the kernel; after another start of the host the wall clock
 * has to do, and one that stands before the time of writing tells nothing.
 */
export function goodForMs({ own: { expiresAt }, written }: Pick<LastKnown, 'own' | 'written'>, now: Moment): number {
  if (expiresAt === undefined) return Number.POSITIVE_INFINITY
  const isSameBoot = written.bootId !== '' && written.bootId === now.bootId
  const elapsed = isSameBoot ? now.uptimeMs - written.uptimeMs : now.wall - written.wall
  if (elapsed < (isSameBoot ? 0 : -SLEW_MS)) return 0
  const left = Math.min(expiresAt - written.wall, LONGEST_LEASE_MS) - elapsed
  return Math.max(0, left - HOUR_MS)
}

/** Of a configuration: what is kept on the disk holds none. */
export function holdsSecret(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return Object.entries(value).some(
    ([key, item]) => (/psk|key|password|secret/i.test(key) && item !== '' && item !== null) || holdsSecret(item),
  )
}
