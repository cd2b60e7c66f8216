import type { Refusal } from '../../backends/backend.ts'
import type { Way } from '../../backends/way.ts'
import type { Family } from '../../lib/address.ts'
import type { FamilyLease, Lease, PeerPath } from '../../subnet/types.ts'
import { deviceKey } from './configuration.ts'

/** By which way a peer is reached in one family, and what its lease says about that way. */
export interface Choice {
  readonly family: Family
  readonly part: FamilyLease
  readonly way: Way
  readonly path: PeerPath
}

/**
 * In each of these families that the peer has: the first of the ways that the peer accepts now, `ways` beginning with the preferred one;
 * `current`, what the kernel does now, stays as long as the peer accepts it. A way is told from others of its type by the data of the
 * lease. Where these fit none, the first one of their type is chosen, whose backend knows what is wrong with them. Pure.
 */
export function chooseWays(
  lease: Lease,
  { families, ways }: { readonly families: readonly Family[]; readonly ways: readonly Way[] },
  current?: ReadonlyMap<Family, Way | undefined>,
): readonly Choice[] | Refusal {
  const chosen: Choice[] = []
  for (const family of families) {
    const part = lease.families.get(family)
    if (part === undefined) continue
    const found = chooseWay(lease, family, ways, current?.get(family))
    if (found !== undefined) chosen.push({ family, part, way: found.way, path: found.path })
  }
  if (chosen.length > 0) return chosen
  const common = ways.filter((way) =>
    families.some((family) => pathsOf(lease).some((path) => isMeant(path, way, { family, lease, ways }))),
  )
  if (common.length === 0) return notReached(lease, ways)
  const carried = families.filter((family) => common.some((way) => carries(way, family)))
  const names = carried.map((family) => `IPv${family}`).join(' nor ')
  return { reason: 'missing-family', text: `the lease has no ${names} subnet` }
}

/** Undefined: none of the ways is of a type that the peer accepts. */
function chooseWay(
  lease: Lease,
  family: Family,
  ways: readonly Way[],
  current?: Way,
): Pick<Choice, 'way' | 'path'> | undefined {
  const choices: Pick<Choice, 'way' | 'path'>[] = []
  for (const way of ways) {
    if (!carries(way, family)) continue
    for (const path of pathsTo(lease, way)) if (isMeant(path, way, { family, lease, ways })) choices.push({ way, path })
  }
  if (choices.length < 2) return choices[0]
  const fitting = choices.filter(({ way, path }) => fits(way, family, path))
  return fitting.find(({ way }) => way === current) ?? fitting[0] ?? choices[0]
}

/** What the lease says about this one of the ways to its node; undefined: it does not receive by it. */
export function acceptedBy(lease: Lease, way: Way, family: Family, ways: readonly Way[]): PeerPath | undefined {
  return pathsTo(lease, way).find((path) => {
    const meant = meantBy(path, family, lease, ways)
    return meant === way || (meant !== undefined && lease.node === '' && areTwins(meant, way))
  })
}

/** Whether the node sends to somebody by this one of the ways: as it says itself, or else by the one of its type. */
export function sendsBy(lease: Lease, way: Way, ways: readonly Way[]): boolean {
  // It does not say whether it sends directly, and would not say that it does so no more.
  if (lease.node === '' && ways.some((other) => areTwins(other, way))) return false
  const paths = lease.sends ?? pathsOf(lease)
  return [...lease.families.keys()].some((family) => paths.some((path) => meantBy(path, family, lease, ways) === way))
}

function meantBy(path: PeerPath, family: Family, lease: Lease, ways: readonly Way[]): Way | undefined {
  return ways.find(
    (way) => carries(way, family) && isMeant(path, way, { family, lease, ways }) && fits(way, family, path),
  )
}

interface Asked {
  readonly family: Family
  readonly lease: Lease
  /** All of the node. */
  readonly ways: readonly Way[]
}

/**
 * Whether type, port and direct paths are the way's. A host of flannel does not say its port: as long as a node has ways of both ports it is taken to have stayed with the older one. Nor does
 * one of ours that has the usual one, or is of an earlier version: it has the usual one where that is a way of the node, too.
 */
function isMeant(path: PeerPath, way: Way, { family, lease, ways }: Asked): boolean {
  if (!isOfType(path, way) || !isAsDirect(path, way, { lease, ways })) return false
  if (path.port === way.path.port) return true
  if (path.port !== undefined || lease.accepts.some(({ port }) => port !== undefined)) return false
  const isUsual = (other: Way) => isOfType(path, other) && other.path.port === undefined && fits(other, family, path)
  return lease.node === '' || !ways.some(isUsual)
}

/** Where a node has both of two such ways, each is meant by who says it; a host of flannel says neither, and takes both. */
function isAsDirect(path: PeerPath, way: Way, { lease, ways }: Pick<Asked, 'lease' | 'ways'>): boolean {
  return lease.node === '' || path.direct === way.path.direct || !ways.some((other) => areTwins(other, way))
}

/** Whether they differ in direct paths alone. */
function areTwins(one: Way, other: Way): boolean {
  return one.path.direct !== other.path.direct && deviceKey(one) === deviceKey(other)
}

/** Whether packets may go to the node without the tunnel, where the host could send them so. */
export function mayBeDirect(lease: Lease, way: Way, path: PeerPath): boolean {
  return way.path.direct === undefined || path.direct === true || lease.node === ''
}

/** What must be looked up of how peers are reached. */
export function reachOf(ways: readonly Way[]): 'unused' | 'lookup' | 'probe' {
  const wanted = ways.map(({ backend, config }) => backend.reach(config))
  if (wanted.includes('probe')) return 'probe'
  return wanted.includes('lookup') ? 'lookup' : 'unused'
}

/** Every way in which the node can receive now; a node of flannel says only one. */
export function pathsOf(lease: Lease): readonly PeerPath[] {
  return lease.accepts.length > 0 ? lease.accepts : [lease.primary]
}

/** What says the same of direct paths first: where this node has one of two such ways, and the other one both, both mean it. */
function pathsTo(lease: Lease, { path: own }: Way): readonly PeerPath[] {
  const paths = pathsOf(lease)
  const isOther = (path: PeerPath) => Number(path.direct !== own.direct)
  return paths.length < 2 ? paths : [...paths].sort((a, b) => isOther(a) - isOther(b))
}

/** A lease of udp says nothing, but may say `udp`. */
function isOfType({ backend }: PeerPath, way: Way): boolean {
  return (backend === 'udp' ? '' : backend) === way.backend.wireType
}

function carries({ backend }: Way, family: Family): boolean {
  return backend.families?.includes(family) ?? true
}

function fits({ backend, config }: Way, family: Family, path: PeerPath): boolean {
  return backend.fits?.(config, family, path.data.get(family)) ?? true
}

function notReached(lease: Lease, ways: readonly Way[]): Refusal {
  if (lease.reserved) return { reason: 'reserved', text: 'the subnet is reserved, nobody holds it yet' }
  const theirs = pathsOf(lease).map(named)
  const ours = new Set(ways.map(({ path }) => named(path)))
  return { reason: 'other-backend', text: `the node uses ${theirs.join(', ')}, this one ${[...ours].join(', ')}` }
}

function named({ backend, port }: PeerPath): string {
  return (backend || 'udp or alloc') + (port === undefined ? '' : ` on port ${port}`)
}
