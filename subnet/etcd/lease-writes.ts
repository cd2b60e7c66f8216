import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Logger } from '../../lib/log.ts'
import type { LeaseWrite } from '../lease-table.ts'
import type { EtcdClient } from './client.ts'
import {
  type Compare,
  type KeyValue,
  leaseGrant,
  leaseRevoke,
  leaseTimeToLive,
  type Operation,
  range,
  txn,
} from './rpc.ts'

const noLease = '0'

/** An etcd lease that is not attached to a key yet. */
export interface Grant {
  readonly id: string
  /** Wall clock, ms. */
  readonly expiresAt: number | undefined
}

/** `entry`: what stands at the key now, whoever won. */
export interface TxnOutcome {
  readonly won: boolean
  readonly entry: KeyValue | undefined
  readonly revision: string
}

/** Transactions on one key, and the etcd leases behind them. */
export class LeaseWrites {
  readonly #client: EtcdClient
  readonly #clock: Clock
  readonly #log: Logger
  readonly #ttlSeconds: number

  constructor(needs: { client: EtcdClient; clock: Clock; log: Logger }, options: { ttlSeconds: number }) {
    this.#client = needs.client
    this.#clock = needs.clock
    this.#log = needs.log
    this.#ttlSeconds = options.ttlSeconds
  }

  async grant(reserved: boolean, signal: AbortSignal): Promise<Grant> {
    if (reserved) return { id: noLease, expiresAt: undefined }
    const asked = this.#clock.wall()
    const { ID, TTL } = await this.#client.call(leaseGrant, { TTL: this.#ttlSeconds, ID: 0 }, signal)
    return { id: ID, expiresAt: asked + Number(TTL) * 1000 }
  }

  async put(key: Buffer, write: LeaseWrite, grant: Grant, signal: AbortSignal): Promise<TxnOutcome> {
    const value = Buffer.from(write.value)
    const request_put = { key, value, lease: grant.id }
    const outcome = await this.#transact(key, expectation(key, write.expected), { request_put }, signal)
    const { entry } = outcome
    // An answer got lost and this try found the first one's work: the etcd lease is nobody else's.
    const firstOne = entry?.lease === grant.id && grant.id !== noLease && entry.value.equals(value)
    return { ...outcome, won: outcome.won || firstOne }
  }

  /** Puts one entry in the place of another one. `entry`: the new one; not won: what stands at the old one's key. */
  async move(from: Buffer, key: Buffer, write: LeaseWrite, grant: Grant, signal: AbortSignal): Promise<TxnOutcome> {
    const value = Buffer.from(write.value)
    const given = {
      compare: [expectation(from, write.expected), expectation(key, 'absent')],
      // In this order a watcher that goes by subnets has the new one in the end, flannel's daemon too.
      success: [
        { request_delete_range: { key: from } },
        { request_put: { key, value, lease: grant.id } },
        { request_range: { key } },
      ],
      failure: [{ request_range: { key: from } }, { request_range: { key } }],
    }
    const { responses, succeeded, header } = await this.#client.call(txn, given, signal)
    const [old, other] = responses.map((each) => each.response_range?.kvs[0])
    const { revision } = header
    if (succeeded) return { won: true, entry: responses.at(-1)?.response_range?.kvs[0], revision }
    // As in `put`.
    const isOurs = other?.lease === grant.id && grant.id !== noLease && other.value.equals(value)
    return isOurs ? { won: true, entry: other, revision } : { won: false, entry: old, revision }
  }

  /** Changes the value only: the etcd lease stays attached. Not won: the entry was not at `version` any more. */
  async amend(
    key: Buffer,
    version: string,
    change: (value: Uint8Array) => string,
    signal: AbortSignal,
  ): Promise<TxnOutcome> {
    const before = await this.#read(key, signal)
    if (before.entry?.mod_revision !== version) return before
    const value = Buffer.from(change(before.entry.value))
    const request_put = { key, value, ignore_lease: true }
    const outcome = await this.#transact(key, expectation(key, { version }), { request_put }, signal)
    // As in `put`: this try may have found the first one's work. Nobody else writes this nonce.
    return { ...outcome, won: outcome.won || outcome.entry?.value.equals(value) === true }
  }

  async delete(key: Buffer, version: string, signal: AbortSignal): Promise<TxnOutcome> {
    return await this.#transact(key, expectation(key, { version }), { request_delete_range: { key } }, signal)
  }

  /** Ends an etcd lease that no key is attached to any more. Flannel leaves it to run out, so a failure is no harm. */
  async revokeUnused(id: string, signal: AbortSignal): Promise<void> {
    if (id === noLease) return
    try {
      const left = await this.#client.call(leaseTimeToLive, { ID: id, keys: true }, signal)
      // Somebody may have attached a key of their own; revoking would delete it.
      if (left.keys.length > 0 || left.TTL === '-1') return
      await this.#client.call(leaseRevoke, { ID: id }, signal)
    } catch (cause) {
      if (!signal.aborted) this.#log.debug('unused etcd lease not revoked', { error: messageOf(cause) })
    }
  }

  async #read(key: Buffer, signal: AbortSignal): Promise<TxnOutcome> {
    const { kvs, header } = await this.#client.call(range, { key }, signal)
    return { won: false, entry: kvs[0], revision: header.revision }
  }

  async #transact(key: Buffer, compare: Compare, change: Operation, signal: AbortSignal): Promise<TxnOutcome> {
    const read = { request_range: { key } }
    const given = { compare: [compare], success: [change, read], failure: [read] }
    const response = await this.#client.call(txn, given, signal)
    const entry = response.responses.at(-1)?.response_range?.kvs[0]
    return { won: response.succeeded, entry, revision: response.header.revision }
  }
}

function expectation(key: Buffer, expected: LeaseWrite['expected']): Compare {
  if (expected === 'absent') return { key, target: 'Version', result: 'Equal', version: 0 }
  return { key, target: 'Mod', result: 'Equal', mod_revision: expected.version }
}
