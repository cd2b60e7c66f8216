import { EtcdLeaseInvalidError, GRPCOutOfRangeError, GRPCResourceExhastedError } from 'etcd3/lib/errors.js'
import { messageOf } from '../../lib/errors.ts'

/** The store gave no usable answer; another endpoint or a later try may. Secrets are not in the text. */
export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable'
}

/** etcd no longer has the revision that a paged read is about: read anew. */
export class Compacted extends Error {
  override readonly name = 'Compacted'
}

/** The answer is larger than a message may be (ask for less), or etcd has no room left. */
export class TooLarge extends Error {
  override readonly name = 'TooLarge'
}

/** The etcd lease named in a put has run out: grant another. */
export class EtcdLeaseGone extends Error {
  override readonly name = 'EtcdLeaseGone'
}

/** Errors that are answers: the connection is good, another endpoint would say the same. Undefined for all others. */
export function answerOf(cause: unknown): Error | undefined {
  if (cause instanceof EtcdLeaseInvalidError) return new EtcdLeaseGone(messageOf(cause), { cause })
  if (cause instanceof GRPCOutOfRangeError) return new Compacted(messageOf(cause), { cause })
  if (cause instanceof GRPCResourceExhastedError) return new TooLarge(messageOf(cause), { cause })
  return undefined
}
