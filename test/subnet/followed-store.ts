import assert from 'node:assert/strict'
import { LeaseMirror, type RawLease } from '../../subnet/lease-mirror.ts'

interface Event {
  readonly id: string
  /** Which state of this entry it tells. */
  readonly state: number
  readonly revision: number
  readonly raw: RawLease | undefined
}

/** An etcd with a mirror that follows it as the range follower does: lists, then the events behind the list, in order. */
export class FollowedStore {
  readonly mirror = new LeaseMirror()
  readonly #entries = new Map<string, RawLease>()
  /** Of every entry, in order: its versions, undefined where it was away. */
  #states = new Map<string, (string | undefined)[]>()
  /** Of every entry: the state that the mirror has shown last, or ought to have by now. */
  #shown = new Map<string, number>()
  #events: Event[] = []
  #told = 0
  #revision = 1
  #history = 0
  #isListing = false

  constructor() {
    this.#take(this.#read(), false)
  }

  put(id: string, value: string, expires: boolean): void {
    this.#revision += 1
    const modified = String(this.#revision)
    const created = this.#entries.get(id)?.created ?? modified
    // Each history has etcd leases of its own.
    const expiry = expires ? `${this.#history}${modified}` : '0'
    const raw = { id, value: Buffer.from(value), created, modified, expiry }
    this.#entries.set(id, raw)
    this.#happened(id, raw)
  }

  delete(id: string): void {
    if (!this.#entries.delete(id)) return
    this.#revision += 1
    this.#happened(id, undefined)
  }

  /** The watch tells so many events more; not while a list is read. */
  tell(events: number): void {
    if (this.#isListing) return
    for (const event of this.#events.slice(this.#told, this.#told + events)) this.#apply(event)
    this.#told = Math.min(this.#events.length, this.#told + events)
  }

  /** A watch that begins anew a little earlier. */
  tellAgain(events: number): void {
    if (this.#isListing) return
    for (const event of this.#events.slice(Math.max(0, this.#told - events), this.#told)) this.#apply(event)
  }

  /** The answer to an own write shows what stands there; it may come late. */
  answer(id: string): () => void {
    const raw = this.#entries.get(id)
    const revision = String(this.#revision)
    const state = this.#statesOf(id).length - 1
    const history = this.#history
    return () => {
      if (history !== this.#history) return
      this.mirror.learn(id, raw, revision)
      this.#mustShow(id, state)
    }
  }

  /** Read now, taken over later. */
  list(): () => void {
    if (this.#isListing) return () => {}
    this.#isListing = true
    const list = this.#read()
    const history = this.#history
    return () => {
      if (history === this.#history) this.#take(list, true)
    }
  }

  /** The store's data is lost, and a backup with these entries is put in; the follower notices and reads all anew. */
  restore(ids: readonly string[]): void {
    this.#entries.clear()
    this.#states = new Map()
    this.#shown = new Map()
    this.#events = []
    this.#revision = 1
    this.#history += 1
    for (const id of ids) this.put(id, '{"PublicIP":"192.168.64.3"}', true)
    this.#take(this.#read(), false)
  }

  /** No entry is older than what was told, and none goes back. */
  assertNoneGoesBack(): void {
    for (const [id, states] of this.#states) {
      const version = this.mirror.entry(id)?.version
      const from = this.#shown.get(id) ?? 0
      const at = states.indexOf(version, from)
      assert.notEqual(at, -1, `${id} is at ${version}, which was before ${states[from]}`)
      this.#shown.set(id, at)
    }
  }

  /** The same entries, decoded by a mirror that has seen nothing before. */
  fresh(): LeaseMirror {
    const fresh = new LeaseMirror()
    const list = fresh.beginList(false)
    for (const entry of this.#entries.values()) list.add(entry)
    list.commit(BigInt(this.#revision))
    return fresh
  }

  #happened(id: string, raw: RawLease | undefined): void {
    const states = this.#statesOf(id)
    states.push(raw?.modified)
    this.#events.push({ id, state: states.length - 1, revision: this.#revision, raw })
  }

  #statesOf(id: string): (string | undefined)[] {
    const states = this.#states.get(id) ?? [undefined]
    this.#states.set(id, states)
    return states
  }

  #mustShow(id: string, state: number): void {
    this.#shown.set(id, Math.max(this.#shown.get(id) ?? 0, state))
  }

  #read() {
    const states = new Map([...this.#states].map(([id, all]) => [id, all.length - 1] as const))
    return { at: this.#events.length, revision: this.#revision, entries: [...this.#entries.values()], states }
  }

  #take(
    list: { at: number; revision: number; entries: readonly RawLease[]; states: ReadonlyMap<string, number> },
    isSameHistory: boolean,
  ): void {
    const target = this.mirror.beginList(isSameHistory)
    for (const entry of list.entries) target.add(entry)
    target.commit(BigInt(list.revision))
    for (const [id, state] of list.states) this.#mustShow(id, state)
    this.#told = list.at
    this.#isListing = false
  }

  #apply({ id, state, revision, raw }: Event): void {
    if (raw === undefined) this.mirror.remove(id, String(revision))
    else this.mirror.put(raw)
    this.#mustShow(id, state)
  }
}
