import type { Lease, LeaseAttrs, PeerPath } from '../../subnet/types.ts'
import { type Advertised, pathsSaid } from './advertised.ts'

/** Whether two leases say the same to others. */
export function sameLease(a: Lease, b: Lease): boolean {
  return a === b || JSON.stringify(saidBy(a)) === JSON.stringify(saidBy(b))
}

export function sameAttrs(a: LeaseAttrs, b: LeaseAttrs): boolean {
  return a === b || JSON.stringify(attrsOf(a)) === JSON.stringify(attrsOf(b))
}

/** Whether the lease says this of its node's ways, in the families that it has. */
export function says({ primary, accepts, sends, families }: Lease, told: Advertised): boolean {
  const said = (path: PeerPath) =>
    pathOf({ ...path, data: new Map([...path.data].filter(([family]) => families.has(family))) })
  const own = pathsSaid(told.accepts)
  const wanted = [said(own.primary), own.accepts.map(said), told.sends?.map(({ path }) => said(path)) ?? []]
  return JSON.stringify([said(primary), accepts.map(said), sends?.map(said) ?? []]) === JSON.stringify(wanted)
}

/** Store revisions grow; one that is no number cannot be compared and counts as current. */
export function isOlder(revision: string, than: string): boolean {
  return /^\d+$/.test(revision) && /^\d+$/.test(than) && BigInt(revision) < BigInt(than)
}

function saidBy({ node, primary, accepts, sends, families, claim, refused }: Lease): unknown {
  return [
    node,
    pathOf(primary),
    accepts.map(pathOf),
    sends?.map(pathOf) ?? [],
    [...families],
    claim?.node,
    claim?.nonce,
    refused ?? [],
  ]
}

function attrsOf({ node, primary, accepts, sends, publicIps, tunnelIps }: LeaseAttrs): unknown {
  return [node, pathOf(primary), accepts.map(pathOf), sends?.map(pathOf) ?? [], [...publicIps], [...tunnelIps]]
}

function pathOf({ backend, data, port, direct }: PeerPath): unknown {
  return [backend, [...data], port, direct]
}
