import assert from 'node:assert/strict'
import { collectAfterStart, optimiseBesideCrowd } from '../../flanneld/heap.ts'
import { Latest } from '../../lib/latest.ts'
import type { LeaseSnapshot } from '../../subnet/types.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'
import { lease } from '../subnet/leases.ts'

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

describe('optimiseBesideCrowd', () => {
  it('turns the compiler on once, when the leases have become many', async () => {
    const leases = new Latest<LeaseSnapshot>('leases')
    let times = 0
    const ended = optimiseBesideCrowd(leases, new AbortController().signal, () => {
      times += 1
    })
    const counts: number[] = []
    for (const size of [9_999, 10_000, 20_000]) {
      leases.set(snapshotOf(size))
      await settleTasks()
      counts.push(times)
    }
    await ended
    assert.deepEqual(counts, [0, 1, 1])
  })

  function snapshotOf(size: number): LeaseSnapshot {
    const any = lease('10.5.1.0/24')
    const leases = new Map(Array.from({ length: size }, (_, index) => [String(index), any]))
    return { revision: '1', leases, unreadable: [] }
  }
})
