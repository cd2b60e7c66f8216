import { compare, deviceOf, type KernelObject, keyOf } from '../objects.ts'

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
