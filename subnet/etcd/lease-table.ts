import type { Cidr, Family } from '../../lib/address.ts'
import { type Clock, withDeadline } from '../../lib/clock.ts'
import type { Source } from '../../lib/latest.ts'
import { untilFirst } from '../../lib/signals.ts'
import { decodeLeaseKey, withClaim } from '../lease-codec.ts'
import { type LeaseMirror, type RawLease, readLease } from '../lease-mirror.ts'
import type { LeaseTable, LeaseWrite, MoveWrite, WriteResult } from '../lease-table.ts'
import type { Lease, LeaseClaim, LeaseSnapshot, OwnLease } from '../types.ts'
import { EtcdLeaseGone } from './errors.ts'
import type { Grant, LeaseWrites, TxnOutcome } from './lease-writes.ts'
import type { KeyValue } from './rpc.ts'

interface Needs {
  readonly clock: Clock
  readonly writes: LeaseWrites
  readonly mirror: LeaseMirror
  /** Waits until the mirror is current. */
  readonly current: (signal: AbortSignal) => Promise<void>
  /** Waits until it is not, even for a moment. */
  readonly interrupted: (signal: AbortSignal) => Promise<void>
  /** Tells of every change of the mirror. */
  readonly changes: Source<unknown>
  /** The mirror was changed. */
  readonly changed: () => void
}

/** The writes of one claim, with the etcd lease that it was granted: kept over lost races, ended if none of them used it. */
export class EtcdLeaseTable implements LeaseTable {
  readonly #needs: Needs
  readonly #folder: string
  readonly #unused: string[] = []
  #granted: Grant | undefined
  #uncertain: string | undefined

  constructor(needs: Needs, options: { folder: string }) {
    this.#needs = needs
    this.#folder = options.folder
  }

  async view(signal: AbortSignal): Promise<LeaseSnapshot> {
    await this.#needs.current(signal)
    return this.#needs.mirror.snapshot()
  }

  async passed(version: string, signal: AbortSignal): Promise<void> {
    for await (const _change of this.#needs.changes.watch(signal)) if (this.#needs.mirror.hasFollowed(version)) return
    signal.throwIfAborted()
  }

  entry(id: string) {
    return this.#needs.mirror.entry(id)
  }

  name(id: string): string {
    return `${this.#folder}${id}`
  }

  async claim(id: string, version: string, claim: LeaseClaim, signal: AbortSignal): Promise<string | undefined> {
    const change = (value: Uint8Array) => withClaim(value, claim)
    const outcome = await this.#needs.writes.amend(this.#key(id), version, change, signal)
    this.#learn(id, outcome)
    return outcome.won ? outcome.entry?.mod_revision : undefined
  }

  async quiet(id: string, version: string, ms: number, signal: AbortSignal): Promise<boolean> {
    const { clock, current, interrupted, changes } = this.#needs
    for (;;) {
      await current(signal)
      const stands = () => this.entry(id)?.version === version
      const changed = async (stop: AbortSignal) => {
        for await (const _change of changes.watch(stop)) if (!stands()) return
      }
      // While etcd is away its silence says nothing about the holder, who cannot write either: the time begins anew.
      const end = await firstToEnd(signal, {
        quiet: (stop) => clock.sleep(ms, stop),
        interrupted,
        changed,
      })
      signal.throwIfAborted()
      if (!stands()) return false
      if (end === 'quiet') return true
    }
  }

  /** Subnets of a write whose answer was lost. */
  uncertainSubnets(): ReadonlyMap<Family, Cidr> {
    return (this.#uncertain === undefined ? undefined : decodeLeaseKey(this.#uncertain)) ?? new Map()
  }

  async write(write: LeaseWrite, signal: AbortSignal): Promise<WriteResult> {
    const { expected } = write
    const before = expected === 'absent' ? undefined : { id: write.id, version: expected.version }
    return await this.#put(write, before, signal, async (grant) => {
      const outcome = await this.#needs.writes.put(this.#key(write.id), write, grant, signal)
      this.#learn(write.id, outcome)
      return outcome
    })
  }

