import assert from 'node:assert/strict'
import { ConfigError } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'

const fields = (text: string, path = '') => new JsonFields(JSON.parse(text), path)
const refused = (path: string, text: RegExp) => (error: unknown) =>
  error instanceof ConfigError && error.path === path && text.test(error.message)

describe('JsonFields', () => {
  for (const value of ['[]', 'null', '1', '"x"', 'true']) {
    it(`refuses ${value}, naming the place`, () => {
      assert.throws(() => fields(value, 'Backend'), refused('Backend', /must be a JSON object/))
      assert.throws(() => fields(value), refused('the document', /must be a JSON object/))
    })
  }

  it('names no value of an object that may hold secrets', () => {
    const secret = { secret: true }
    const one = new JsonFields({ K: 'canary' }, 'user', secret)
    const reads = [
      () => new JsonFields('canary', 'user', secret),
      () => one.boolean('K', false),
      () => one.integer('K', { least: 0, most: 9, fallback: 0 }),
      () => new JsonFields({ K: ['canary'] }, 'user', secret).string('K'),
    ]
    for (const read of reads) {
      assert.throws(read, (error: unknown) => {
        assert.ok(error instanceof ConfigError)
        assert.match(error.message, /^user/)
        assert.doesNotMatch(error.message, /canary/)
        return error.value === undefined
      })
    }
  })

  it('reads keys without regard to case, the last of a doubled one', () => {
    const doubled = fields('{"port":1,"PORT":2}')
    assert.equal(doubled.integer('Port', { least: 0, most: 9, fallback: 0 }), 2)
  })

  it('tells absent from null only where asked', () => {
    const one = fields('{"A":null}')
    assert.deepEqual(
      [one.has('a'), one.raw('A'), one.has('B'), one.boolean('A', true), one.string('A')],
      [true, undefined, false, true, undefined],
    )
  })

  const wrong: readonly [string, (one: JsonFields) => unknown, RegExp][] = [
    ['"yes"', (one) => one.boolean('K', false), /true or false, got "yes"/],
    ['1', (one) => one.string('K'), /a string, got 1/],
    ['1.5', (one) => one.integer('K', { least: 0, most: 9, fallback: 0 }), /integer from 0 to 9, got 1\.5/],
    ['10', (one) => one.integer('K', { least: 0, most: 9, fallback: 0 }), /from 0 to 9, got 10/],
    ['-1', (one) => one.integer('K', { least: 0, most: 9, fallback: 0 }), /from 0 to 9/],
    ['"5"', (one) => one.integer('K', { least: 0, most: 9, fallback: 0 }), /got "5"/],
    ['"a\\nb\\u0007"', (one) => one.boolean('K', false), /^\P{Cc}*$/u],
  ]
  for (const [value, read, text] of wrong) {
    it(`names path and value of ${value}`, () => {
      assert.throws(() => read(fields(`{"k":${value}}`, 'Backend')), refused('Backend.K', text))
    })
  }

  it('reaches no prototype', () => {
    const one = fields('{"__proto__":{"polluted":true},"constructor":1}')
    assert.equal(one.raw('polluted'), undefined)
    assert.equal(one.raw('toString'), undefined)
    assert.equal(({} as Record<string, unknown>)['polluted'], undefined)
    assert.equal(fields('{}').raw('constructor'), undefined)
  })

  it('names unknown keys with the nearest known one, one line each', () => {
    const one = fields('{"Prot":1,"VNI":1,"x\\ny":2}', 'Backend')
    one.raw('Port')
    one.raw('VNI')
    assert.deepEqual(one.unknownKeys(), [
      'Backend.Prot: unknown key; the nearest known key is Port',
      'Backend.x\\ny: unknown key; the nearest known key is VNI',
    ])
    assert.deepEqual(fields('{"a":1}').unknownKeys(), ['a: unknown key'])
  })
})
