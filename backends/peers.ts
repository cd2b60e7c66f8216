import type { Lease, PeerPath } from '../subnet/types.ts'
import type { PlannedPeer, SkippedPeer } from './backend.ts'

/** Every way in which the node can receive now; a node of flannel says only one. */
export function pathsOf(lease: Lease): readonly PeerPath[] {
  return lease.accepts.length > 0 ? lease.accepts : [lease.primary]
}

/** Splits the leases into those that can be reached by `wireType` and the rest, with the reason. */
export function peersOf(
  leases: Iterable<Lease>,
  wireType: string,
): { planned: readonly PlannedPeer[]; skipped: readonly SkippedPeer[] } {
  const planned: PlannedPeer[] = []
  const skipped: SkippedPeer[] = []
  for (const lease of leases) {
    const path = pathsOf(lease).find((candidate) => wireTypeOf(candidate) === wireType)
    if (path !== undefined) planned.push({ lease, path })
    else skipped.push({ id: lease.id, ...otherBackend(lease, wireType) })
  }
  return { planned, skipped }
}

/** A lease of udp says nothing, but may say `udp`. */
function wireTypeOf({ backend }: PeerPath): string {
  return backend === 'udp' ? '' : backend
}

function otherBackend(lease: Lease, wireType: string): { reason: string; text: string } {
  if (lease.reserved) return { reason: 'reserved', text: 'the subnet is reserved, nobody holds it yet' }
  const theirs = pathsOf(lease).map((path) => path.backend || 'udp or alloc')
  return { reason: 'other-backend', text: `the node uses ${theirs.join(', ')}, this one ${wireType || 'udp or alloc'}` }
}
