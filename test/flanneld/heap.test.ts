import assert from 'node:assert/strict'
import { collectAfterStart } from '../../flanneld/heap.ts'
import { Latest } from '../../lib/latest.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'

describe('collectAfterStart', () => {
  function begin(signal = new AbortController().signal) {
    const clock = new VirtualClock()
    const news = new Latest<number>('news')
    const collected: number[] = []
    let ended: number | undefined
    collectAfterStart({ clock, collect: () => collected.push(clock.now()) }, news, signal).then(() => {
      ended = clock.now()
    })
    return { clock, news, collected, ended: () => ended }
  }

  it('collects twice, each time after half a second without news', async () => {
    const { clock, collected, ended } = begin()
    await clock.advance(5_000)
    assert.deepEqual([collected, ended()], [[500, 1_000], 1_000])
  })

  it('waits as long as news comes: a burst must not be held up by it', async () => {
    const { clock, news, collected, ended } = begin()
    for (let count = 0; count < 30; count += 1) {
      news.set(count)
      await clock.advance(400)
    }
    assert.deepEqual([collected, ended()], [[], undefined])
    await clock.advance(2_000)
    assert.deepEqual([collected, ended()], [[12_500, 13_000], 13_000])
  })

  it('ends with the signal', async () => {
    const stop = new AbortController()
    const { clock, collected, ended } = begin(stop.signal)
    await clock.advance(100)
    stop.abort()
    await settleTasks()
    assert.deepEqual([collected, ended()], [[], 100])
  })
})
