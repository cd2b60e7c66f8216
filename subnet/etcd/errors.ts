/** The store gave no usable answer; another endpoint or a later try may. Secrets are not in the text. */
export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable'
}

/** etcd no longer has the revision that a paged read is about: read anew. */
export class Compacted extends Error {
  override readonly name = 'Compacted'
}

/** The answer is larger than a message may be: ask for less. */
export class TooLarge extends Error {
  override readonly name = 'TooLarge'
}

/** The etcd lease named in a put has run out: grant another. */
export class EtcdLeaseGone extends Error {
  override readonly name = 'EtcdLeaseGone'
}

/**
 * - `refused`: the member answered, and another one would say the same
 * - `login`: the member does not know the token, or it is of the time before a change of users and roles
 * - `late`: no answer in time; it may be slow, or away
 * - `unfit`: the member answered that it cannot serve now: it has no leader, or is a learner
 * - `broken`: the connection is of no use any more
 */
export type CallTrouble = 'refused' | 'login' | 'late' | 'unfit' | 'broken'

/** A call without a result, sorted by what follows from it for the connection. */
export class CallFailed extends Error {
  override readonly name = 'CallFailed'
  readonly trouble: CallTrouble

  constructor(trouble: CallTrouble, text: string, options?: ErrorOptions) {
    super(text, options)
    this.trouble = trouble
  }
}

/** As grpc-js reports a failed call. */
interface GrpcError extends Error {
  readonly code?: number
  readonly details?: string
}

// https://grpc.io/docs/guides/status-codes/
const DEADLINE_EXCEEDED = 4
const RESOURCE_EXHAUSTED = 8
const OUT_OF_RANGE = 11
const UNAVAILABLE = 14
const DATA_LOSS = 15
const UNAUTHENTICATED = 16
/** Said by the server only: grpc-js makes none of these up. */
const REFUSALS: ReadonlySet<number> = new Set([3, 5, 6, 7, 9, 10, 12])

/** The error for the caller. The texts are those of etcd's `api/v3rpc/rpctypes/error.go`, 3.4 to 3.7. */
export function callError(cause: GrpcError): Error {
  const { code, details = cause.message } = cause
  if (/requested lease not found/.test(details)) return new EtcdLeaseGone(details, { cause })
  if (code === OUT_OF_RANGE) return new Compacted(details, { cause })
  const answered = details.startsWith('etcdserver:')
  if (code === RESOURCE_EXHAUSTED && !answered && !asksForCalm(details)) return new TooLarge(details, { cause })
  return new CallFailed(troubleOf(code, details, answered), answered ? details : cause.message, { cause })
}

function troubleOf(code: number | undefined, details: string, answered: boolean): CallTrouble {
  if (code === UNAUTHENTICATED || /revision (?:of auth store|in header) is old|user name is empty/.test(details)) {
    return 'login'
  }
  if (code === DEADLINE_EXCEEDED) return 'late'
  const cannotServe = code === UNAVAILABLE || code === DATA_LOSS || /not supported for learner/.test(details)
  if (answered && cannotServe) return 'unfit'
  return answered || REFUSALS.has(code ?? -1) ? 'refused' : 'broken'
}

/** grpc-js's words for a connection that the server has ended with ENHANCE_YOUR_CALM (RFC 9113): it was pinged too often. */
export function asksForCalm(text: string): boolean {
  return text.includes('Bandwidth exhausted')
}

/** Without gRPC's frame around the one interesting sentence; the time in it would make each a new one. */
export function bareText(text: string): string {
  return text
    .replace(/^14 UNAVAILABLE: (?:No connection established\. Last error: )?(?:Error: )?/, '')
    .replace(/\.? *Resolution note: *$/, '')
    .replace(/ \(\d{4}-\d\d-\d\dT[\d:.]+Z\)$/, '')
}
