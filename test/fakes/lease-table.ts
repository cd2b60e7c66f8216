import type { Clock } from '../../lib/clock.ts'
import { Latest } from '../../lib/latest.ts'
import { untilFirst } from '../../lib/signals.ts'
import { withClaim } from '../../subnet/lease-codec.ts'
import { LeaseMirror, type RawLease, readLease } from '../../subnet/lease-mirror.ts'
import type { LeaseTable, LeaseWrite, MoveWrite, WriteResult } from '../../subnet/lease-table.ts'
import type { LeaseClaim, LeaseSnapshot } from '../../subnet/types.ts'

const dayMs = 86_400_000

/** The part of etcd that leases need, in memory: entries with revisions, shared by the stores of several nodes. */
export class FakeLeaseTable implements LeaseTable {
  readonly changes = new Latest<number>('fake changes')
  readonly #mirror = new LeaseMirror()
  readonly #entries = new Map<string, RawLease>()
  /** By id: when what nodes have written expires. */
  readonly #ends = new Map<string, number>()
  readonly #ttlMs: number
  readonly clock: Clock
  /** Another one when the data was lost: its revisions begin again. */
  history = 1
  #revision = 1
  /** How many puts there were. */
  writes = 0

  constructor(needs: { clock: Clock }, options: { ttlMs: number } = { ttlMs: dayMs }) {
    this.clock = needs.clock
    this.#ttlMs = options.ttlMs
    this.changes.set(0)
  }

  /** As by `etcdctl put`; `expires` false makes a reservation. */
  put(id: string, value: string, expires = true): void {
    this.#store(id, value, expires)
  }

  /** Deletes what its node has not renewed in time; returns the NodeIDs. */
  endExpired(): readonly string[] {
    const ended = [...this.#ends].flatMap(([id, end]) => (end <= this.clock.now() ? [id] : []))
    const holders = ended.map((id) => this.entry(id)?.lease?.node ?? '')
    for (const id of ended) this.delete(id)
    return holders
  }

  delete(id: string): void {
    this.#ends.delete(id)
    this.#revision += 1
    this.#entries.delete(id)
    this.#mirror.remove(id, String(this.#revision))
    this.changes.set(this.#revision)
  }

  /** Empty, and its revisions begin again, as when etcd's data is lost. */
  wipe(): void {
    this.#entries.clear()
    this.history += 1
    this.#revision = 1
    this.#mirror.beginList(false).commit(1n)
    this.changes.set(this.changes.current === 1 ? 0 : 1)
  }

  value(id: string): string | undefined {
    const raw = this.#entries.get(id)
    return raw && Buffer.from(raw.value).toString()
  }

  /** What stands there now. */
  raw(id: string): RawLease | undefined {
    return this.#entries.get(id)
  }

  list(): { readonly entries: readonly RawLease[]; readonly revision: bigint } {
    return { entries: [...this.#entries.values()], revision: BigInt(this.#revision) }
  }

  snapshot(): LeaseSnapshot {
    return this.#mirror.snapshot()
  }

  async view(signal: AbortSignal): Promise<LeaseSnapshot> {
    signal.throwIfAborted()
    return this.snapshot()
  }

  async passed(_version: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
  }

  entry(id: string) {
    return this.#mirror.entry(id)
  }

  name(id: string): string {
    return `/coreos.com/network/subnets/${id}`
  }

  async claim(id: string, version: string, claim: LeaseClaim, signal: AbortSignal): Promise<string | undefined> {
    signal.throwIfAborted()
    const before = this.#entries.get(id)
    if (before?.modified !== version) return undefined
    return this.#store(id, withClaim(before.value, claim), before.expiry !== '0').modified
  }

  async quiet(id: string, version: string, ms: number, signal: AbortSignal): Promise<boolean> {
    const over = new AbortController()
    return await untilFirst([signal, over.signal], async (stop) => {
      const changed = async () => {
        for await (const _change of this.changes.watch(stop)) if (this.entry(id)?.version !== version) return
      }
      await Promise.race([this.clock.sleep(ms, stop).catch(() => {}), changed()])
      over.abort()
      signal.throwIfAborted()
      return this.entry(id)?.version === version
    })
  }

  async write({ id, value, expected, reserved }: LeaseWrite, signal: AbortSignal): Promise<WriteResult> {
    signal.throwIfAborted()
    const before = this.#entries.get(id)
    if (before?.modified !== (expected === 'absent' ? undefined : expected.version)) {
      return { won: false, current: before && { lease: leaseOf(before), version: before.modified } }
    }
    const raw = this.#store(id, value, !reserved)
    if (!reserved) this.#ends.set(id, this.clock.now() + this.#ttlMs)
    const lease = leaseOf(raw)
    if (lease === undefined) throw new TypeError(`unreadable lease ${id} written`)
    return {
      won: true,
      own: { lease, version: raw.modified, expiresAt: reserved ? undefined : this.clock.wall() + this.#ttlMs },
    }
  }

  async move(from: string, write: MoveWrite, signal: AbortSignal): Promise<WriteResult> {
    signal.throwIfAborted()
    const before = this.#entries.get(from)
    if (before?.modified !== write.expected.version || this.#entries.has(write.id))
      return { won: false, current: before && { lease: leaseOf(before), version: before.modified } }
    // One revision for both.
    this.#ends.delete(from)
    this.#entries.delete(from)
    this.#mirror.remove(from, String(this.#revision + 1))
    return await this.write({ ...write, expected: 'absent' }, signal)
  }

  async remove(id: string, version: string, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted()
    if (this.entry(id)?.version !== version) return false
    this.delete(id)
    return true
  }

  #store(id: string, value: string, expires: boolean): RawLease {
    this.#revision += 1
    this.writes += 1
    const modified = String(this.#revision)
    const created = this.#entries.get(id)?.created ?? modified
    const raw = { id, value: Buffer.from(value), created, modified, expiry: expires ? modified : '0' }
    this.#entries.set(id, raw)
    this.#mirror.put(raw)
    this.changes.set(this.#revision)
    return raw
  }
}

function leaseOf(raw: RawLease) {
  const lease = readLease(raw)
  return 'reason' in lease ? undefined : lease
}
