import type { IKeyValue, IRangeResponse } from 'etcd3'
import type { EtcdClient } from './client.ts'
import { StoreUnavailable, TooLarge } from './errors.ts'
import type { KeyRange } from './key-range.ts'

export interface Page {
  readonly entries: readonly IKeyValue[]
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
    let response: IRangeResponse
    try {
      const at = revision === undefined ? {} : { revision }
      const end = range.end === undefined ? {} : { range_end: range.end, limit }
      response = await client.call<IRangeResponse>(
        { service: 'KV', method: 'range', payload: { key: from, ...end, ...at } },
        signal,
      )
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

/** How many keys there are, and the revision at which that is so. Linearizable: a member without a majority cannot answer. */
export async function countRange(
  client: Caller,
  range: KeyRange,
  signal: AbortSignal,
): Promise<{ count: number; revision: bigint; cluster: string }> {
  const end = range.end === undefined ? {} : { range_end: range.end }
  const payload = { key: range.key, ...end, count_only: true }
  const response = await client.call<IRangeResponse>({ service: 'KV', method: 'range', payload }, signal)
  return {
    count: Number(response.count),
    revision: BigInt(response.header.revision),
    cluster: response.header.cluster_id,
  }
}
