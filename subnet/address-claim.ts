import type { Logger } from '../lib/log.ts'
import { addressTaken, askStranger, findStranger, type LeaseDecision } from './allocator.ts'
import {
  type Lease,
  type LeaseAttrs,
  type LeaseClaim,
  LeaseConflictError,
  type LeaseSnapshot,
  type LeaseWait,
  type PublishHints,
} from './types.ts'

/** So long a holder that lives has time to object. */
export const CLAIM_MS = 30_000
/** Of that: how long another's claim is left to be decided. Longer than it takes, so that one whose host has died stops nobody for ever. */
const patience = 1.5

/** A store as far as claiming an address needs it. */
export interface ClaimTable {
  /** Waits until the view is current. */
  view(signal: AbortSignal): Promise<LeaseSnapshot>
  entry(id: string): { readonly lease: Lease | undefined; readonly version: string } | undefined
  /** Writes the claim into the entry and changes nothing else of it. The new version; undefined: it was not at `version` any more. */
  claim(id: string, version: string, claim: LeaseClaim, signal: AbortSignal): Promise<string | undefined>
  /** True once the entry was watched without a gap for `ms` and stood at this version; false as soon as it does not. */
  quiet(id: string, version: string, ms: number, signal: AbortSignal): Promise<boolean>
  /** False: it was not at this version any more. */
  remove(id: string, version: string, signal: AbortSignal): Promise<boolean>
  /** The entry's name for an operator. */
  name(id: string): string
}

export interface ClaimNeeds {
  readonly table: ClaimTable
  readonly log: Logger
  /** Of this process. */
  readonly nonce: string
  readonly claimMs: number
}

/**
 * Asks the holder of a lease with our public address whether it lives: a host made anew finds the lease of its own past, a second host
 * with the address finds that of the first. They look the same, only a living holder can tell (architecture §8.7).
 * The version at which the lease may be had; undefined: it has changed, decide anew. @throws LeaseConflictError where somebody objects
 */
export async function askHolder(
  needs: ClaimNeeds,
  lease: Lease,
  want: LeaseAttrs,
  hints: PublishHints,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { table, log, nonce, claimMs } = needs
  const { id, node } = lease
  const claim = { node: want.node, nonce }
  const entry = table.entry(id)
  if (entry?.lease?.node !== node) return undefined
  try {
    const standing = entry.lease.claim
    if (standing !== undefined && isRival(entry.lease, want)) {
      hints.waiting?.(waitForRival(needs, lease, standing.node))
      log.warn('another host claims the same address, waiting for the outcome', { lease: id, claimant: standing.node })
      if (!(await table.quiet(id, entry.version, claimMs * patience, signal))) return undefined
    }
    hints.waiting?.(waitFor(needs, lease, want))
    const isOurs = standing?.node === claim.node && standing.nonce === claim.nonce
    const fields = { lease: id, holder: node, seconds: claimMs / 1000 }
    if (!isOurs) log.warn('lease of another NodeID with this address claimed, its holder may object', fields)
    const version = isOurs ? entry.version : await table.claim(id, entry.version, claim, signal)
    if (version !== undefined && (await table.quiet(id, version, claimMs, signal))) return version
    const now = table.entry(id)?.lease
    if (now === undefined) return undefined
    if (isRival(now, want)) throw claimedByTwo(now, want)
    // Whatever the holder has written after our claim says that it lives.
    if (version !== undefined && now.node === node) throw refusedBy(now, want)
    return undefined
  } finally {
    hints.waiting?.(undefined)
  }
}

/** Until no other node holds the address of `want`. @throws LeaseConflictError where a holder objects */
export async function claimAddress(
  needs: ClaimNeeds,
  want: LeaseAttrs,
  hints: PublishHints,
  signal: AbortSignal,
): Promise<void> {
  const { table, log } = needs
  const { conceded, mayHave } = concessions(table)
  for (;;) {
    const snapshot = await table.view(signal)
    const stranger = findStranger({ snapshot, want, mayHave: () => false })
    if (stranger === undefined) return
    if (mayHave(stranger)) {
      const version = conceded.get(stranger.id) as string
      if (await table.remove(stranger.id, version, signal))
        log.warn('lease of another NodeID deleted, nobody objected to the claim', { lease: stranger.id })
      continue
    }
    const decision = askStranger(stranger, want)
    if (decision.type === 'conflict') throw conflictOf(decision)
    conceded.set(stranger.id, await askHolder(needs, stranger, want, hints, signal))
  }
}

/** Leases whose holders did not object, by the version at which they may be had: a later write is an objection. */
export function concessions(table: ClaimTable) {
  const conceded = new Map<string, string | undefined>()
  const mayHave = ({ id }: Lease) => {
    const version = conceded.get(id)
    return version !== undefined && version === table.entry(id)?.version
  }
  return { conceded, mayHave }
}

export function conflictOf(decision: LeaseDecision): LeaseConflictError {
  if (decision.type !== 'conflict') throw new TypeError(`${decision.type} is no conflict`)
  return new LeaseConflictError(decision.text, decision.conflict)
}

/** Somebody else claims it. Under the holder's own NodeID the field only says which process has taken the lease over. */
function isRival({ node, claim }: Lease, want: LeaseAttrs): boolean {
  return claim !== undefined && claim.node !== want.node && claim.node !== node
}

function refusedBy(lease: Lease, want: LeaseAttrs): LeaseConflictError {
  const { text, conflict } = addressTaken(lease, want)
  return new LeaseConflictError(text, conflict)
}

function claimedByTwo(lease: Lease, want: LeaseAttrs): LeaseConflictError {
  const { conflict } = addressTaken(lease, want)
  const claimant = lease.claim?.node ?? ''
  const text = `node ${claimant} claims the same address as this node, ${want.node}, and was earlier (lease ${lease.id} of node ${lease.node})`
  return new LeaseConflictError(text, { ...conflict, node: claimant })
}

function waitFor({ table, claimMs }: ClaimNeeds, lease: Lease, want: LeaseAttrs): LeaseWait {
  const { id, node } = lease
  const address = [...want.publicIps.values()][0]
  return {
    text: `lease ${id} with this host's public address ${address} belongs to node ${node}, this node is ${want.node}; whether that one is alive is known within ${claimMs / 1000} seconds`,
    remedy: `a host made anew only waits; if node ${node} is gone for good, 'etcdctl del ${table.name(id)}' ends the wait; if it is another host, give this one an address of its own by --iface`,
  }
}

/** While another host is asking the same holder. */
function waitForRival({ table, claimMs }: ClaimNeeds, { id, node }: Lease, claimant: string): LeaseWait {
  const name = table.name(id)
  return {
    text: `lease ${id} of node ${node} with this host's public address is claimed by node ${claimant}, too; its claim is decided within ${(claimMs * patience) / 1000} seconds`,
    remedy: `two hosts must not have one address: give one of them its own by --iface; if both claimants are hosts made anew and node ${node} is gone for good, 'etcdctl del ${name}' ends the wait`,
  }
}
