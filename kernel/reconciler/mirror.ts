import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { DesiredState, Unreadable } from '../desired.ts'
import { isKept } from '../kinds/ownership.ts'
import { compare, type DesiredObject, deviceOf, type KernelObject, keyOf, type ObjectKind } from '../objects.ts'
import { type ObjectTable, OpFailure } from '../table.ts'
import { backoffMs } from './pacing.ts'

const READ_TRIES = 3

/** What the kernel holds of one kind, as last read and as changed by us since, beside what is wanted of it. */
export class KindMirror {
  readonly kind: ObjectKind
  readonly table: ObjectTable
  held = new KeyedObjects()
  /** Must be read before it is compared again. */
  stale = true
  /** Must be checked for changes that no event told of, and be read only if there are any. */
  doubtful = false
  /** Why it cannot be read now, and when that is tried again, on `Clock.now()`. */
  unreadable: (Unreadable & { readonly failures: number; readonly retryAt: number }) | undefined
  /** Changes between passes only. */
  readonly wanted = new Map<string, DesiredObject>()
  /** Keys to compare, unless all are `unexamined`: wanted differently since the last pass, or not in place after it. */
  changed = new Set<string>()
  unexamined = true
  /** Keys that have not been right since they are wanted as they are now: their first repair is no drift. */
  readonly unsettled = new Set<string>()

  constructor(table: ObjectTable) {
    this.kind = table.kind
    this.table = table
  }

  /**
   * Reads from the kernel, if it is stale, all that matters under the desired state; an invalidation that comes meanwhile
   * counts. False: it cannot be read now, or could not a short time ago. `onError` hears of each failed try.
   */
  async refresh(clock: Clock, desired: DesiredState, onError: () => void): Promise<boolean> {
    if (this.doubtful && !this.stale && !(await this.#unchanged())) this.stale = true
    this.doubtful = false
    if (!this.stale) return true
    if (this.unreadable !== undefined && this.unreadable.retryAt > clock.now()) return false
    for (let tries = 1; ; tries += 1) {
      this.stale = false
      try {
        const listed = await this.table.dump(this.wanted.values(), desired.scope)
        this.held = new KeyedObjects(
          listed.filter((object) => isKept(object, desired)),
          this.wanted,
        )
        this.unexamined = true
        this.unreadable = undefined
        return true
      } catch (cause) {
        this.stale = true
        onError()
        // Interrupted dumps are common on a busy host and worth a new try at once.
        if (tries < READ_TRIES) continue
        const failures = (this.unreadable?.failures ?? 0) + 1
        const code = cause instanceof OpFailure ? cause.code : ''
        const text = `kind ${this.kind} could not be read: ${messageOf(cause)}${code === '' ? '' : ` (${code})`}`
        this.unreadable = { text, code, failures, retryAt: clock.now() + backoffMs(failures) }
        return false
      }
    }
  }

  /** Whether there is anything to read or to compare. */
  get hasWork(): boolean {
    return this.stale || this.doubtful || this.unexamined || this.changed.size > 0
  }

  /** As far as is known, also while it cannot be read. */
  isInPlace(key: string, object: DesiredObject): boolean {
    const held = this.held.front.get(key)
    return held !== undefined && compare(held, object) === 'same'
  }

  async #unchanged(): Promise<boolean> {
    // What we changed ourselves is not in what the table remembers.
    if (this.held.touched || this.table.unchanged === undefined) return false
    return await this.table.unchanged().catch(() => false)
  }

  /** The wanted objects at the `changed` keys. */
  wantedOfChanged(): ReadonlyMap<string, DesiredObject> {
    const picked = new Map<string, DesiredObject>()
    for (const key of this.changed) {
      const object = this.wanted.get(key)
      if (object !== undefined) picked.set(key, object)
    }
    return picked
  }

  unwant(key: string): void {
    this.wanted.delete(key)
    this.unsettled.delete(key)
    this.changed.add(key)
  }

  dropDevice(device: string): void {
    this.held.dropDevice(device)
    this.unexamined = true
  }

  /** After a pass. */
  examined(failing: Set<string>): void {
    this.unexamined = false
    this.changed = failing
  }
}

/** Objects of one kind by key. The kernel may hold several at one key (far ends of an FDB entry): the first one counts. */
export class KeyedObjects {
  #front = new Map<string, KernelObject>()
  /** Further objects at keys of `front`; nearly always empty. */
  readonly behind = new Map<string, KernelObject[]>()

  /** Changed since they were read. */
  touched = false

  /** Where the kernel holds what is `wanted`, the wanted object and its key are kept in place of a copy: there are thousands. */
  constructor(objects: Iterable<KernelObject> = [], wanted: ReadonlyMap<string, KernelObject> = new Map()) {
    for (const object of objects) this.#add(keyOf(object), object)
    if (wanted.size === 0) return
    const read = this.#front
    this.#front = new Map()
    for (const [key, object] of wanted) {
      const held = read.get(key)
      if (held === undefined || compare(held, object) !== 'same') continue
      this.#front.set(key, object)
      read.delete(key)
    }
    for (const [key, object] of read) this.#front.set(key, object)
  }

  get front(): ReadonlyMap<string, KernelObject> {
    return this.#front
  }

  /** In place of the first one at its key. */
  put(key: string, object: KernelObject): void {
    this.touched = true
    this.#front.set(key, object)
  }

  /** Removes this one of the objects at its key. */
  delete(key: string, object: KernelObject): void {
    const front = this.#front.get(key)
    const behind = this.behind.get(key)
    this.touched = true
    this.#front.delete(key)
    this.behind.delete(key)
    if (front === undefined || behind === undefined) return
    for (const held of [front, ...behind]) if (compare(held, object) !== 'same') this.#add(key, held)
  }

  /** Removes all that hangs on a device. */
  dropDevice(device: string): void {
    this.#dropWhere((object) => deviceOf(object) === device)
  }

  /** Removes all that lies in a table of rules. */
  dropTable(table: string): void {
    this.#dropWhere((object) => 'table' in object && object.table === table)
  }

  #dropWhere(isGone: (object: KernelObject) => boolean): void {
    this.touched = true
    for (const [key, object] of this.#front) {
      if (!isGone(object)) continue
      this.#front.delete(key)
      this.behind.delete(key)
    }
  }

  #add(key: string, object: KernelObject): void {
    const behind = this.behind.get(key)
    if (behind !== undefined) behind.push(object)
    else if (this.#front.has(key)) this.behind.set(key, [object])
    else this.#front.set(key, object)
  }
}
