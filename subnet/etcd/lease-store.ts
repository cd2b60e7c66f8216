import { randomBytes } from 'node:crypto'
import { Backoff } from '../../lib/backoff.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import { Latest, type Source } from '../../lib/latest.ts'
import type { Logger } from '../../lib/log.ts'
import { CLAIM_MS } from '../address-claim.ts'
import { claimLease } from '../lease-claim.ts'
import { LeaseMirror } from '../lease-mirror.ts'
import { rewriteLease } from '../lease-rewrite.ts'
import type {
  AcquireHints,
  LeaseAttrs,
  LeaseSnapshot,
  LeaseStore,
  OwnLease,
  PublishHints,
  StoreHealth,
} from '../types.ts'
import type { EtcdClient } from './client.ts'
import { StoreUnavailable, TooLarge } from './errors.ts'
import { joinKey, keysBelow } from './key-range.ts'
import { EtcdLeaseTable, idOf, rawLease } from './lease-table.ts'
import { LeaseWrites } from './lease-writes.ts'
import { type ListSink, RangeFollower, type RangeSink } from './range-follower.ts'
import type { Event } from './rpc.ts'

export interface EtcdLeaseStoreOptions {
  readonly prefix: string
  /** Flannel's 86400. */
  readonly ttlSeconds?: number
  readonly checkEveryMs?: number
  /** How long the holder of a lease with our address may object. */
  readonly claimMs?: number
}

/** Leases as flannel keeps them in etcd v3. `run` must be running for everything else to make progress. */
export class EtcdLeaseStore implements LeaseStore {
  readonly name = 'etcd leases'
  readonly health: Source<StoreHealth>
  readonly #needs: { client: EtcdClient; clock: Clock; log: Logger; random: () => number }
  readonly #claimMs: number
  /** Tells this process from others with the same NodeID. */
  readonly #nonce = randomBytes(8).toString('hex')
  readonly #folder: string
  readonly #mirror = new LeaseMirror()
  readonly #changes = new Latest<number>('etcd lease changes')
  readonly #follower: RangeFollower
  readonly #writes: LeaseWrites

  constructor(
    needs: { client: EtcdClient; clock: Clock; log: Logger; random: () => number },
    options: EtcdLeaseStoreOptions,
  ) {
    this.#needs = needs
    this.#claimMs = options.claimMs ?? CLAIM_MS
    this.health = needs.client.health.source
    this.#folder = `${joinKey(options.prefix, 'subnets')}/`
    this.#writes = new LeaseWrites(needs, { ttlSeconds: options.ttlSeconds ?? 86_400 })
    this.#follower = new RangeFollower(
      { ...needs, sink: this.#sink() },
      { name: this.name, range: keysBelow(this.#folder), checkEveryMs: options.checkEveryMs ?? 60_000 },
    )
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.#follower.run(signal)
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LeaseSnapshot> {
    for await (const _change of this.#changes.watch(signal)) yield this.#mirror.snapshot()
  }

  async acquire(want: LeaseAttrs, hints: AcquireHints, signal: AbortSignal): Promise<OwnLease> {
    return await this.#whileUnavailable((table) => {
      // A write whose answer was lost may still arrive: the same subnet is tried again, so that it cannot become a second lease.
      const previous = new Map([...hints.previous, ...table.uncertainSubnets()])
      return claimLease(this.#claimNeeds(table), want, { ...hints, previous, recorded: hints.previous }, signal)
    }, signal)
  }

  async publish(own: OwnLease, want: LeaseAttrs, hints: PublishHints, signal: AbortSignal): Promise<OwnLease> {
    return await this.#whileUnavailable((table) => {
      const previous = new Map([...(hints.previous ?? []), ...table.uncertainSubnets()])
      return rewriteLease(this.#claimNeeds(table), own, want, { ...hints, previous }, signal)
    }, signal)
  }

  entry(id: string) {
    return this.#mirror.entry(id)
  }

  #claimNeeds(table: EtcdLeaseTable) {
    const { log, random } = this.#needs
    return { table, log, random, nonce: this.#nonce, claimMs: this.#claimMs }
  }

  async #whileUnavailable(work: (table: EtcdLeaseTable) => Promise<OwnLease>, signal: AbortSignal): Promise<OwnLease> {
    const { log, clock } = this.#needs
    const backoff = new Backoff(this.#needs, { firstMs: 200, mostMs: 5000 })
    const needs = {
      clock,
      writes: this.#writes,
      mirror: this.#mirror,
      current: (during: AbortSignal) => this.#follower.whenSynced(during),
      interrupted: (during: AbortSignal) => this.#follower.whenInterrupted(during),
      changes: this.#changes,
      changed: () => this.#changed(),
    }
    const table = new EtcdLeaseTable(needs, { folder: this.#folder })
    try {
      for (;;) {
        try {
          return await work(table)
        } catch (cause) {
          signal.throwIfAborted()
          if (!(cause instanceof StoreUnavailable || cause instanceof TooLarge)) throw cause
          log.warn('own lease not written, trying again', { error: messageOf(cause) })
          // Whether the write arrived is unknown, and must be known before the next decision.
          this.#follower.recheck()
          await clock.sleep(backoff.next(), signal)
        }
      }
    } finally {
      await table.close(signal)
    }
  }

  #changed(): void {
    this.#changes.set((this.#changes.current ?? 0) + 1)
  }

  #sink(): RangeSink {
    const mirror = this.#mirror
    return {
      get size() {
        return mirror.size
      },
      beginList: (sameHistory: boolean): ListSink => {
        const list = mirror.beginList(sameHistory)
        return {
          add: (entry) => list.add(rawLease(entry, this.#folder)),
          commit: (revision) => {
            list.commit(revision)
            this.#changed()
          },
        }
      },
      events: (events: readonly Event[]) => {
        for (const { type, kv } of events) {
          if (type === 'Delete') mirror.remove(idOf(kv, this.#folder), kv.mod_revision)
          else mirror.put(rawLease(kv, this.#folder))
        }
        this.#changed()
      },
    }
  }
}
