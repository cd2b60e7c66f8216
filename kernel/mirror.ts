import { KeyedObjects } from './keyed-objects.ts'
import { compare, type DesiredObject, type KernelObject, type ObjectKind } from './objects.ts'
import type { ObjectTable } from './table.ts'

/** What the kernel holds of one kind, as last read and as changed by us since, beside what is wanted of it. */
export class KindMirror {
  readonly kind: ObjectKind
  readonly table: ObjectTable
  held = new KeyedObjects()
  /** Must be read before it is compared again. */
  stale = true
  /** Why it cannot be read now, and when that is tried again, on `Clock.now()`. */
  unreadable: { readonly text: string; readonly failures: number; readonly retryAt: number } | undefined
  wanted: ReadonlyMap<string, DesiredObject> = new Map()
  /** Keys that have not been right since they are wanted as they are now: their first repair is no drift. */
  readonly unsettled = new Set<string>()

  constructor(table: ObjectTable) {
    this.kind = table.kind
    this.table = table
  }

  /** Reads all from the kernel. An invalidation that comes meanwhile counts. Throws what the table throws. */
  async read(): Promise<void> {
    this.stale = false
    try {
      this.held = new KeyedObjects(await this.table.dump(this.wanted.values()))
    } catch (cause) {
      this.stale = true
      throw cause
    }
  }

  /** Whether this is what is still wanted at the key; the wish may have changed during a pass. */
  wants(key: string, tried: KernelObject | undefined): boolean {
    const wanted = this.wanted.get(key)
    return wanted !== undefined && (wanted === tried || (tried !== undefined && compare(tried, wanted) === 'same'))
  }
}
