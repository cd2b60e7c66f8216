import assert from 'node:assert/strict'
import type { Event } from '../../subnet/etcd/rpc.ts'
import { settleTasks } from '../fakes/clock.ts'
import { nothingAsked, type ScriptedEtcd } from '../fakes/scripted-etcd.ts'
import { Followed } from './followed.ts'

describe('RangeFollower', () => {
  let world: Followed
  let etcd: ScriptedEtcd

  beforeEach(() => {
    world = new Followed()
    etcd = world.etcd
  })
  afterEach(async () => {
    await world.close()
  })
  const start = () => world.start()
  const up = () => world.up
  const equal = () => world.assertEqual()

  it('lists once, then follows events', async () => {
    etcd.fill(1200)
    start()
    await settleTasks()
    etcd.put('/s/new')
    await etcd.clock.advance(600_000)
    assert.deepEqual([etcd.asked.lists, world.held.size, up(), etcd.resyncs()], [1, 1201, true, ''])
    assert.ok(etcd.rotations >= 8)
  })

  it('asks for smaller pages when they are too large', async () => {
    etcd.fill(40)
    etcd.largestPage = 5
    start()
    await settleTasks()
    assert.equal(world.held.size, 40)
  })

  for (const why of ['broken', 'canceled'] as const) {
    it(`lists nothing again after a watch was ${why}, if nothing was missed`, async () => {
      etcd.fill(3)
      start()
      await settleTasks()
      etcd.on?.ended({ why, text: 'x' })
      await settleTasks()
      // No outage, as it is over at once.
      assert.equal(up(), true)
      etcd.putElsewhere()
      await etcd.clock.advance(1000)
      assert.deepEqual([etcd.asked, up()], [{ ...nothingAsked, lists: 1, thorough: 1, watches: 2 }, true])
    })

    it(`is told by the next watch what was missed after one was ${why}, and proves it`, async () => {
      etcd.fill(3)
      const follower = start()
      await settleTasks()
      etcd.on?.ended({ why, text: 'x' })
      etcd.put('/s/1', true)
      etcd.put('/s/new', true)
      etcd.delete('/s/2', true)
      await etcd.clock.advance(1000)
      await follower.whenSynced(world.signal)
      equal()
      assert.deepEqual([etcd.asked, up()], [{ ...nothingAsked, lists: 1, thorough: 2, watches: 2 }, true])
    })
  }

  it('tells of a break that lasts, after half a second', async () => {
    start()
    await settleTasks()
    etcd.latencyMs = 5000
    etcd.on?.ended({ why: 'broken', text: 'x' })
    await etcd.clock.advance(400)
    assert.equal(up(), true)
    await etcd.clock.advance(200)
    assert.equal(etcd.health.source.current?.error, 'the watch ended: x')
  })

  it('lists again when the next watch cannot tell what was missed', async () => {
    etcd.fill(3)
    start()
    await settleTasks()
    etcd.on?.ended({ why: 'broken', text: 'x' })
    etcd.forgetful = true
    etcd.delete('/s/2', true)
    await etcd.clock.advance(20_000)
    equal()
    assert.deepEqual([etcd.asked.lists, etcd.gaveUp, etcd.resyncs(), up()], [2, 1, 'stale 1', true])
  })

  it('lists again when what was missed is compacted', async () => {
    etcd.fill(3)
    start()
    await settleTasks()
    etcd.on?.ended({ why: 'broken', text: 'x' })
    etcd.put('/s/2', true)
    etcd.compacted = etcd.revision
    await etcd.clock.advance(2000)
    equal()
    assert.deepEqual([etcd.asked.lists, etcd.resyncs(), world.sameHistory], [2, 'compacted 1', [false, true]])
  })

  it('lists again when the count shows that an event was lost', async () => {
    start()
    await settleTasks()
    etcd.put('/s/unseen', true)
    await etcd.clock.advance(90_000)
    assert.deepEqual([etcd.asked.lists, [...world.held.keys()], etcd.resyncs()], [2, ['/s/unseen'], 'mismatch 1'])
  })

  it('asks by other means where a watch does not tell its progress, and leaves it alone if nothing was missed', async () => {
    start()
    await settleTasks()
    etcd.answersProgress = false
    etcd.putElsewhere()
    await etcd.clock.advance(90_000)
    assert.deepEqual([etcd.gaveUp, etcd.resyncs(), up(), etcd.asked.thorough], [0, '', true, 1])
  })

  for (const [what, change] of [
    ['changed', () => etcd.put('/s/1', true)],
    ['was deleted', () => etcd.delete('/s/1', true)],
  ] as const) {
    it(`gives up a connection whose watch is silent, also when it tells no progress, about a lease that ${what}`, async () => {
      etcd.fill(3)
      start()
      await settleTasks()
      etcd.answersProgress = false
      change()
      await etcd.clock.advance(90_000)
      equal()
      assert.deepEqual([etcd.gaveUp, etcd.resyncs()], [1, 'stale 1'])
      await etcd.clock.advance(120_000)
      etcd.put('/s/2', true)
      await etcd.clock.advance(400_000)
      equal()
      assert.deepEqual([etcd.gaveUp, etcd.resyncs()], [2, 'stale 2'])
    })
  }

  it('is patient with events that are on their way', async () => {
    etcd.fill(3)
    start()
    await settleTasks()
    etcd.answersProgress = false
    etcd.put('/s/1', true)
    const late = etcd.history.at(-1) as Event
    await etcd.clock.advance(75_000)
    etcd.on?.events([late])
    etcd.on?.progress(BigInt(etcd.revision))
    await etcd.clock.advance(20_000)
    equal()
    assert.deepEqual([etcd.gaveUp, etcd.asked.lists, up()], [0, 1, true])
  })

  it('keeps its watch while etcd does not answer, and tells it after the second question', async () => {
    etcd.fill(3)
    start()
    await settleTasks()
    etcd.reachable = false
    await etcd.clock.advance(60_000)
    assert.equal(up(), true)
    await etcd.clock.advance(5000)
    assert.equal(up(), false)
    etcd.put('/s/1')
    etcd.reachable = true
    await etcd.clock.advance(10_000)
    equal()
    assert.deepEqual([etcd.asked.lists, etcd.asked.watches, up()], [1, 1, true])
  })

  it('takes no answer that an event has overtaken for another history', async () => {
    etcd.fill(3)
    start()
    await settleTasks()
    const { call } = etcd.client
    Object.assign(etcd.client, {
      call: async (...args: Parameters<typeof call>) => {
        const answer = await call(...args)
        etcd.put('/s/1')
        return answer
      },
    })
    await etcd.clock.advance(300_000)
    assert.deepEqual([etcd.asked.lists, etcd.resyncs()], [1, ''])
  })

  it('gives up a connection on which the watch is never confirmed', async () => {
    etcd.answersWatch = false
    start()
    await etcd.clock.advance(5000)
    assert.deepEqual([etcd.gaveUp, up()], [1, false])
  })

  for (const [what, change] of [
    [
      'revision',
      () => {
        etcd.revision = 3
      },
    ],
    [
      'cluster',
      () => {
        etcd.cluster = '2'
      },
    ],
  ] as const) {
    it(`reads everything anew when the ${what} says that the store was replaced`, async () => {
      start()
      await settleTasks()
      change()
      await etcd.clock.advance(90_000)
      assert.deepEqual([etcd.asked.lists, etcd.resyncs(), world.sameHistory], [2, 'restored 1', [false, false]])
    })
  }

  it('tries eagerly at first, then ever more patiently, and at once tells when it is back', async () => {
    etcd.reachable = false
    start()
    const triesIn = async (ms: number) => {
      const before = etcd.tries
      await etcd.clock.advance(ms)
      return etcd.tries - before
    }
    const tries = [await triesIn(8_000), await triesIn(52_000), await triesIn(540_000)]
    const limits = [
      [8, 20],
      [14, 35],
      [50, 110],
    ] as const
    limits.forEach(([least, most], index) => {
      const count = tries[index] ?? 0
      assert.ok(least <= count && count <= most, tries.join(' '))
    })
    assert.match(etcd.health.source.current?.error ?? '', /nobody there/)
    etcd.reachable = true
    await etcd.clock.advance(11_000)
    assert.equal(up(), true)
  })

  it('does not spin when each watch ends at once', async () => {
    const { watch } = etcd.client
    Object.assign(etcd.client, {
      watch: async (...args: Parameters<typeof watch>) => {
        const open = await watch(...args)
        args[0].ended({ why: 'canceled', text: 'permission denied' })
        return open
      },
    })
    start()
    await etcd.clock.advance(60_000)
    assert.ok(etcd.tries < 120, `${etcd.tries}`)
    assert.equal(etcd.asked.lists, 1)
  })

  it('lets those wait who need a current view', async () => {
    etcd.reachable = false
    const follower = start()
    let current = false
    const waiting = follower.whenSynced(world.signal).then(() => {
      current = true
    })
    await etcd.clock.advance(1000)
    assert.equal(current, false)
    etcd.reachable = true
    await etcd.clock.advance(2000)
    await waiting
    assert.equal(current, true)
    follower.resync()
    const again = follower.whenSynced(world.signal)
    await etcd.clock.advance(2000)
    await again
    assert.deepEqual([etcd.asked.lists, etcd.resyncs()], [2, 'asked 1'])
  })

  it('proves that it is current after a write whose answer was lost, without a list', async () => {
    etcd.fill(3)
    const follower = start()
    await settleTasks()
    follower.recheck()
    etcd.put('/s/own', true)
    let current = false
    const waiting = follower.whenSynced(world.signal).then(() => {
      current = true
    })
    await etcd.clock.advance(3000)
    assert.equal(current, false)
    etcd.on?.events([etcd.history.at(-1) as Event])
    etcd.on?.progress(BigInt(etcd.revision))
    await etcd.clock.advance(1)
    await waiting
    equal()
    assert.deepEqual([etcd.asked.lists, etcd.gaveUp], [1, 0])
  })
})
