import type { Lifecycle } from '../../lib/lifecycle.ts'
import type { ObjectTable } from '../table.ts'
import type { Reconciler } from './reconciler.ts'

/** Starts the watches of all tables that have one. What changes is an event to the reconciler, like those of the kernel's monitor. */
export function watchTables(
  needs: { readonly reconciler: Pick<Reconciler, 'onEvents'>; readonly lifecycle: Lifecycle },
  tables: readonly ObjectTable[],
): void {
  for (const table of tables) {
    if (table.watch === undefined) continue
    const onChange = () => needs.reconciler.onEvents([{ type: 'kinds', kinds: [table.kind] }])
    needs.lifecycle.run(`watch over ${table.kind}`, async (stop) => await table.watch?.(onChange, stop))
  }
}
