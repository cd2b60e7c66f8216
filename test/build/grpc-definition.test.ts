import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { compileFunction } from 'node:vm'
import fc from 'fast-check'
import protobuf from 'protobufjs'
import { etcdDescriptor, usedPart } from '../../scripts/bundle/etcd-proto.ts'
import { definition } from '../../scripts/bundle/grpc-definition.ts'
import { staticModule } from '../../scripts/bundle/static-types.ts'

// The loader that etcd3 itself would use: not ours to depend on, so it is looked up from there.
const require = createRequire(import.meta.url)
const etcd3 = require.resolve('etcd3')
const protoLoader = createRequire(etcd3)('@grpc/proto-loader')
const protoFile = join(dirname(etcd3), '../proto/rpc.proto')
const options = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true }

describe('grpc definition of the bundle', function () {
  this.timeout(60_000)
  const theirs = protoLoader.loadSync(protoFile, options)

  it('has the services and methods that proto-loader makes', async () => {
    assert.deepEqual(shape(definitionOf(await etcdDescriptor(protoFile))), shape(theirs))
  })

  it('has of these what is called, unchanged, and nothing else', async () => {
    const all = definitionOf(await etcdDescriptor(protoFile))
    const used = definitionOf(usedPart(await etcdDescriptor(protoFile)))
    const calls = Object.entries(used).flatMap(([service, of]) => Object.keys(of).map((name) => `${service}/${name}`))
    assert.deepEqual(calls.sort(), [
      'etcdserverpb.Auth/Authenticate',
      'etcdserverpb.KV/Range',
      'etcdserverpb.KV/Txn',
      'etcdserverpb.Lease/LeaseGrant',
      'etcdserverpb.Lease/LeaseRevoke',
      'etcdserverpb.Lease/LeaseTimeToLive',
      'etcdserverpb.Maintenance/Status',
      'etcdserverpb.Watch/Watch',
    ])
    for (const [service, methods] of Object.entries(used)) {
      const whole = Object.entries(all[service] ?? {}).filter(([name]) => name in methods)
      assert.deepEqual(shape({ [service]: methods }), shape({ [service]: Object.fromEntries(whole) }))
    }
  })

  it('writes every request and reads every response as proto-loader does', async function () {
    this.timeout(20_000)
    const root = protobuf.Root.fromJSON(await etcdDescriptor(protoFile)).resolveAll()
    const used = definitionOf(usedPart(await etcdDescriptor(protoFile)))
    for (const [service, methods] of Object.entries(used)) {
      for (const [name, ours] of Object.entries(methods)) {
        const { requestType, responseType } = root.lookupService(service).methods[name] as protobuf.Method
        const their = theirs[service][name]
        const samples = fc.tuple(...[requestType, responseType].map((type) => messageOf(root.lookupType(type))))
        const alike = fc.property(samples, ([request, response]) => {
          assert.deepEqual(ours.requestSerialize(request as object), their.requestSerialize(request))
          const answer = their.responseSerialize(response)
          assert.deepEqual(ours.responseDeserialize(answer), their.responseDeserialize(answer))
        })
        fc.assert(alike, { numRuns: 60 })
      }
    }
  })

  it('refuses what is no message, and half of one, as proto-loader does', async () => {
    const ours = definitionOf(usedPart(await etcdDescriptor(protoFile)))['etcdserverpb.KV']?.['Txn']
    const their = theirs['etcdserverpb.KV'].Txn
    assert.ok(ours !== undefined)
    const answer = their.responseSerialize({ succeeded: true, responses: [{ response_put: {} }] })
    for (const wrong of [answer.subarray(0, -1), Buffer.from([0xff]), Buffer.concat([answer, Buffer.from([7])])])
      assert.throws(
        () => ours.responseDeserialize(wrong),
        thrown(() => their.responseDeserialize(wrong)),
      )
    for (const wrong of [{ compare: 1 }, { success: [null] }])
      assert.throws(
        () => ours.requestSerialize(wrong),
        thrown(() => their.requestSerialize(wrong)),
      )
  })

  it('is text: no function is generated when it is loaded or used', async () => {
    const text = staticModule(usedPart(await etcdDescriptor(protoFile)))
    assert.doesNotMatch(text, /\bFunction\(|\beval\(|\[native code\]/)
  })

  it('is not made where protobufjs generates functions in another way', async () => {
    const descriptor = usedPart(await etcdDescriptor(protoFile))
    const { setup } = protobuf.Type.prototype
    try {
      protobuf.Type.prototype.setup = function () {
        setup.call(this)
        this.toObject = this.toObject.bind(this)
        return this
      }
      assert.throws(() => staticModule(descriptor), /adapt static-types\.ts/)
    } finally {
      protobuf.Type.prototype.setup = setup
    }
  })
})

function definitionOf(descriptor: protobuf.INamespace): ReturnType<typeof definition> {
  const exports = {} as Parameters<typeof definition>[0]
  compileFunction(staticModule(descriptor), ['require', 'exports'])(require, exports)
  return definition(exports, options)
}

/** As etcd3 takes and gives them: any fields missing, in messages up to three deep. */
function messageOf(type: protobuf.Type, depth = 0): fc.Arbitrary<object> {
  const fields = type.fieldsArray.flatMap((field) => {
    assert.ok(!field.map, `${field.fullName} is a map`)
    const value = valueOfField(field.resolve(), depth)
    return value === undefined ? [] : [[field.name, field.repeated ? fc.array(value, { maxLength: 3 }) : value]]
  })
  return fc.record(Object.fromEntries(fields), { requiredKeys: [] })
}

function valueOfField({ type, resolvedType }: protobuf.Field, depth: number): fc.Arbitrary<unknown> | undefined {
  if (resolvedType instanceof protobuf.Enum) return fc.constantFrom(...Object.keys(resolvedType.values))
  if (resolvedType !== null) return depth < 3 ? messageOf(resolvedType, depth + 1) : undefined
  return {
    bool: fc.boolean(),
    bytes: fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
    int32: fc.integer(),
    int64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
    string: fc.string({ unit: 'binary', maxLength: 8 }),
    uint32: fc.nat(),
    uint64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String),
  }[type]
}

/** What the call throws, as `assert.throws` wants to compare it. */
function thrown(call: () => unknown): { name: string; message: string } {
  try {
    call()
  } catch (cause) {
    const { name, message } = cause as Error
    return { name, message }
  }
  throw new Error('it threw nothing')
}

/** Without the functions and without what serves reflection only. */
function shape(services: Readonly<Record<string, Readonly<Record<string, object>>>>): unknown {
  const all = Object.entries(services).filter(([, one]) => !('format' in one))
  return Object.fromEntries(
    all.map(([name, methods]) => [
      name,
      Object.entries(methods).map(([method, attributes]) => {
        const { path, requestStream, responseStream, originalName } = attributes as Record<string, unknown>
        return { method, path, requestStream, responseStream, originalName }
      }),
    ]),
  )
}
