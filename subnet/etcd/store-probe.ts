import type { EtcdClient } from './client.ts'
import { joinKey } from './key-range.ts'
import { range, txn } from './rpc.ts'

/** What the store answers to somebody who changes nothing. */
export interface StoreProbe {
  readonly config: string | undefined
  /** Why leases could not be written; undefined: they could. */
  readonly writeFault: string | undefined
}

/** A version that no key gets to. */
const NEVER = '9000000000000000000'

/** @throws StoreUnavailable or an answer (`errors.ts`), as `call` does for the configuration */
export async function probeStore(client: EtcdClient, prefix: string, signal: AbortSignal): Promise<StoreProbe> {
  const { kvs } = await client.call(range, { key: Buffer.from(joinKey(prefix, 'config')) }, signal)
  const config = kvs[0]?.value.toString()
  const key = Buffer.from(joinKey(prefix, 'subnets/0.0.0.0-0'))
  const compare = [{ key, target: 'Version', result: 'Equal', version: NEVER } as const]
  // etcd looks at the permissions of all that a transaction might do.
  const change = { request_put: { key, value: Buffer.alloc(0) } }
  try {
    await client.call(txn, { compare, success: [change], failure: [] }, signal)
    return { config, writeFault: undefined }
  } catch (cause) {
    signal.throwIfAborted()
    return { config, writeFault: cause instanceof Error ? cause.message : String(cause) }
  }
}
