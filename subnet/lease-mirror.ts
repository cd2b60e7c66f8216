import { InvalidLease } from '../lib/errors.ts'
import { PersistentMap } from '../lib/persistent-map.ts'
import { decodeLeaseKey, decodeLeaseValue } from './lease-codec.ts'
import type { Lease, LeaseSnapshot, RejectedLease } from './types.ts'

/** An entry of the store before it is read. Revisions are decimal text, as they come. */
export interface RawLease {
  /** The last part of the key. */
  readonly id: string
  readonly value: Uint8Array
  readonly created: string
  readonly modified: string
  /** Something that differs between entries of equal revisions, should the store's history be replaced: the etcd lease. */
  readonly expiry: string
}

/** What is kept of an entry: never the raw value, of which there may be thousands. */
export interface MirrorEntry {
  readonly id: string
  readonly lease: Lease | undefined
  readonly rejected: RejectedLease | undefined
  readonly modified: string
  /** `0`: none, the entry does not run out. */
  readonly expiry: string
}

/**
 * The leases as the store was last seen to hold them. Only what changed is decoded; a snapshot shares with the one before what has not
 * changed.
 */
export class LeaseMirror {
  #entries = new Map<string, MirrorEntry>()
  #leases = PersistentMap.from<Lease>([])
  readonly #unreadable = new Map<string, RejectedLease>()
  #revision = 0n
  /** How far the lists and the watch have told everything. */
  #followed = 0n
  /** Deletions that an answer has shown and the watch has not told of yet, with the revision of the answer. */
  readonly #gone = new Map<string, bigint>()
  #snapshot: LeaseSnapshot | undefined

  get size(): number {
    return this.#entries.size
  }

  get(id: string): MirrorEntry | undefined {
    return this.#entries.get(id)
  }

  entry(id: string): { readonly lease: Lease | undefined; readonly version: string } | undefined {
    const entry = this.#entries.get(id)
    return entry && { lease: entry.lease, version: entry.modified }
  }

  /** Whether all that the store has told up to this revision is in here. */
  hasFollowed(revision: string): boolean {
    return this.#followed >= BigInt(revision)
  }

  snapshot(): LeaseSnapshot {
    this.#snapshot ??= {
      revision: String(this.#revision),
      leases: this.#leases,
      unreadable: [...this.#unreadable.values()],
    }
    return this.#snapshot
  }

  /** An event of the watch. An older state than the one known is ignored: it was learned already. */
  put(raw: RawLease): void {
    this.#follow(BigInt(raw.modified))
    this.#put(raw)
  }

  /** An event of the watch. */
  remove(id: string, revision: string): void {
    this.#follow(BigInt(revision))
    this.#remove(id, revision)
  }

  /**
   * What an answer beside the watch showed to stand there at `revision`, before the watch tells of it. What the watch has passed already
   * is ignored: it may have been deleted since.
   */
  learn(id: string, raw: RawLease | undefined, revision: string): void {
    if (BigInt(raw?.modified ?? revision) <= this.#followed) return
    if (raw === undefined) {
      this.#remove(id, revision)
      this.#gone.set(id, BigInt(revision))
    } else this.#put(raw)
  }

  /** A whole list that replaces everything at `commit`; unchanged entries are taken over as they are. */
  beginList(sameHistory: boolean): { add(raw: RawLease): void; commit(revision: bigint): void } {
    const next = new Map<string, MirrorEntry>()
    return {
      add: (raw) => {
        const known = sameHistory ? this.#entries.get(raw.id) : undefined
        const same =
          known !== undefined && known.modified === raw.modified && known.expiry === raw.expiry && raw.expiry !== '0'
        next.set(raw.id, same ? known : readEntry(raw))
      },
      commit: (revision) => {
        for (const entry of sameHistory ? this.#entries.values() : []) {
          // Written by us after the list was read.
          if (BigInt(entry.modified) > revision) next.set(entry.id, entry)
        }
        for (const [id, at] of this.#gone) {
          if (sameHistory && at > revision) next.delete(id)
          else this.#gone.delete(id)
        }
        this.#entries = next
        this.#leases = PersistentMap.from(leasesOf(next.values()))
        this.#unreadable.clear()
        for (const { id, rejected } of next.values()) if (rejected !== undefined) this.#unreadable.set(id, rejected)
        this.#revision = 0n
        this.#followed = revision
        this.#changed(revision)
      },
    }
  }

  #put(raw: RawLease): void {
    const known = this.#entries.get(raw.id)
    if (known !== undefined && BigInt(known.modified) >= BigInt(raw.modified)) return
    if ((this.#gone.get(raw.id) ?? 0n) >= BigInt(raw.modified)) return
    const entry = readEntry(raw)
    this.#entries.set(raw.id, entry)
    if (entry.lease === undefined) this.#drop(raw.id)
    else this.#leases = this.#leases.patched([], [[raw.id, entry.lease]])
    if (entry.rejected === undefined) this.#unreadable.delete(raw.id)
    else this.#unreadable.set(raw.id, entry.rejected)
    this.#changed(BigInt(raw.modified))
  }

  #remove(id: string, revision: string): void {
    const known = this.#entries.get(id)
    if (known === undefined || BigInt(known.modified) > BigInt(revision)) return
    this.#entries.delete(id)
    this.#drop(id)
    this.#unreadable.delete(id)
    this.#changed(BigInt(revision))
  }

  #follow(revision: bigint): void {
    if (revision <= this.#followed) return
    this.#followed = revision
    for (const [id, at] of this.#gone) if (at <= revision) this.#gone.delete(id)
  }

  #drop(id: string): void {
    if (this.#leases.has(id)) this.#leases = this.#leases.patched([id], [])
  }

  #changed(revision: bigint): void {
    if (revision > this.#revision) this.#revision = revision
    this.#snapshot = undefined
  }
}

function readEntry(raw: RawLease): MirrorEntry {
  const { id, modified, expiry } = raw
  const result = readLease(raw)
  return 'reason' in result
    ? { id, modified, expiry, lease: undefined, rejected: result }
    : { id, modified, expiry, lease: result, rejected: undefined }
}

function* leasesOf(entries: Iterable<MirrorEntry>): Generator<readonly [string, Lease]> {
  for (const { id, lease } of entries) if (lease !== undefined) yield [id, lease]
}

/** A decimal revision as text of equal length. */
function ageOf(created: string): string {
  // There are thousands of these texts, and joined ones take less memory than concatenated ones.
  return ['0'.repeat(Math.max(0, 20 - created.length)), created].join('')
}

/** The entry as a lease, or why it is none. */
export function readLease({ id, value, created, expiry }: RawLease): Lease | RejectedLease {
  try {
    const subnets = decodeLeaseKey(id)
    if (subnets === undefined) return { id, reason: 'foreign-key', text: 'the key is not that of a lease' }
    const { since, ...content } = decodeLeaseValue(value, subnets)
    const age = ageOf(created)
    const first = since === undefined ? age : ageOf(since)
    // In another store, to which somebody has copied the entries, the revision says nothing.
    const ages = first < age ? { age: first, keyAge: age } : { age }
    return { id, ...content, ...ages, reserved: expiry === '0' }
  } catch (cause) {
    if (cause instanceof InvalidLease) return { id, reason: 'unreadable', text: cause.message }
    throw cause
  }
}
