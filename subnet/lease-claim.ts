import type { Family } from '../lib/address.ts'
import { askHolder, concessions } from './address-claim.ts'
import { decideLease, findStranger, firstWindow, type LeaseDecision } from './allocator.ts'
import { writeFamilies } from './lease-families.ts'
import type { ClaimingNeeds } from './lease-table.ts'
import { firstHolder, hadAddressFirst, isOwnNode, sinceOf } from './own-lease.ts'
import { refusalsKept, written } from './own-value.ts'
import { type AcquireHints, type Lease, type LeaseAttrs, LeaseConflictError, type OwnLease } from './types.ts'

/** @throws LeaseConflictError where waiting does not help, and what the table throws */
export async function claimLease(
  needs: ClaimingNeeds,
  want: LeaseAttrs,
  hints: AcquireHints,
  signal: AbortSignal,
): Promise<OwnLease> {
  const { table, random } = needs
  let window = firstWindow
  const { conceded, mayHave } = concessions(table)
  for (;;) {
    signal.throwIfAborted()
    const snapshot = await table.view(signal)
    const decision = decideLease({ snapshot, want, hints, mayHave, window, random })
    if (decision.type === 'claim') {
      conceded.set(decision.lease.id, await askHolder(needs, decision.lease, want, hints, signal))
      continue
    }
    const own = await carryOut(needs, decision, want, hints, signal)
    if (own !== undefined && (decision.type !== 'create' || (await isFirst(needs, own, want, signal)))) return own
    // Many join at once: a wider choice collides less.
    if (decision.type === 'create') window = Math.min(window * 2, 64 * firstWindow)
  }
}

/**
 * Whether no other node has made a lease with our address, or with one of our subnets, before: two that start at once do not see each other
 * when they choose, and where each has two families, their keys may differ although one of the subnets is the same. The younger lease
 * goes; where the address is the same, its host asks the holder of the older one.
 */
async function isFirst(
  { table, log }: ClaimingNeeds,
  { lease, version }: OwnLease,
  want: LeaseAttrs,
  signal: AbortSignal,
): Promise<boolean> {
  await table.passed(version, signal)
  const snapshot = await table.view(signal)
  const stranger = findStranger({ snapshot, want, mayHave: () => false })
  const isTheirs = stranger !== undefined && !hadAddressFirst(lease, stranger, want)
  const other = isTheirs ? stranger : firstHolder(snapshot.leases, lease, lease.families.keys())
  if (other === undefined) return true
  const why = other === stranger ? 'with this address' : 'this subnet'
  log.warn(`another node was first to lease ${why}`, { lease: other.id, node: other.node, given: lease.id })
  await table.remove(lease.id, version, signal)
  return false
}

/** Undefined: ask again. */
async function carryOut(
  needs: ClaimingNeeds,
  decision: Exclude<LeaseDecision, { type: 'claim' }>,
  want: LeaseAttrs,
  hints: AcquireHints,
  signal: AbortSignal,
): Promise<OwnLease | undefined> {
  const { table, log, nonce } = needs
  switch (decision.type) {
    case 'conflict':
      throw new LeaseConflictError(decision.text, decision.conflict)
    case 'delete': {
      const { lease, why } = decision
      const version = table.entry(lease.id)?.version
      if (version !== undefined && (await table.remove(lease.id, version, signal))) {
        log.warn('own lease deleted', { lease: lease.id, why, node: lease.node })
      }
      return undefined
    }
    case 'create':
    case 'recreate': {
      const result = await table.write({ ...written(decision.id, want), expected: 'absent', reserved: false }, signal)
      if (result.won) return result.own
      log.info('lost a race for a subnet', { lease: decision.id })
      return undefined
    }
    case 'change-families': {
      const { lease } = decision
      const version = table.entry(lease.id)?.version
      if (version === undefined) return undefined
      // As of a lease that is taken over.
      const isMarked = isOwnNode(lease, want) && !isInUse(lease, hints)
      const claim = isMarked ? { node: want.node, nonce } : undefined
      const said = isOwnNode(lease, want) ? { claim, refused: refusalsKept(lease, want) } : {}
      const standing = { lease, version, unsure: unsureFamilies(lease, hints) }
      const result = await writeFamilies(needs, standing, want, said, hints, signal)
      if (!result.won) return undefined
      return isMarked ? { ...result.own, over: 'same-node' } : result.own
    }
    case 'take-over':
    case 'claim-reservation': {
      const { lease } = decision
      const version = table.entry(lease.id)?.version
      if (version === undefined) return undefined
      const why = decision.type === 'take-over' ? decision.why : 'reserved-for-address'
      const isMarked = why === 'same-node' && !isInUse(lease, hints)
      const claim = isMarked ? { node: want.node, nonce } : undefined
      const said = why === 'same-node' ? { claim, refused: refusalsKept(lease, want) } : {}
      const unsure = why === 'same-node' ? unsureFamilies(lease, hints) : []
      const write = { ...written(lease.id, want, { ...said, since: sinceOf(lease) }), expected: { version } }
      const result =
        unsure.length === 0
          ? await table.write({ ...write, reserved: lease.reserved }, signal)
          : await writeFamilies(needs, { lease, version, unsure }, want, said, hints, signal)
      if (!result.won) return undefined
      const fields = { lease: lease.id, why, previousNode: lease.node }
      if (why === 'claimed') log.warn('lease of another NodeID taken over, nobody objected to the claim', fields)
      else log.info('lease taken over', fields)
      return isMarked ? { ...result.own, over: 'same-node' } : result.own
    }
  }
}

/** Those that the last run had got, as the store says, and not come to use: it may not have seen whether another node was first. */
function unsureFamilies(lease: Lease, { previous, recorded = previous }: AcquireHints): readonly Family[] {
  const isRecorded = (family: Family) => recorded.get(family) === lease.families.get(family)?.subnet
  const families = [...lease.families.keys()]
  return families.some(isRecorded) ? families.filter((family) => !isRecorded(family)) : []
}

function isInUse(lease: Lease, { sinceBoot }: AcquireHints): boolean {
  return [...lease.families].every(([family, { subnet }]) => sinceBoot?.get(family) === subnet)
}
