import type { EtcdClient } from './client.ts'
import { StoreUnavailable, TooLarge } from './errors.ts'
import type { KeyRange } from './key-range.ts'
import { type KeyValue, type RangeAnswer, range as rangeCall } from './rpc.ts'

export interface Page {
  readonly entries: readonly KeyValue[]
  /** Of the whole list: every page shows the store as it was at this revision. */
  readonly revision: bigint
  readonly cluster: string
}

type Caller = Pick<EtcdClient, 'call'>

const pageSize = 500

/** The range in pages, all at one revision. Linearizable. @throws StoreUnavailable, Compacted */
export async function* readPages(client: Caller, range: KeyRange, signal: AbortSignal): AsyncGenerator<Page> {
  let limit = pageSize
  let from = range.key
  let revision: string | undefined
  for (;;) {
    let response: RangeAnswer
    try {
      const at = revision === undefined ? {} : { revision }
      const end = range.end === undefined ? {} : { range_end: range.end, limit }
      response = await client.call(rangeCall, { key: from, ...end, ...at }, signal)
    } catch (cause) {
      if (!(cause instanceof TooLarge)) throw cause
      // Somebody keeps large values there; they are skipped later, but must not stop the others.
      if (limit === 1) throw new StoreUnavailable(cause.message, { cause })
      limit = Math.ceil(limit / 10)
      continue
    }
    revision ??= response.header.revision
    yield { entries: response.kvs, revision: BigInt(revision), cluster: response.header.cluster_id }
    const last = response.kvs.at(-1)
    if (!response.more || last === undefined) return
    from = Buffer.concat([last.key, Buffer.from([0])])
  }
}

/** The state of a range at a revision, without its contents. */
export interface RangeState {
  readonly count: number
  readonly revision: bigint
  readonly cluster: string
  /** Of the newest change after `since` that still stands; 0 for none, or where it was not asked for. A deletion shows in `count` only. */
  readonly newest: bigint
}

/**
 * Linearizable: a member without a majority cannot answer. With `since`, etcd looks at every entry, which costs it five times as much as
 * the count alone, and a tenth of a list.
 */
export async function readState(
  client: Caller,
  range: KeyRange,
  since: bigint | undefined,
  signal: AbortSignal,
): Promise<RangeState> {
  const end = range.end === undefined ? {} : { range_end: range.end }
  const newest = {
    min_mod_revision: String((since ?? 0n) + 1n),
    sort_target: 'Mod' as const,
    sort_order: 'Descend' as const,
    limit: 1,
    keys_only: true,
  }
  const given = { key: range.key, ...end, ...(since === undefined ? { count_only: true } : newest) }
  const { header, count, kvs } = await client.call(rangeCall, given, signal)
  return {
    count: Number(count),
    revision: BigInt(header.revision),
    cluster: header.cluster_id,
    newest: BigInt(kvs[0]?.mod_revision ?? 0),
  }
}
