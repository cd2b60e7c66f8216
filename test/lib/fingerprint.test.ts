import assert from 'node:assert/strict'
import { fingerprint } from '../../lib/fingerprint.ts'

describe('fingerprint', () => {
  it('is FNV-1a', () => {
    assert.equal(fingerprint(''), 'cbf29ce484222325')
    assert.equal(fingerprint('a'), 'af63dc4c8601ec8c')
    assert.equal(fingerprint('foobar'), '85944171f73967e8')
  })
})
