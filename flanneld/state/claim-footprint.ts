import type { OwnershipScope } from '../../kernel/desired.ts'
import type { JournalEntry } from '../../kernel/kinds/kind.ts'
import { entriesOf, type Journal, type JournalEntries, keyOfEntry } from '../../kernel/reconciler/journal.ts'
import { overlaps } from '../../lib/address.ts'
import { assertNever } from '../../lib/errors.ts'
import type { InstanceClaim } from './instance-claim.ts'

/**
 * Claims what a configuration is going to use, before any of it is made. What another running instance uses by now is its own,
 * though this one once made something of that name.
 * @throws ConfigError when another running instance uses a part of `present`
 */
export async function claimFootprint(
  { claim, journal }: { claim: Pick<InstanceClaim, 'make'>; journal: Journal },
  present: OwnershipScope,
): Promise<void> {
  const others = await claim.make(present)
  const wanted = new Set(entriesOf(present).map(keyOfEntry))
  const taken = takenEntries(journal.entries, others).filter((entry) => !wanted.has(keyOfEntry(entry)))
  await journal.forget(taken, 'another instance uses it')
}

/** What once was this instance's and is another's now. */
export function takenEntries(entries: JournalEntries, others: readonly OwnershipScope[]): readonly JournalEntry[] {
  return [...entries.values()].filter((entry) => others.some((other) => isUsed(entry, other)))
}

/** A network that overlaps another's is the other's. */
function isUsed(entry: JournalEntry, { devices, fouPorts, networks }: OwnershipScope): boolean {
  switch (entry.kind) {
    case 'device':
      return devices.has(entry.name)
    case 'fou-port':
      return fouPorts?.has(entry.port) ?? false
    case 'network':
      return networks.some(({ network }) => overlaps(network, entry.network))
    case 'address':
    case 'sysctl':
      return false
    default:
      return assertNever(entry)
  }
}
