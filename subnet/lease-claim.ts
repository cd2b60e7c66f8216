import type { Family } from '../lib/address.ts'
import type { Logger } from '../lib/log.ts'
import { decideHeld, decideLease, firstWindow, type LeaseDecision } from './allocator.ts'
import { decodeLeaseKey, encodeLeaseValue, type LeaseContent } from './lease-codec.ts'
import type { NetworkConfig } from './network-config.ts'
import { namesAddress } from './own-lease.ts'
import type { FamilyLease } from './types.ts'
import {
  type AcquireHints,
  type Lease,
  type LeaseAttrs,
  LeaseConflictError,
  type LeaseSnapshot,
  type OwnLease,
} from './types.ts'

/** A store as far as claiming needs it: the current leases, and writes that compare first. */
export interface LeaseTable {
  /** Waits until the view is current. */
  view(signal: AbortSignal): Promise<LeaseSnapshot>
  /** Writes `value` if the entry is as expected (`absent`, or at this version); what a lost race showed is in the next view. */
  write(write: LeaseWrite, signal: AbortSignal): Promise<WriteResult>
  /** False: it was not as expected any more. */
  remove(id: string, version: string, signal: AbortSignal): Promise<boolean>
  version(id: string): string | undefined
}

export interface LeaseWrite {
  readonly id: string
  readonly value: string
  readonly expected: 'absent' | { readonly version: string }
  /** Without an expiry. */
  readonly reserved: boolean
}

export type WriteResult =
  | { readonly won: true; readonly own: OwnLease }
  | {
      readonly won: false
      readonly current: { readonly lease: Lease | undefined; readonly version: string } | undefined
    }

interface Needs {
  readonly table: LeaseTable
  readonly network: NetworkConfig
  readonly log: Logger
  readonly random: () => number
}

/** @throws LeaseConflictError where waiting does not help, and what the table throws */
export async function claimLease(
  needs: Needs,
  want: LeaseAttrs,
  hints: AcquireHints,
  signal: AbortSignal,
): Promise<OwnLease> {
  const { table, network, random } = needs
  let window = firstWindow
  for (;;) {
    signal.throwIfAborted()
    const snapshot = await table.view(signal)
    const decision = decideLease({ snapshot, network, want, hints, window, random })
    const own = await carryOut(needs, decision, want, signal)
    if (own !== undefined) return own
    // Many join at once: a wider choice collides less.
    if (decision.type === 'create') window = Math.min(window * 2, 64 * firstWindow)
  }
}

/** Undefined: ask again. */
async function carryOut(
  { table, log }: Needs,
  decision: LeaseDecision,
  want: LeaseAttrs,
  signal: AbortSignal,
): Promise<OwnLease | undefined> {
  switch (decision.type) {
    case 'conflict':
      throw new LeaseConflictError(decision.text, decision.conflict)
    case 'delete': {
      const { lease, why } = decision
      const version = table.version(lease.id)
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
    case 'take-over':
    case 'claim-reservation': {
      const { lease } = decision
      const version = table.version(lease.id)
      if (version === undefined) return undefined
      const result = await table.write(
        { ...written(lease.id, want), expected: { version }, reserved: lease.reserved },
        signal,
      )
      if (!result.won) return undefined
      const why = decision.type === 'take-over' ? decision.why : 'reserved-for-address'
      const fields = { lease: lease.id, why, previousNode: lease.node }
      if (why === 'host-made-anew') log.warn('lease of another NodeID taken over, its address is this host', fields)
      else log.info('lease taken over', fields)
      return result.own
    }
  }
}

/**
 * Writes `want` over the own lease. A vanished one is made again, the same subnet only, if it is free; one that is another's is never
 * overwritten. @throws LeaseConflictError, and what the table throws
 */
export async function rewriteLease(
  needs: Needs,
  own: OwnLease,
  want: LeaseAttrs,
  signal: AbortSignal,
): Promise<OwnLease> {
  const { table, log } = needs
  const { id } = own.lease
  let expected: LeaseWrite['expected'] = { version: own.version }
  let { reserved } = own.lease
  for (;;) {
    signal.throwIfAborted()
    const result = await table.write({ ...written(id, want), expected, reserved }, signal)
    if (result.won) return result.own
    if (result.current === undefined) {
      await assertFree(needs, own, want, signal)
      log.warn('own lease was gone, taking the same subnet again', { lease: id })
      expected = 'absent'
      reserved = false
      continue
    }
    const { lease, version } = result.current
    assertOurs(own, want, lease)
    expected = { version }
    reserved = lease?.reserved ?? false
  }
}

/** Nobody's subnet may overlap the one that is to be made again. */
async function assertFree(
  { table, network, random }: Needs,
  own: OwnLease,
  want: LeaseAttrs,
  signal: AbortSignal,
): Promise<void> {
  const only = new Map([...own.lease.families].map(([family, { subnet }]) => [family, subnet] as const))
  const hints: AcquireHints = { previous: only, only, ownsAddress: () => true }
  const snapshot = await table.view(signal)
  const decision = decideLease({ snapshot, network, want, hints, window: firstWindow, random })
  if (decision.type === 'conflict') throw new LeaseConflictError(decision.text, decision.conflict)
}

function assertOurs(own: OwnLease, want: LeaseAttrs, lease: Lease | undefined): void {
  const { id, node, families } = own.lease
  if (lease === undefined) {
    const text = `the entry of lease ${id} was overwritten with something unreadable`
    throw new LeaseConflictError(text, { type: 'subnet-taken', id, holder: 'an unreadable entry' })
  }
  // Either address may stand there: the one that we wrote last, or the one that a lost answer hid.
  const last = { node, publicIps: new Map([...families].map(([family, { publicIp }]) => [family, publicIp] as const)) }
  if (lease.node === want.node && namesAddress(lease, last)) return
  const decision = decideHeld(lease, want)
  if (decision.type === 'conflict') throw new LeaseConflictError(decision.text, decision.conflict)
}

function written(id: string, want: LeaseAttrs): { id: string; value: string } {
  const families = new Map<Family, FamilyLease>()
  for (const [family, subnet] of decodeLeaseKey(id) ?? []) {
    const publicIp = want.publicIps.get(family)
    if (publicIp === undefined) throw new TypeError(`no public address of family ${family} for lease ${id}`)
    const tunnelIp = want.tunnelIps.get(family)
    families.set(family, { subnet, publicIp, ...(tunnelIp === undefined ? {} : { tunnelIp }) })
  }
  const content: LeaseContent = { node: want.node, primary: want.primary, accepts: want.accepts, families }
  return { id, value: encodeLeaseValue(content) }
}
