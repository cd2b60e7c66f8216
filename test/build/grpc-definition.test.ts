import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { etcdDescriptor, usedPart } from '../../scripts/bundle/etcd-proto.ts'
import { fromJSON } from '../../scripts/bundle/grpc-definition.ts'

// The loader that etcd3 itself would use: not ours to depend on, so it is looked up from there.
const etcd3 = createRequire(import.meta.url).resolve('etcd3')
const protoLoader = createRequire(etcd3)('@grpc/proto-loader')
const protoFile = join(dirname(etcd3), '../proto/rpc.proto')
const options = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true }

describe('grpc definition of the bundle', () => {
  it('has the services and methods that proto-loader makes', async () => {
    assert.deepEqual(
      shape(fromJSON(await etcdDescriptor(protoFile), options)),
      shape(protoLoader.loadSync(protoFile, options)),
    )
  })

  it('has of these what is called, unchanged, and nothing else', async () => {
    const all = fromJSON(await etcdDescriptor(protoFile), options)
    const used = fromJSON(usedPart(await etcdDescriptor(protoFile)), options)
    const calls = Object.entries(used).flatMap(([service, of]) => Object.keys(of).map((name) => `${service}/${name}`))
    assert.deepEqual(calls.sort(), [
      'etcdserverpb.Auth/Authenticate',
      'etcdserverpb.KV/Range',
      'etcdserverpb.KV/Txn',
      'etcdserverpb.Lease/LeaseGrant',
      'etcdserverpb.Lease/LeaseRevoke',
      'etcdserverpb.Lease/LeaseTimeToLive',
      'etcdserverpb.Watch/Watch',
    ])
    for (const [service, methods] of Object.entries(used)) {
      const whole = Object.entries(all[service] ?? {}).filter(([name]) => name in methods)
      assert.deepEqual(shape({ [service]: methods }), shape({ [service]: Object.fromEntries(whole) }))
    }
  })

  for (const [method, request, response] of [
    [
      'Range',
      { key: Buffer.from('/k'), limit: '500', sort_order: 'ASCEND' },
      { header: { revision: '9007199254740993' }, kvs: [{ key: Buffer.from('a'), lease: '-1' }], more: true },
    ],
    [
      'Txn',
      {
        compare: [{ target: 'VERSION', key: Buffer.from('k'), version: '0' }],
        success: [{ request_put: { key: Buffer.from('k') } }],
      },
      { succeeded: true, responses: [{ response_put: {} }] },
    ],
  ] as const) {
    it(`reads and writes ${method} as proto-loader does`, async () => {
      const ours = fromJSON(usedPart(await etcdDescriptor(protoFile)), options)['etcdserverpb.KV']?.[method]
      const theirs = protoLoader.loadSync(protoFile, options)['etcdserverpb.KV'][method]
      assert.ok(ours !== undefined)
      const asked = ours.requestSerialize(request)
      assert.deepEqual(asked, theirs.requestSerialize(request))
      assert.deepEqual(ours.requestDeserialize(asked), theirs.requestDeserialize(asked))
      const answered = theirs.responseSerialize(response)
      assert.deepEqual(ours.responseSerialize(response), answered)
      assert.deepEqual(ours.responseDeserialize(answered), theirs.responseDeserialize(answered))
    })
  }
})

/** Without the functions and without what serves reflection only. */
function shape(definition: Record<string, Record<string, object>>): unknown {
  const services = Object.entries(definition).filter(([, one]) => !('format' in one))
  return Object.fromEntries(
    services.map(([name, methods]) => [
      name,
      Object.entries(methods).map(([method, attributes]) => {
        const { path, requestStream, responseStream, originalName } = attributes as Record<string, unknown>
        return { method, path, requestStream, responseStream, originalName }
      }),
    ]),
  )
}
