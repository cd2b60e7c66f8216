import assert from 'node:assert/strict'
import { Lifecycle, runTogether } from '../../lib/lifecycle.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'

describe('a background task', () => {
  let clock: VirtualClock
  let heard: string[]
  let verdict: 'again' | 'ended'
  let lifecycle: Lifecycle

  beforeEach(() => {
    clock = new VirtualClock()
    heard = []
    verdict = 'again'
    lifecycle = new Lifecycle({
      clock,
      onFault: (task, cause) => {
        heard.push(`${task}: ${(cause as Error).message}`)
        return verdict
      },
      onWell: (task) => heard.push(`${task} is well`),
    })
  })
  afterEach(() => lifecycle.stop())

  it('that fails is heard of at once, begins again after growing pauses, and is well after a while', async () => {
    let runs = 0
    lifecycle.run('task', async (signal) => {
      runs += 1
      if (runs < 4) throw new Error(`fault ${runs}`)
      await clock.sleep(1e9, signal)
    })
    await settleTasks()
    assert.deepEqual(heard, ['task: fault 1'])
    await clock.advance(250)
    assert.deepEqual(heard, ['task: fault 1', 'task: fault 2'])
    await clock.advance(500 + 1_000)
    assert.equal(runs, 4)
    await clock.advance(10_000)
    assert.deepEqual(heard, ['task: fault 1', 'task: fault 2', 'task: fault 3', 'task is well'])
  })

  it('that fails for ever is tried every 30 s, and is not called well in between', async () => {
    let runs = 0
    lifecycle.run('task', async () => {
      runs += 1
      throw new Error('again')
    })
    await clock.advance(300_000)
    const before = runs
    await clock.advance(300_000)
    assert.equal(runs - before, 10)
    assert.ok(!heard.includes('task is well'))
  })

  it('does not begin again where the verdict is so, nor after the stop', async () => {
    verdict = 'ended'
    let runs = 0
    const work = async () => {
      runs += 1
      throw new Error('fault')
    }
    lifecycle.run('task', work)
    await clock.advance(60_000)
    assert.equal(runs, 1)
    verdict = 'again'
    lifecycle.run('other', work)
    await settleTasks()
    await lifecycle.stop()
    await clock.advance(60_000)
    assert.equal(runs, 2)
    assert.equal(clock.sleeping, 0)
  })

  it('is not needed for a fault to be heard of', async () => {
    lifecycle.fault('callback', new Error('a'))
    await clock.advance(5_000)
    lifecycle.fault('callback', new Error('b'))
    await clock.advance(9_000)
    assert.deepEqual(heard, ['callback: a', 'callback: b'])
    await clock.advance(1_000)
    assert.equal(heard.at(-1), 'callback is well')
  })
})

describe('tasks that run together', () => {
  it('stop with the first fault, which is thrown at once', async () => {
    const clock = new VirtualClock()
    let stopped = false
    const forever = async (signal: AbortSignal) => {
      await clock.sleep(1e9, signal).catch(() => {})
      stopped = true
    }
    const fault = new Error('fault')
    const { signal } = new AbortController()
    await assert.rejects(runTogether([forever, () => Promise.reject(fault)], signal), fault)
    assert.ok(stopped)
  })

  it('stop with the signal, without an error of their own', async () => {
    const clock = new VirtualClock()
    const end = new AbortController()
    const running = runTogether([(signal) => clock.sleep(1e9, signal).catch(() => {})], end.signal)
    end.abort(new Error('stopping'))
    await running
  })
})
