import assert from 'node:assert/strict'
import { type Outcome, summary } from '../../scripts/test/summary.ts'

const ran = (parts: Partial<Outcome & { at: 'ran' }> = {}): Outcome => ({
  at: 'ran',
  passed: 2,
  failed: [],
  shaky: [],
  pending: [],
  trouble: [],
  seconds: 0,
  files: [],
  ...parts,
})
const end = (outcomes: Record<string, Outcome>, require = '', absent: Record<string, string> = {}) => {
  const names = require.split(',').filter((name) => name !== '')
  const { text, ok } = summary(new Map(Object.entries(outcomes)), { names, whyAbsent: (name) => absent[name] })
  return { ok, text, last: text.trimEnd().split('\n').at(-1) }
}
const peerAbsent = { lacking: 'peer:flanneld', reason: 'FLANNELD_PEER is not set' } as const

describe('summary of a test run', () => {
  it('ends in a line with the counts alone', () => {
    const got = end({ unit: ran(), e2e: ran({ passed: 3, pending: [{ title: 'a' }] }) })
    assert.equal(got.last, '5 passed, 0 failed, 1 skipped')
    assert.equal(got.ok, true)
  })

  it('names each failed test and its message', () => {
    const got = end({ unit: ran({ failed: [{ title: 'address parses', message: 'not equal\n+ 1\n- 2', file: 'a' }] }) })
    assert.match(got.text, /unit: address parses\n +not equal\n/)
    assert.deepEqual([got.ok, got.last], [false, '2 passed, 1 failed, 0 skipped'])
  })

  it('says why a suite or a test did not run', () => {
    const got = end({
      netns: { at: 'not run', reason: 'not root' },
      e2e: ran({ pending: [{ title: 'mixed', notRun: peerAbsent }] }),
    })
    assert.match(got.text, /netns: the whole suite \(not root\)/)
    assert.match(got.text, /e2e: mixed \(FLANNELD_PEER is not set\)/)
    assert.deepEqual([got.ok, got.last], [true, '2 passed, 0 failed, 2 skipped'])
  })

  it('names what failed once, which is no failure', () => {
    const got = end({ unit: ran({ shaky: [{ title: 'address parses', message: 'late', file: 'a' }] }) })
    assert.match(got.text, /SHAKY.*\n {2}unit: address parses\n +late\n/)
    assert.deepEqual([got.ok, got.last], [true, '2 passed, 0 failed, 0 skipped'])
  })

  it('tells the time of each suite, and the ten slowest files of all', () => {
    const files = Array.from({ length: 12 }, (_unused, at) => ({ file: `test/${at}.test.ts`, seconds: at * 20 }))
    const { text } = end({
      unit: ran({ seconds: 61.2, files: files.slice(0, 9) }),
      e2e: ran({ files: files.slice(9) }),
    })
    assert.match(text, /^unit +2 +0 +0 +1:01$/m)
    const named = [...text.matchAll(/^ +(\d+:\d\d) {2}test\/(\d+)\.test\.ts$/gm)].map(([, time, at]) => [time, at])
    assert.deepEqual([named.length, named[0], named[9]], [10, ['3:40', '11'], ['0:40', '2']])
  })

  it('counts a process that died as a failure', () => {
    assert.equal(end({ unit: ran({ trouble: ['the test process ended with SIGSEGV'] }) }).ok, false)
  })

  for (const [name, outcome, require, ok] of [
    ['a suite that did not run', { at: 'not run', reason: 'not root' }, 'suite', false],
    ['a suite without tests', ran({ passed: 0 }), 'suite', false],
    ['a suite with a pending test', ran({ pending: [{ title: 'later' }] }), 'suite', false],
    ['a suite that ran', ran(), 'suite', true],
    [
      'a suite in which only an absent peer was missing',
      ran({ pending: [{ title: 'mixed', notRun: peerAbsent }] }),
      'suite',
      true,
    ],
    ['that peer', ran({ pending: [{ title: 'mixed', notRun: peerAbsent }] }), 'suite,peer:flanneld', false],
  ] as const) {
    it(`with REQUIRE naming ${name} ${ok ? 'passes' : 'fails'}`, () => {
      const absent = require.includes('peer') ? { 'peer:flanneld': peerAbsent.reason } : {}
      assert.equal(end({ suite: outcome }, require, absent).ok, ok)
    })
  }

  it('fails for a required capability that the machine lacks', () => {
    assert.equal(end({ unit: ran() }, 'netns', { netns: 'not root' }).ok, false)
  })
})
