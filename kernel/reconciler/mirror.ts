import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { DesiredState, Unreadable } from '../desired.ts'
import { isKept } from '../kinds/ownership.ts'
import { compare, type DesiredObject, deviceOf, type KernelObject, keyOf, type ObjectKind } from '../objects.ts'
import { type ObjectTable, OpFailure } from '../table.ts'
import { Attempts } from './pacing.ts'

const READ_TRIES = 3

/** Keys to compare with what is wanted. */
type Keys = ReadonlySet<string> | 'all'

export type Mirrors = ReadonlyMap<ObjectKind, KindMirror>

/** What the kernel holds of one kind, as last read and as changed by us since, beside what is wanted of it. */
export class KindMirror {
  readonly kind: ObjectKind
  readonly table: ObjectTable
  held = new KeyedObjects()
  /** Why it cannot be read now. */
  unreadable: Unreadable | undefined
  /** Changes between passes only. */
  readonly wanted = new Map<string, DesiredObject>()
  /** Keys that have not been right since they are wanted as they are now: their first repair is no drift. */
  readonly unsettled = new Set<string>()
  /** `stale`: must be read before it is compared again. `suspect`: only if something changed of which no event told. */
  #trust: 'current' | 'suspect' | 'stale' = 'stale'
  readonly #reads = new Attempts()
  /** What the pass that is under way compares, or the last one, if it did not come to its end. */
  #comparing: Keys = new Set()
  /** What the next pass compares: wanted differently, read again or not in place since. */
  #dirty: Set<string> | 'all' = 'all'

  constructor(table: ObjectTable) {
    this.kind = table.kind
    this.table = table
  }

  get isStale(): boolean {
    return this.#trust === 'stale'
  }

  /** It must be read again. */
  invalidate(): void {
    this.#trust = 'stale'
  }

