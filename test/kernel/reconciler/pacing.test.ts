import assert from 'node:assert/strict'
import type { Failure } from '../../../kernel/desired.ts'
import { keyOf } from '../../../kernel/objects.ts'
import { ObjectPacing, PassPacing } from '../../../kernel/reconciler/pacing.ts'
import * as the from '../fixtures.ts'

const object = the.required(the.peerRoute('10.64.2.0/24'))
const key = keyOf(object)
const failure: Failure = { key, object, cause: 'refused', text: 'no' }
const NEVER = Number.POSITIVE_INFINITY

describe('when an object may be tried', () => {
  let pacing: ObjectPacing

  beforeEach(() => {
    pacing = new ObjectPacing()
  })

  const waits = (now: number) => pacing.waiting(key, now) !== undefined

  it('after a refusal: later each time, at most 30 s', () => {
    const due: number[] = []
    for (let count = 0; count < 9; count += 1) {
      assert.equal(pacing.refused(failure, 0, false), count === 0)
      due.push(pacing.nextDue(0))
    }
    assert.deepEqual(due, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000])
    assert.deepEqual([waits(29_999), waits(30_000)], [true, false])
  })

  it('after one that proves the mirror wrong: at once, but once only', () => {
    pacing.refused(failure, 0, true)
    assert.equal(pacing.nextDue(0), 0)
    pacing.refused(failure, 0, true)
    assert.equal(pacing.nextDue(0), 500)
  })

  it('at once when something about it changed; a further refusal still waits longer', () => {
    pacing.refused(failure, 0, false)
    pacing.retryNow((other) => other.key === 'another')
    assert.equal(waits(0), true)
    pacing.retryNow((other) => other.key === key)
    assert.equal(waits(0), false)
    pacing.refused(failure, 0, false)
    assert.equal(pacing.nextDue(0), 500)
  })

  it('anew when its refusals are forgotten', () => {
    for (const forget of [() => pacing.forgetRefusal(key), () => pacing.keepRefusals(new Set())]) {
      pacing.refused(failure, 0, false)
      pacing.keepRefusals(new Set([key]))
      assert.equal(pacing.wasRefused(key), true)
      forget()
      assert.deepEqual([pacing.wasRefused(key), pacing.nextDue(0)], [false, NEVER])
      assert.equal(pacing.refused(failure, 0, false), true)
    }
  })

  it('once per 5 s while another program undoes it, until a minute has passed', () => {
    for (let now = 0; now < 29; now += 1) pacing.repaired(key, object, now)
    assert.deepEqual([pacing.nextRepair(key), pacing.fought(29).size], [0, 0])
    pacing.repaired(key, object, 29)
    assert.deepEqual([...pacing.fought(29).keys()], [key])
    // Nobody needs a repair: only the end of the fight is to be noticed.
    assert.equal(pacing.nextDue(29), 60_030)
    assert.equal(pacing.nextRepair(key), 5_029)
    assert.equal(pacing.nextDue(29), 5_029)
    assert.equal(pacing.fought(60_029).size, 1)
    assert.equal(pacing.fought(60_030).size, 0)
    assert.deepEqual([pacing.nextRepair(key), pacing.nextDue(60_030)], [0, NEVER])
  })

  it('at any time after thirty repairs that took more than a minute', () => {
    for (let count = 0; count < 60; count += 1) pacing.repaired(key, object, count * 2_100)
    assert.equal(pacing.nextRepair(key), 0)
  })
})

describe('when a pass may begin', () => {
  it('after an event: in one for the burst, and not before others had their turn after much reading', () => {
    const pacing = new PassPacing({ auditMs: 1_000, sweepMs: 300 })
    assert.equal(pacing.afterEvent(0), 10)
    pacing.finished(0, 50)
    assert.deepEqual([pacing.afterEvent(0), pacing.afterEvent(195)], [200, 205])
  })

  it('although nothing happened: audits and sweeps, each once', () => {
    const pacing = new PassPacing({ auditMs: 1_000, sweepMs: 300 })
    assert.deepEqual([pacing.takeAudit(5_000), pacing.nextAudit()], [undefined, NEVER])
    pacing.finished(0, 0)
    assert.deepEqual(
      [pacing.takeAudit(299), pacing.takeAudit(300), pacing.takeAudit(300)],
      [undefined, 'without events', undefined],
    )
    pacing.finished(800, 0)
    assert.deepEqual([pacing.nextAudit(), pacing.takeAudit(1_000), pacing.nextAudit()], [1_000, 'everything', NEVER])
  })

  it('after a fault: not even for an event, later each time until one has ended well', () => {
    const pacing = new PassPacing({ auditMs: 1_000, sweepMs: 300 })
    assert.equal(pacing.notBefore(7), 7)
    assert.deepEqual([pacing.faulted(0), pacing.faulted(250), pacing.notBefore(300)], [250, 750, 750])
    pacing.finished(800, 0)
    assert.deepEqual([pacing.notBefore(300), pacing.faulted(1_000)], [300, 1_250])
  })
})
