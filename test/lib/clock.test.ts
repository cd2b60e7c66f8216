import assert from 'node:assert/strict'
import { workAndRest } from '../../lib/clock.ts'
import { VirtualClock } from '../fakes/clock.ts'

const never = new AbortController().signal

async function restAfter(workMs: number): Promise<number> {
  const clock = new VirtualClock()
  const ended = workAndRest(clock, () => clock.sleep(workMs, never), { rest: 2, longestMs: 200 }, never)
  const times: number[] = []
  void ended.then(() => times.push(clock.now()))
  for (let at = 0; at < 500; at += 1) await clock.advance(1)
  await ended
  return (times[0] ?? Number.NaN) - workMs
}

describe('workAndRest', () => {
  it('rests in proportion to the work', async () => {
    assert.equal(await restAfter(0), 0)
    assert.equal(await restAfter(10), 20)
  })

  it('never rests for longer than it may', async () => {
    assert.equal(await restAfter(150), 200)
  })

  it('hands on what the work throws', async () => {
    const clock = new VirtualClock()
    const fails = workAndRest(clock, () => Promise.reject(new Error('no')), { rest: 2, longestMs: 200 }, never)
    await assert.rejects(fails, /^Error: no$/)
  })

  it('ends its rest when it is told to', async () => {
    const stop = new AbortController()
    const clock = new VirtualClock()
    const ended = workAndRest(clock, () => clock.sleep(10, never), { rest: 2, longestMs: 200 }, stop.signal)
    await clock.advance(15)
    stop.abort()
    await ended
    assert.equal(clock.now(), 15)
  })
})
