import {
  bool,
  bytes,
  enumeration,
  field,
  type GivenOf,
  int64,
  type Message,
  message,
  optional,
  type ReadOf,
  repeated,
  string,
  uint64,
} from './protobuf.ts'

/**
 * The calls of etcd's API that are used, with the fields of their messages that are given or looked at; what else a message has is left
 * out or skipped. Source: etcd's `api/etcdserverpb/rpc.proto` and `api/mvccpb/kv.proto`, 3.4 to 3.7, whose names these are.
 */
export interface Call<G, R> {
  /** As gRPC calls it. */
  readonly path: string
  readonly request: Message<G, unknown>
  readonly response: Message<never, R>
}

const Header = message({ cluster_id: field(1, uint64), revision: field(3, int64) })

const KeyValueMessage = message({
  key: field(1, bytes),
  create_revision: field(2, int64),
  mod_revision: field(3, int64),
  version: field(4, int64),
  value: field(5, bytes),
  lease: field(6, int64),
})
export type KeyValue = ReadOf<typeof KeyValueMessage>

const EventMessage = message({
  type: field(1, enumeration(['Put', 'Delete'])),
  kv: field(2, KeyValueMessage.nested),
})
export type Event = ReadOf<typeof EventMessage>

const RangeRequest = message({
  key: field(1, bytes),
  range_end: field(2, bytes),
  limit: field(3, int64),
  revision: field(4, int64),
  sort_order: field(5, enumeration(['None', 'Ascend', 'Descend'])),
  sort_target: field(6, enumeration(['Key', 'Version', 'Create', 'Mod', 'Value'])),
  keys_only: field(8, bool),
  count_only: field(9, bool),
  min_mod_revision: field(10, int64),
})
const RangeResponse = message({
  header: field(1, Header.nested),
  kvs: repeated(2, KeyValueMessage.nested),
  more: field(3, bool),
  count: field(4, int64),
})
export type RangeAnswer = ReadOf<typeof RangeResponse>

const PutRequest = message({
  key: field(1, bytes),
  value: field(2, bytes),
  lease: field(3, int64),
  ignore_lease: field(6, bool),
})
const DeleteRangeRequest = message({ key: field(1, bytes) })
/** One of them: what is done in a transaction. */
const RequestOp = message({
  request_range: field(1, RangeRequest.nested),
  request_put: field(2, PutRequest.nested),
  request_delete_range: field(3, DeleteRangeRequest.nested),
})
const CompareMessage = message({
  result: field(1, enumeration(['Equal', 'Greater', 'Less', 'NotEqual'])),
  target: field(2, enumeration(['Version', 'Create', 'Mod', 'Value', 'Lease'])),
  key: field(3, bytes),
  version: field(4, int64),
  mod_revision: field(6, int64),
})
export type Compare = GivenOf<typeof CompareMessage>
export type Operation = GivenOf<typeof RequestOp>

const WatchRequest = message({
  create_request: field(
    1,
    message({
      key: field(1, bytes),
      range_end: field(2, bytes),
      start_revision: field(3, int64),
      fragment: field(8, bool),
    }).nested,
  ),
  progress_request: field(3, message({}).nested),
})
const WatchResponse = message({
  header: field(1, Header.nested),
  created: field(3, bool),
  canceled: field(4, bool),
  compact_revision: field(5, int64),
  cancel_reason: field(6, string),
  fragment: field(7, bool),
  events: repeated(11, EventMessage.nested),
})
export type WatchAsk = GivenOf<typeof WatchRequest>
export type WatchAnswer = ReadOf<typeof WatchResponse>

export const range = { path: '/etcdserverpb.KV/Range', request: RangeRequest, response: RangeResponse }
export const txn = {
  path: '/etcdserverpb.KV/Txn',
  request: message({
    compare: repeated(1, CompareMessage.nested),
    success: repeated(2, RequestOp.nested),
    failure: repeated(3, RequestOp.nested),
  }),
  response: message({
    header: field(1, Header.nested),
    succeeded: field(2, bool),
    responses: repeated(3, message({ response_range: optional(1, RangeResponse.nested) }).nested),
  }),
}
export const watch = { path: '/etcdserverpb.Watch/Watch', request: WatchRequest, response: WatchResponse }
export const leaseGrant = {
  path: '/etcdserverpb.Lease/LeaseGrant',
  /** TTL: seconds. ID 0: etcd chooses. */
  request: message({ TTL: field(1, int64), ID: field(2, int64) }),
  response: message({ ID: field(2, int64), TTL: field(3, int64) }),
}
export const leaseRevoke = {
  path: '/etcdserverpb.Lease/LeaseRevoke',
  request: message({ ID: field(1, int64) }),
  response: message({}),
}
export const leaseTimeToLive = {
  path: '/etcdserverpb.Lease/LeaseTimeToLive',
  request: message({ ID: field(1, int64), keys: field(2, bool) }),
  /** TTL: -1 for a lease that is gone. */
  response: message({ TTL: field(3, int64), keys: repeated(5, bytes) }),
}
export const authenticate = {
  path: '/etcdserverpb.Auth/Authenticate',
  request: message({ name: field(1, string), password: field(2, string) }),
  response: message({ token: field(2, string) }),
}
export const status = {
  path: '/etcdserverpb.Maintenance/Status',
  request: message({}),
  /** leader 0: none. */
  response: message({ leader: field(4, uint64), isLearner: field(10, bool) }),
}