  /** It must be read again if something changed of which no event told. */
  suspect(): void {
    if (this.#trust === 'current') this.#trust = 'suspect'
  }

  /**
   * Reads from the kernel, if it must, all that matters under the desired state; an invalidation that comes meanwhile
   * counts. False: it cannot be read now, or could not a short time ago. `onError` hears of each failed try.
   */
  async refresh(clock: Clock, desired: DesiredState, onError: () => void): Promise<boolean> {
    if (this.#trust === 'suspect') await this.#settleSuspicion()
    if (!this.isStale) return true
    if (this.unreadable !== undefined && this.#reads.dueAt > clock.now()) return false
    for (let tries = 1; ; tries += 1) {
      this.#trust = 'current'
      try {
        const listed = await this.table.dump(this.wanted.values(), desired.scope)
        this.held = new KeyedObjects(
          listed.filter((object) => isKept(object, desired)),
          this.wanted,
        )
        this.#dirty = 'all'
        this.unreadable = undefined
        this.#reads.succeeded()
        return true
      } catch (cause) {
        this.#trust = 'stale'
        onError()
        // Interrupted dumps are common on a busy host and worth a new try at once.
        if (tries < READ_TRIES) continue
        const code = cause instanceof OpFailure ? cause.code : ''
        const text = `kind ${this.kind} could not be read: ${messageOf(cause)}${code === '' ? '' : ` (${code})`}`
        this.unreadable = { text, code }
        this.#reads.failed(clock.now())
        return false
      }
    }
  }

  /** Whether there is anything to read or to compare. */
  get hasWork(): boolean {
    return this.#trust !== 'current' || isAny(this.#dirty) || isAny(this.#comparing)
  }

  /** When it must be read, or compared as a whole. */
  nextDue(now: number): number {
    if (this.unreadable !== undefined) return this.#reads.dueAt
    return this.isStale || this.#dirty === 'all' ? now : Number.POSITIVE_INFINITY
  }

  /** These must be compared by the next pass. */
  markDirty(keys: Iterable<string> | 'all'): void {
    if (keys === 'all') this.#dirty = 'all'
    else if (this.#dirty !== 'all') for (const key of keys) this.#dirty.add(key)
  }

  /** What a pass has to compare with what is wanted; it stays on the list until one came to its end. */
  startComparing(): Keys {
    const [dirty, left] = [this.#dirty, this.#comparing]
    if (dirty === 'all' || left === 'all') this.#comparing = 'all'
    else this.#comparing = left.size === 0 ? dirty : new Set([...left, ...dirty])
    this.#dirty = new Set()
    return this.#comparing
  }

  /** What the pass that compared what is wanted has to look at for what is not: more, if it had to be read once more meanwhile. */
  get comparing(): Keys {
    return this.#dirty === 'all' ? 'all' : this.#comparing
  }

  /** A pass came to its end. */
  endComparing(): void {
    if (isAny(this.#comparing)) this.#comparing = new Set()
  }

  /** As far as is known, also while it cannot be read. */
  isInPlace(key: string, object: DesiredObject): boolean {
    const held = this.held.front.get(key)
    return held !== undefined && compare(held, object) === 'same'
  }

  /** What is wanted of these. */
  wantedAt(keys: Keys): ReadonlyMap<string, DesiredObject> {
    if (keys === 'all') return this.wanted
    const picked = new Map<string, DesiredObject>()
    for (const key of keys) {
      const object = this.wanted.get(key)
      if (object !== undefined) picked.set(key, object)
    }
    return picked
  }

  unwant(key: string): void {
    this.wanted.delete(key)
    this.unsettled.delete(key)
    this.markDirty([key])
  }

  /** The device is gone or was made anew. */
  dropDevice(device: string): void {
    this.markDirty(this.held.dropDevice(device))
  }

  async #settleSuspicion(): Promise<void> {
    // What we changed ourselves is not in what the table remembers.
    const mayAsk = !this.held.touched && this.table.unchanged !== undefined
    const isUnchanged = mayAsk && (await this.table.unchanged?.().catch(() => false))
    if (this.#trust === 'suspect') this.#trust = isUnchanged ? 'current' : 'stale'
  }
}

/** Objects of one kind by key. The kernel may hold several at one key (far ends of an FDB entry): the first one counts. */
export class KeyedObjects {
  #front = new Map<string, KernelObject>()
  /** Further objects at keys of `front`; nearly always empty. */
  readonly behind = new Map<string, KernelObject[]>()
  /** Keys of `front` at which the kernel holds something that nobody here has wanted as it is; nearly always few. */
  readonly #others = new Set<string>()

  /** Changed since they were read. */
  touched = false

  /** Where the kernel holds what is `wanted`, the wanted object and its key are kept in place of a copy: there are thousands. */
  constructor(objects: Iterable<KernelObject> = [], wanted: ReadonlyMap<string, KernelObject> = new Map()) {
    for (const object of objects) this.#add(keyOf(object), object)
    const read = this.#front
    this.#front = new Map()
    for (const [key, object] of wanted) {
      const held = read.get(key)
      if (held === undefined || compare(held, object) !== 'same') continue
      this.#front.set(key, object)
      read.delete(key)
    }
    for (const [key, object] of read) this.#setFront(key, object)
  }

  get front(): ReadonlyMap<string, KernelObject> {
    return this.#front
  }

  /** In place of the first one at its key. */
  put(key: string, object: KernelObject): void {
    this.touched = true
    this.#setFront(key, object)
  }

  /** Whether something on this device is held that nobody here has wanted as it is. */
  hasOtherOn(device: string): boolean {
    for (const key of this.#others) {
      const object = this.#front.get(key)
      if (object !== undefined && deviceOf(object) === device) return true
    }
    return false
  }

  /** Removes this one of the objects at its key. */
  delete(key: string, object: KernelObject): void {
    const front = this.#front.get(key)
    const behind = this.behind.get(key)
    this.touched = true
    this.#front.delete(key)
    this.#others.delete(key)
    this.behind.delete(key)
    if (front === undefined || behind === undefined) return
    for (const held of [front, ...behind]) if (compare(held, object) !== 'same') this.#add(key, held)
    const first = this.#front.get(key)
    if (first !== undefined) this.#setFront(key, first)
  }

  /** Removes all that hangs on a device; returns the keys. */
  dropDevice(device: string): readonly string[] {
    return this.#dropWhere((object) => deviceOf(object) === device)
  }

  /** Removes all that lies in a table of rules; returns the keys. */
  dropTable(table: string): readonly string[] {
    return this.#dropWhere((object) => 'table' in object && object.table === table)
  }

  #dropWhere(isGone: (object: KernelObject) => boolean): readonly string[] {
    this.touched = true
    const dropped: string[] = []
    for (const [key, object] of this.#front) {
      if (!isGone(object)) continue
      this.#front.delete(key)
      this.#others.delete(key)
      this.behind.delete(key)
      dropped.push(key)
    }
    return dropped
  }

  #add(key: string, object: KernelObject): void {
    const behind = this.behind.get(key)
    if (behind !== undefined) behind.push(object)
    else if (this.#front.has(key)) this.behind.set(key, [object])
    else this.#front.set(key, object)
  }

  #setFront(key: string, object: KernelObject): void {
    this.#front.set(key, object)
    if ('role' in object) this.#others.delete(key)
    else this.#others.add(key)
  }
}

function isAny(keys: Keys): boolean {
  return keys === 'all' || keys.size > 0
}
