import type { OwnershipScope } from '../../kernel/desired.ts'
import { entriesOf, NO_ENTRIES, scopeOf, withEntries } from '../../kernel/reconciler/journal.ts'
import type { Configuration } from './configuration.ts'

/** What this instance may come to own in the kernel under these configurations. */
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
