import type { Notice, SkippedPeer } from '../../backends/backend.ts'
import type { Failure, ReconcileStatus } from '../../kernel/desired.ts'
import { missingModule } from '../../kernel/kinds/missing-module.ts'
import { unmetRequirements } from '../../kernel/reconciler/settlement.ts'
import { contains, familyOf, type IpAddr } from '../../lib/address.ts'
import { ConfigError, messageOf, printable } from '../../lib/errors.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { Overlap } from '../../subnet/route-overlaps.ts'
import type { Harm } from '../../subnet/surroundings.ts'
import type { RejectedLease, StoreHealth } from '../../subnet/types.ts'
import type { Kept } from '../host/kept-choice.ts'
import type { LeaseState } from '../leases/lease-keeper.ts'
import type { PeerVerdicts } from '../leases/peer-view.ts'
import { isByDesign } from './by-design.ts'
import { remedyOfRefusal } from './fault-conditions.ts'
import type { Check } from './health.ts'
import { leaseConditions } from './lease-conditions.ts'
import { remedyFor } from './remedies.ts'
import type { Condition } from './status.ts'

/** Pure: what the parts say of themselves, as conditions and as reasons for not being ready. */

/** `fault`: why the host could not be read; undefined: it was. */
export function hostConditions(choice: Kept | undefined, fault: unknown): readonly Condition[] {
  const conditions: Condition[] = []
  if (fault !== undefined) {
    conditions.push({
      code: 'host-unreadable',
      severity: 'warning',
      text: `the interfaces of this host cannot be read, the last ones known count: ${messageOf(fault)}`,
      remedy: 'it is tried again every second; see the log of the kernel (dmesg)',
    })
  }
  if (choice?.fault !== undefined) {
    conditions.push({
      code: 'interface-lost',
      severity: 'warning',
      text: `the external interface cannot be used now, the last choice stays: ${choice.fault}`,
      remedy: 'bring it back, or name another by --iface and restart',
    })
  }
  if (choice?.lacks !== undefined) {
    conditions.push({
      code: 'family-without-interface',
      severity: 'warning',
      text: `the network has a family that this host cannot carry, the other one goes on: ${choice.lacks}`,
      remedy: 'give the interface an address of that family, or name one that has both by --iface and restart',
    })
  }
  if (choice?.notice !== undefined) {
    conditions.push({
      code: 'interface-kept',
      severity: 'info',
      text: choice.notice,
      remedy: 'none is needed: what works stays in use; name another by --iface and restart to have that one',
    })
  }
  return conditions
}

/** Nothing can be begun without one; the store has not answered either, so this host may only be on its way up. */
export function awaitedInterface(why: string): Condition {
  return {
    code: 'interface-awaited',
    severity: 'warning',
    text: `${why}; it is waited for as long as the lease store does not answer`,
    remedy:
      'see whether the network of this host is up (cable, DHCP); or name another interface by --iface and restart',
  }
}

export function datastoreConditions(health: StoreHealth): readonly Condition[] {
  // Before the first answer or refusal nothing is known.
  if (health.up || (health.lastSuccess === undefined && health.error === undefined)) return []
  const since =
    health.lastSuccess === undefined ? 'never reached' : `last heard at ${new Date(health.lastSuccess).toISOString()}`
  return [
    {
      code: 'datastore-down',
      severity: 'warning',
      text: `the lease store does not answer (${since}): ${health.error ?? 'no reason known'}`,
      remedy: `traffic goes on with what is known; ${health.remedy ?? 'check the etcd endpoints, the certificates and the network'}`,
    },
  ]
}

/** Packets to a Service are rewritten before they are routed: to a pod with the address of one nobody comes through. */
export function serviceConditions(network: NetworkConfig, address: IpAddr | undefined): readonly Condition[] {
  const whole = address && network.families.get(familyOf(address))?.network
  if (address === undefined || whole === undefined || !contains(whole, address)) return []
  return [
    {
      code: 'service-range',
      severity: 'warning',
      text: `the range of Services lies inside the network of pods: ${address}, the first Service, is in ${whole}`,
      remedy:
        'make Network and --service-cluster-ip-range of kube-apiserver two ranges; until then name the latter in --protected-cidrs, so that no node with such a podCIDR is routed to',
    },
  ]
}

export function peerConditions(
  { held, rejected, overlaps, own }: Omit<PeerVerdicts, 'planned'>,
  skipped: readonly SkippedPeer[],
): readonly Condition[] {
  return [
    ...heldConditions(held),
    ...rejectedConditions([...rejected, ...skipped]),
    ...overlapConditions(overlaps),
    ...ownSubnetConditions(own),
  ]
}

function heldConditions(held: ReadonlySet<string>): readonly Condition[] {
  if (held.size === 0) return []
  return [
    {
      code: 'peers-held',
      severity: 'warning',
      text: `${held.size} peers vanished from the lease store at once; their routes are held`,
      remedy: 'a wiped or restored etcd? they are let go when their nodes publish again or --hold has passed',
    },
  ]
}

/** Each peer once, whatever it has a reason in: those of one family name it. */
function rejectedConditions(peers: readonly Omit<RejectedLease, 'text'>[]): readonly Condition[] {
  const wrong = new Map<string, Omit<RejectedLease, 'text'>[]>()
  for (const peer of peers) if (!isByDesign(peer.reason)) wrong.set(peer.id, [...(wrong.get(peer.id) ?? []), peer])
  if (wrong.size === 0) return []
  const names = Array.from(wrong, ([id, rows]) => {
    const families = new Set(rows.map(({ family }) => family))
    const [only] = families
    const where = families.size === 1 && only !== undefined ? ` (IPv${only})` : ''
    return `${printable(id)}${where} (${[...new Set(rows.map(({ reason }) => reason))].join(', ')})`
  })
  return [
    {
      code: 'peers-rejected',
      severity: 'warning',
      text: `no packets go to ${wrong.size === 1 ? 'a peer' : `${wrong.size} peers`}: ${few(names)}`,
      remedy: '`flanneld status` says why of each; change the lease or what of this host is in its way',
    },
  ]
}

