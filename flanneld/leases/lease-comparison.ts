import type { Lease, LeaseAttrs, PeerPath } from '../../subnet/types.ts'

/** Whether two leases say the same to others. */
export function sameLease(a: Lease, b: Lease): boolean {
  return a === b || JSON.stringify(saidBy(a)) === JSON.stringify(saidBy(b))
}

export function sameAttrs(a: LeaseAttrs, b: LeaseAttrs): boolean {
  return a === b || JSON.stringify(attrsOf(a)) === JSON.stringify(attrsOf(b))
}

/** Store revisions grow; one that is no number cannot be compared and counts as current. */
export function isOlder(revision: string, than: string): boolean {
  return /^\d+$/.test(revision) && /^\d+$/.test(than) && BigInt(revision) < BigInt(than)
}

function saidBy({ node, primary, accepts, families, claim, refused }: Lease): unknown {
  return [node, pathOf(primary), accepts.map(pathOf), [...families], claim?.node, claim?.nonce, refused ?? []]
}

function attrsOf({ node, primary, accepts, publicIps, tunnelIps }: LeaseAttrs): unknown {
  return [node, pathOf(primary), accepts.map(pathOf), [...publicIps], [...tunnelIps]]
}

function pathOf({ backend, data }: PeerPath): unknown {
  return [backend, [...data]]
}
