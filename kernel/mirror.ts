import { type DesiredObject, deviceOf, type KernelObject, keyOf, type ObjectKind } from './objects.ts'
import { KINDS } from './order.ts'
import type { ObjectTable } from './table.ts'

/** What the kernel holds of one kind, as last read and as changed by us since. */
export class KindMirror {
  readonly kind: ObjectKind
  readonly table: ObjectTable
  /** Must be read before it is compared again. */
  stale = true
  /** Objects wanted, by key. */
  wanted: Map<string, DesiredObject> = new Map()
  /** Keys that have not been right since they are wanted as they are now: their first repair is no drift. */
  readonly unsettled = new Set<string>()
  /** Why it cannot be read now, and when that is tried again, on `Clock.now()`. */
  unreadable: { readonly text: string; readonly failures: number; readonly retryAt: number } | undefined
  #actual = new Map<string, KernelObject>()
  // The kernel may hold several objects at one key (appended routes, FDB entries): the first one counts.
  #behind = new Map<string, KernelObject[]>()

  constructor(table: ObjectTable) {
    this.kind = table.kind
    this.table = table
  }

  get actual(): ReadonlyMap<string, KernelObject> {
    return this.#actual
  }

  /** Reads all from the kernel. An invalidation that comes meanwhile counts. Throws what the table throws. */
  async read(): Promise<void> {
    this.stale = false
    let objects: readonly KernelObject[]
    try {
      objects = await this.table.dump(this.wanted.values())
    } catch (cause) {
      this.stale = true
      throw cause
    }
    this.#actual = new Map()
    this.#behind = new Map()
    for (const object of objects) this.#take(keyOf(object), object)
  }

  set(key: string, object: KernelObject): void {
    this.#actual.set(key, object)
  }

  delete(key: string): void {
    const next = this.#behind.get(key)?.shift()
    if (next === undefined) this.#actual.delete(key)
    else this.#actual.set(key, next)
  }

  /** Forgets all that hung on a device. */
  dropDevice(device: string): void {
    if (!KINDS[this.kind].onDevices) return
    for (const [key, object] of this.#actual) {
      if (deviceOf(object) !== device) continue
      this.#actual.delete(key)
      this.#behind.delete(key)
    }
  }

  #take(key: string, object: KernelObject): void {
    if (!this.#actual.has(key)) {
      this.#actual.set(key, object)
      return
    }
    const behind = this.#behind.get(key)
    if (behind === undefined) this.#behind.set(key, [object])
    else behind.push(object)
  }
}