// Not how many peers: each that joins would make it another text.
function overlapConditions(overlaps: readonly Overlap[]): readonly Condition[] {
  if (overlaps.length === 0) return []
  const pairs = overlaps.map(({ route, subnets, count }) => {
    const more = count > subnets.length ? ' and others' : ''
    return `${route.text} and ${subnets.join(', ')}${more}`
  })
  return [
    {
      code: 'overlap',
      severity: 'info',
      text: `routes of this host overlap subnets of peers, the longer prefix counts: ${few(pairs)}`,
      remedy: 'nothing, unless those addresses of this host are in use: then choose a Network beside its routes',
    },
  ]
}

function ownSubnetConditions(own: readonly Harm[]): readonly Condition[] {
  if (own.length === 0) return []
  return [
    {
      code: 'own-subnet-in-use',
      severity: 'warning',
      text: `the own subnet is kept, but ${own.map(({ text }) => text).join('; ')}`,
      remedy:
        'take that off this host, or stop the daemon, run `flanneld cleanup`, delete the lease and start it again',
    },
  ]
}

const MOST_NAMED = 3

function few(names: readonly string[]): string {
  const more = names.length - MOST_NAMED
  return `${names.slice(0, MOST_NAMED).join('; ')}${more > 0 ? `; and ${more} more` : ''}`
}

/** Nothing is wrong: what the operator should know of this configuration on this host. */
export function noticeConditions(notices: readonly Notice[]): readonly Condition[] {
  return notices.map((notice) => ({ severity: 'info', ...notice }))
}

/** Peers' objects are shown with the peer, not here. Where one family is in place, what the other one lacks degrades the node only. */
export function kernelConditions({
  failures,
  unreadable,
}: Pick<ReconcileStatus, 'failures' | 'unreadable'>): readonly Condition[] {
  const conditions: Condition[] = []
  const unmet = new Set(unmetRequirements(failures.values()).map(({ key }) => key))
  for (const [kind, { text, code }] of unreadable) {
    const remedy = remedyOfRefusal(code)
    conditions.push({
      code: `unreadable ${kind}`,
      severity: 'warning',
      text: `${text}; what was known of it counts`,
      remedy,
    })
  }
  // The cause before its consequences.
  const ordered = [...failures].sort(
    ([, a], [, b]) => Number(a.waitsFor !== undefined) - Number(b.waitsFor !== undefined),
  )
  for (const [key, failure] of ordered) {
    const { object, cause, text } = failure
    if (object.role.class === 'required') {
      const remedy = remedyFor(failure)
      const severity = unmet.has(key) ? 'error' : 'warning'
      conditions.push({ code: `required-${cause} ${key}`, severity, text: `${key}: ${text}`, remedy })
    } else if (object.role.class === 'advisory') {
      const { remedy } = object.role
      conditions.push({ code: `advisory ${key}`, severity: 'info', text: `${key}: ${text}`, remedy })
    }
  }
  return conditions
}

/**
 * What the operator must do before this backend can work on this host; undefined: nothing is known to be missing. No wait
 * mends it, so the first settlement with one ends the start.
 */
export function missingRequirement(failures: ReadonlyMap<string, Failure>): ConfigError | undefined {
  for (const failure of unmetRequirements(failures.values())) {
    const module = missingModule(failure)
    if (module === undefined) continue
    const remedy = `load it on the host with 'modprobe ${module}', or choose another backend`
    return new ConfigError('Backend.Type', `needs the kernel module ${module}; ${remedy} (${failure.text})`)
  }
  return undefined
}

/** Of a node that has told its subnet already. */
export const OTHERS_UNKNOWN = 'the leases of the other nodes are not known yet: they have not been read since the start'

/**
 * What a ready node must fulfil (architecture §3; of two families one is enough), each with the reason why not. `tried`: one pass over everything that is
 * wanted has ended; `isAlone`: of this node alone. Several checks may bear one name: a broken object each.
 */
export function readinessChecks(
  lease: LeaseState | undefined,
  tried: boolean,
  failures: ReadonlyMap<string, Failure>,
  conditions: readonly Condition[],
  isAlone = false,
): readonly Check[] {
  const isHeld = lease?.at === 'held' || (lease?.at === 'recorded' && lease.isGood)
  const [noConfig] = conditions.filter(({ code }) => code === 'config-missing')
  const [noStore] = conditions.filter(({ code }) => code === 'datastore-down')
  const broken = unmetRequirements(failures.values())
  return [
    { name: 'configuration', ok: noConfig?.severity !== 'error', text: noConfig?.text ?? '' },
    {
      name: 'own-lease',
      ok: isHeld,
      text: (lease && leaseConditions(lease)[0]?.text) ?? noStore?.text ?? 'no subnet leased yet',
    },
    {
      name: 'peers-tried',
      ok: tried,
      text: isAlone ? OTHERS_UNKNOWN : 'not every object of every peer has been tried yet',
    },
    { name: 'required-objects', ok: tried || broken.length > 0, text: 'not every required object is in place yet' },
    ...broken.map(({ key, text }) => ({ name: 'required-objects', ok: false, text: `${key}: ${text}` })),
  ]
}
