import type { Family } from '../lib/address.ts'
import { claimAddress, conflictOf } from './address-claim.ts'
import { decideHeld, decideLease, firstWindow } from './allocator.ts'
import { encodeLeaseKey } from './lease-codec.ts'
import { hasFamiliesOf, writeFamilies } from './lease-families.ts'
import type { ClaimingNeeds, LeaseWrite, WriteResult } from './lease-table.ts'
import { isOwnNode, namesAddress, sinceOf } from './own-lease.ts'
import { refusalsKept, type Said, withRefusal, written } from './own-value.ts'
import {
  type AcquireHints,
  type Lease,
  type LeaseAttrs,
  LeaseConflictError,
  type LeaseSnapshot,
  type OwnLease,
  type PublishHints,
  type Rival,
} from './types.ts'

/**
 * Writes `want` over the own lease. A vanished one is made again, the same subnet only, if it is free; one that is another's is never
 * overwritten, and a claim to ours is refused. @throws LeaseConflictError, and what the table throws
 */
export async function rewriteLease(
  needs: ClaimingNeeds,
  own: OwnLease,
  want: LeaseAttrs,
  hints: PublishHints,
  signal: AbortSignal,
): Promise<OwnLease> {
  const { table, log, nonce } = needs
  let { lease } = own
  if (!namesAddress(lease, want)) await claimAddress(needs, want, hints, signal)
  let expected: LeaseWrite['expected'] = { version: own.version }
  let { reserved } = lease
  let said: Said = { claim: lease.claim, refused: refusalsKept(lease, want), since: sinceOf(lease) }
  let unsure: readonly Family[] = []
  let over: Rival | undefined
  for (;;) {
    signal.throwIfAborted()
    const { id } = lease
    const result: WriteResult =
      expected === 'absent' || (unsure.length === 0 && hasFamiliesOf(lease, hints.network))
        ? await table.write({ ...written(id, want, said), expected, reserved }, signal)
        : await writeFamilies(needs, { lease: { ...lease, reserved }, ...expected, unsure }, want, said, hints, signal)
    if (result.won) return over === undefined ? result.own : { ...result.own, over }
    if (result.current === undefined) {
      const moved = movedTo(lease, await table.view(signal), want)
      const entry = moved && table.entry(moved.id)
      if (moved !== undefined && entry !== undefined) {
        lease = moved
        expected = { version: entry.version }
        said = { ...said, since: sinceOf(moved) }
        unsure = [...moved.families.keys()].filter((family) => !own.lease.families.has(family))
        continue
      }
      lease = inNetwork(lease, hints)
      await assertFree(needs, lease, want, hints, signal)
      log.warn('own lease was gone, taking the same subnet again', { lease: lease.id })
      expected = 'absent'
      reserved = false
      said = { claim: said.claim, refused: said.refused }
      unsure = []
      continue
    }
    const version: string = result.current.version
    const current = assertOurs(own, want, result.current.lease, hints)
    over = rivalOf(current, want, nonce)
    if (over !== undefined && hints.yieldTo?.has(over)) throw conflictOf(decideHeld(current, want, hints.yieldTo))
    const claimant = current.claim?.node === want.node ? undefined : current.claim?.node
    if (over !== undefined) log.warn('own lease was overwritten, writing it once more', { lease: id, by: over })
    if (claimant !== undefined) log.warn('claim of another host refused', { lease: id, claimant, thisNode: want.node })
    said = {
      claim: over === 'same-node' ? { node: want.node, nonce } : said.claim,
      refused: withRefusal(refusalsKept(current, want), claimant),
      since: current.keyAge === undefined && current.age === lease.keyAge ? sinceOf(lease) : sinceOf(current),
    }
    expected = { version }
    reserved = current.reserved
  }
}

/** Our lease under the key that a write has given it whose answer was lost. */
function movedTo(own: Lease, { leases }: LeaseSnapshot, want: LeaseAttrs): Lease | undefined {
  const shares = (lease: Lease) =>
    [...own.families].some(([family, { subnet }]) => lease.families.get(family)?.subnet === subnet)
  return [...leases.values()].find((lease) => lease.id !== own.id && isOwnNode(lease, want) && shares(lease))
}

/** The lease with what it had in families that the network still has. */
function inNetwork(lease: Lease, { network }: PublishHints): Lease {
  const families = new Map([...lease.families].filter(([family]) => network.families.has(family)))
  const subnets = new Map(Array.from(families, ([family, { subnet }]) => [family, subnet] as const))
  return families.size === 0 ? lease : { ...lease, id: encodeLeaseKey(subnets), families }
}

/** Who else has written over our entry; undefined: nobody, or an operator. */
function rivalOf(lease: Lease, want: LeaseAttrs, nonce: string): Rival | undefined {
  if (lease.node === '') return 'flannel'
  return lease.claim?.node === want.node && lease.claim.nonce !== nonce ? 'same-node' : undefined
}

/** Nobody's subnet may overlap the one that is to be made again. */
async function assertFree(
  { table, random }: ClaimingNeeds,
  lease: Lease,
  want: LeaseAttrs,
  { network }: PublishHints,
  signal: AbortSignal,
): Promise<void> {
  const only = new Map([...lease.families].map(([family, { subnet }]) => [family, subnet] as const))
  const hints: AcquireHints = { network, previous: only, only }
  const snapshot = await table.view(signal)
  const decision = decideLease({ snapshot, want, hints, mayHave: () => false, window: firstWindow, random })
  if (decision.type === 'conflict') throw conflictOf(decision)
}

/** The entry as one that may be written over. @throws LeaseConflictError */
function assertOurs(own: OwnLease, want: LeaseAttrs, lease: Lease | undefined, hints: PublishHints): Lease {
  const { id, node, families } = own.lease
  if (lease === undefined) {
    const text = `the entry of lease ${id} was overwritten with something unreadable`
    throw new LeaseConflictError(text, { type: 'subnet-taken', id, holder: 'an unreadable entry' })
  }
  // Either address may stand there: the one that we wrote last, or the one that a lost answer hid.
  const last = { node, publicIps: new Map([...families].map(([family, { publicIp }]) => [family, publicIp] as const)) }
  if (lease.node === want.node && namesAddress(lease, last)) return lease
  const decision = decideHeld(lease, want, hints.yieldTo?.has('flannel') ? new Set(['flannel'] as const) : undefined)
  if (decision.type === 'conflict') throw conflictOf(decision)
  return lease
}
