import assert from 'node:assert/strict'
import fc from 'fast-check'
import protobuf from 'protobufjs'
import {
  bool,
  bytes,
  enumeration,
  field,
  int64,
  message,
  optional,
  repeated,
  string,
  uint64,
} from '../../subnet/etcd/protobuf.ts'

const inner = message({ id: field(1, int64), name: field(2, string) })
const outer = message({
  flag: field(1, bool),
  key: field(2, bytes),
  text: field(3, string),
  signed: field(4, int64),
  unsigned: field(5, uint64),
  kind: field(6, enumeration(['None', 'Some', 'All'])),
  one: field(7, inner.nested),
  many: repeated(8, inner.nested),
  blobs: repeated(9, bytes),
  perhaps: optional(1000, inner.nested),
})
/** The same in the language of Protocol Buffers, as protobufjs reads it. */
const theirs = protobuf.parse(`
  syntax = "proto3";
  message Inner { int64 id = 1; string name = 2; }
  enum Kind { None = 0; Some = 1; All = 2; }
  message Outer {
    bool flag = 1; bytes key = 2; string text = 3; int64 signed = 4; uint64 unsigned = 5; Kind kind = 6;
    Inner one = 7; repeated Inner many = 8; repeated bytes blobs = 9; Inner perhaps = 1000;
  }
  message Newer { fixed64 a = 11; string b = 12; int32 c = 13; double flag = 1; bool many = 8; Inner d = 14; fixed32 e = 15; }
`).root
const reference = theirs.lookupType('Outer')
const plain = { longs: String, enums: String, defaults: true }

const anyInner = fc.record(
  { id: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String), name: fc.string({ unit: 'binary' }) },
  { requiredKeys: [] },
)
const anyBytes = fc.uint8Array({ maxLength: 8 }).map((one) => Buffer.from(one))
const anyOuter = fc.record(
  {
    flag: fc.boolean(),
    key: anyBytes,
    text: fc.string({ unit: 'binary', maxLength: 8 }),
    signed: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
    unsigned: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String),
    kind: fc.constantFrom('None', 'Some', 'All'),
    one: anyInner,
    many: fc.array(anyInner, { maxLength: 3 }),
    blobs: fc.array(anyBytes, { maxLength: 3 }),
    perhaps: anyInner,
  },
  { requiredKeys: [] },
)

describe('messages of Protocol Buffers', () => {
  it('are written as protobufjs writes them, and read as it reads them', () => {
    fc.assert(
      fc.property(anyOuter, (given) => {
        const ours = outer.encode(given)
        const their = Buffer.from(reference.encode(reference.fromObject(given)).finish())
        assert.deepEqual(ours, their)
        // It says null of a message that is not there; ours reads it as an empty one unless that matters.
        const empty = { id: '0', name: '' }
        const read = reference.toObject(reference.decode(their), plain)
        const expected = { ...read, one: read['one'] ?? empty, perhaps: read['perhaps'] ?? undefined }
        assert.deepEqual(outer.decode(their), expected)
      }),
    )
  })

  it('take whole numbers in every form', () => {
    for (const signed of [-1, '-1', -1n]) assert.equal(outer.decode(outer.encode({ signed })).signed, '-1')
    assert.equal(outer.decode(outer.encode({ unsigned: 2n ** 64n - 1n })).unsigned, '18446744073709551615')
    assert.throws(() => outer.encode({ signed: 'many' }), SyntaxError)
  })

  it('skip fields that nobody knows here, and known numbers of another form', () => {
    const newer = theirs.lookupType('Newer')
    const bytesOfNewer = newer.encode(
      newer.fromObject({ a: 7, b: 'x', c: -1, flag: 1.5, many: true, d: { id: 1 }, e: 9 }),
    )
    assert.deepEqual(outer.decode(bytesOfNewer.finish()), outer.decode(new Uint8Array(0)))
  })

  it('are refused when they are cut off, or longer inside than outside', () => {
    const whole = outer.encode({ text: 'abc', many: [{ name: 'def' }] })
    for (let length = 1; length < whole.length; length += 1) {
      // Cut between two fields it is a message.
      if (length === whole.indexOf(0x42)) continue
      assert.throws(() => outer.decode(whole.subarray(0, length)), Error, `${length} of ${whole.length} bytes`)
    }
    const nested = outer.encode({ one: { name: 'def' }, blobs: [Buffer.from('abcdef')] })
    nested[3] = 8
    assert.throws(() => outer.decode(nested), Error)
    assert.throws(() => outer.decode(Buffer.from([0xff])), Error)
  })

  it('read a number without a name as the first one', () => {
    const kind = protobuf.Writer.create().uint32(48).int32(77).finish()
    assert.equal(outer.decode(kind).kind, 'None')
  })
})