  async move(from: string, write: MoveWrite, signal: AbortSignal): Promise<WriteResult> {
    return await this.#put(write, { id: from, ...write.expected }, signal, async (grant) => {
      const outcome = await this.#needs.writes.move(this.#key(from), this.#key(write.id), write, grant, signal)
      if (outcome.won) {
        // Both, before anybody is told of one.
        this.#needs.mirror.learn(from, undefined, outcome.revision)
        this.#learn(write.id, outcome)
      } else this.#learn(from, outcome)
      return outcome
    })
  }

  async #put(
    write: LeaseWrite,
    over: { readonly id: string; readonly version: string } | undefined,
    signal: AbortSignal,
    put: (grant: Grant) => Promise<TxnOutcome>,
  ): Promise<WriteResult> {
    const before = over && this.#needs.mirror.get(over.id)
    for (;;) {
      const grant = write.reserved ? await this.#needs.writes.grant(true, signal) : await this.#grant(signal)
      try {
        this.#uncertain = write.id
        const outcome = await put(grant)
        this.#uncertain = undefined
        if (!outcome.won || outcome.entry === undefined) return { won: false, current: this.#holder(outcome) }
        if (!write.reserved) this.#granted = undefined
        if (before !== undefined && before.modified === over?.version) this.#unused.push(before.expiry)
        return { won: true, own: this.#own(write.id, outcome.entry, grant) }
      } catch (cause) {
        if (!(cause instanceof EtcdLeaseGone)) throw cause
        this.#granted = undefined
      }
    }
  }

  async remove(id: string, version: string, signal: AbortSignal): Promise<boolean> {
    const before = this.#needs.mirror.get(id)
    const outcome = await this.#needs.writes.delete(this.#key(id), version, signal)
    this.#learn(id, outcome)
    if (outcome.won && before?.modified === version) this.#unused.push(before.expiry)
    return outcome.won
  }

  /** Tidies up, for at most two seconds: what is left runs out by itself. */
  async close(signal: AbortSignal): Promise<void> {
    const ids = [...this.#unused, ...(this.#granted === undefined ? [] : [this.#granted.id])]
    if (ids.length === 0 || signal.aborted) return
    await withDeadline(2000, signal, async (soon) => {
      for (const id of ids) await this.#needs.writes.revokeUnused(id, soon)
    })
  }

  async #grant(signal: AbortSignal): Promise<Grant> {
    this.#granted ??= await this.#needs.writes.grant(false, signal)
    return this.#granted
  }

  #key(id: string): Buffer {
    return Buffer.from(`${this.#folder}${id}`)
  }

  // What a transaction showed is newer than the watch; the next decision must see it.
  #learn(id: string, { entry, revision }: TxnOutcome): void {
    this.#needs.mirror.learn(id, entry && rawLease(entry, this.#folder), revision)
    this.#needs.changed()
  }

  #holder({ entry }: TxnOutcome) {
    if (entry === undefined) return undefined
    return { lease: this.#read(entry), version: entry.mod_revision }
  }

  #own(id: string, entry: KeyValue, grant: Grant): OwnLease {
    const lease = this.#read(entry)
    if (lease === undefined) throw new TypeError(`the own lease ${id} cannot be read back`)
    return { lease, version: entry.mod_revision, expiresAt: grant.expiresAt }
  }

  #read(entry: KeyValue): Lease | undefined {
    const lease = readLease(rawLease(entry, this.#folder))
    return 'reason' in lease ? undefined : lease
  }
}

/** Runs all until one has ended, and says which. */
async function firstToEnd<K extends string>(
  signal: AbortSignal,
  works: Record<K, (stop: AbortSignal) => Promise<void>>,
): Promise<K> {
  const over = new AbortController()
  return await untilFirst([signal, over.signal], async (stop) => {
    const running = (Object.keys(works) as K[]).map(async (name) => {
      // Those that come later are cut short, which is no error.
      await works[name](stop).catch(() => {})
      over.abort()
      return name
    })
    return await Promise.race(running)
  })
}

export function rawLease(entry: KeyValue, folder: string): RawLease {
  const { value, create_revision, mod_revision, lease } = entry
  return { id: idOf(entry, folder), value, created: create_revision, modified: mod_revision, expiry: lease }
}

export function idOf(entry: KeyValue, folder: string): string {
  // Not a slice of the whole key's text, which would keep that text alive.
  return entry.key.toString('utf8', Buffer.byteLength(folder))
}
