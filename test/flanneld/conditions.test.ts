import assert from 'node:assert/strict'
import { ConditionSet, overallState } from '../../flanneld/status/status.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { peerStatus } from './status-example.ts'

describe('conditions', () => {
  const down = { code: 'datastore-down', severity: 'warning', text: 'no answer', remedy: 'look' } as const
  let clock: VirtualClock
  let changes: string[]
  let set: ConditionSet

  beforeEach(() => {
    clock = new VirtualClock()
    changes = []
    set = new ConditionSet({
      clock,
      onChange: ({ condition, holds }) => changes.push(`${holds ? '+' : '-'}${condition.code} ${condition.text}`),
    })
  })

  it('keep their beginning when their text changes', async () => {
    set.set(down)
    const since = set.list()[0]?.since
    await clock.advance(5000)
    set.set({ ...down, text: 'still none' })
    set.set({ ...down, text: 'still none' })
    assert.deepEqual(set.list(), [{ ...down, text: 'still none', since }])
    set.clear('datastore-down')
    set.clear('datastore-down')
    set.set(down)
    assert.notEqual(set.list()[0]?.since, since)
    assert.deepEqual(changes, [
      '+datastore-down no answer',
      '+datastore-down still none',
      '-datastore-down still none',
      '+datastore-down no answer',
    ])
  })

  it('of a group are replaced as a whole', () => {
    set.set(down)
    set.replace('kernel', [
      { ...down, code: 'a' },
      { ...down, code: 'b' },
    ])
    set.replace('kernel', [
      { ...down, code: 'b' },
      { ...down, code: 'c' },
    ])
    assert.deepEqual(
      set.list().map(({ code }) => code),
      ['b', 'c', 'datastore-down'],
    )
    assert.equal(set.has('a'), false)
    set.replace('kernel', [])
    assert.deepEqual(
      set.list().map(({ code }) => code),
      ['datastore-down'],
    )
  })

  it('stand in the order of their weight', () => {
    for (const severity of ['info', 'warning', 'error'] as const) set.set({ ...down, code: severity, severity })
    assert.deepEqual(
      set.list().map(({ code }) => code),
      ['error', 'warning', 'info'],
    )
  })

  it('and peers make the one word', () => {
    const base = { ready: true, conditions: [], peers: [peerStatus('1')] }
    assert.equal(overallState(base), 'ok')
    assert.equal(
      overallState({
        ...base,
        conditions: [{ ...down, severity: 'info' }],
        peers: [peerStatus('1', { state: 'skipped' })],
      }),
      'ok',
    )
    assert.equal(overallState({ ...base, conditions: [down] }), 'degraded')
    assert.equal(overallState({ ...base, peers: [peerStatus('1', { state: 'held' })] }), 'degraded')
    assert.equal(overallState({ ...base, ready: false }), 'down')
  })
})
