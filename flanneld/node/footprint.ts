import type { Way } from '../../backends/way.ts'
import type { OwnershipScope } from '../../kernel/desired.ts'
import {
  entriesOf,
  type JournalEntries,
  NO_ENTRIES,
  scopeOf,
  scopeWith,
  withEntries,
} from '../../kernel/reconciler/journal.ts'
import type { Configuration } from './configuration.ts'

/** What this instance may come to own in the kernel under these configurations: what it claims before other instances. */
export function footprintOf(
  configurations: readonly Pick<Configuration, 'backend' | 'config' | 'network'>[],
): OwnershipScope {
  const used = configurations.flatMap(({ backend, config, network }) =>
    entriesOf({
      devices: new Set(backend.devices(config, network).flatMap(({ names }) => [...names.values()])),
      fouPorts: new Set(backend.fouPorts?.(config) ?? []),
      networks: Array.from(network.families.values(), (part) => ({ network: part.network, subnetLen: part.subnetLen })),
    }),
  )
  return scopeOf(withEntries(NO_ENTRIES, used))
}

/**
 * What it owns by these ways. Of the names that their devices may have only those that they have: what stands under another one may be
 * somebody else's, and what this instance has made there is on record.
 */
export function scopeOfWays(
  configurations: Parameters<typeof footprintOf>[0],
  ways: readonly Pick<Way, 'devices'>[],
): OwnershipScope {
  return {
    ...footprintOf(configurations),
    devices: new Set(ways.flatMap(({ devices }) => [...devices.names.values()])),
  }
}

/** What is its own in the kernel, of earlier configurations, too, or is going to be. `ways`: those that are known by now. */
export function ownedBy(
  configurations: Parameters<typeof footprintOf>[0],
  ways: readonly Pick<Way, 'devices'>[] | undefined,
  entries: JournalEntries,
): OwnershipScope {
  return scopeWith(scopeOfWays(configurations, ways ?? []), entries)
}
