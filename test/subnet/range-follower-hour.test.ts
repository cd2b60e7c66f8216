import assert from 'node:assert/strict'
import { nothingAsked, type ScriptedEtcd } from '../fakes/scripted-etcd.ts'
import { Followed } from './followed.ts'

interface Hour {
  readonly before?: (etcd: ScriptedEtcd) => void
  readonly eachMinute?: (etcd: ScriptedEtcd) => void
  readonly most?: Partial<typeof nothingAsked>
}

/** Reads of a follower in an hour; Documentation/running.md states it. One a minute, a quarter more or less. */
const reads = 62

// What 5,000 nodes do to one etcd. Each node has two followers: of the leases and of the configuration.
describe('RangeFollower in an hour', () => {
  const hours: readonly [string, Hour][] = [
    ['asks once a minute where nothing changes', {}],
    [
      'asks once a minute where others change much',
      { eachMinute: (etcd) => etcd.putElsewhere(), most: { progress: 61 } },
    ],
    [
      'asks no more of an etcd that takes 5 s',
      {
        before: (etcd) => {
          etcd.latencyMs = 5000
        },
        eachMinute: (etcd) => etcd.putElsewhere(),
        most: { progress: 61 },
      },
    ],
    [
      'asks no more behind a grpc-proxy, and only every fifth time about all entries',
      {
        before: (etcd) => {
          etcd.answersProgress = false
        },
        eachMinute: (etcd) => etcd.putElsewhere(),
        most: { progress: 1, thorough: 14 },
      },
    ],
    [
      'asks once more for each watch that something ends for being idle, and lists nothing',
      {
        eachMinute: (etcd) => etcd.on?.ended({ why: 'broken', text: 'idle for 60 s' }),
        most: { watches: 61, thorough: 61 },
      },
    ],
  ]
  for (const [what, { before, eachMinute, most }] of hours) {
    it(what, async () => {
      const world = new Followed()
      const { etcd } = world
      etcd.fill(1200)
      before?.(etcd)
      world.start()
      await etcd.clock.advance(30_000)
      for (let minute = 0; minute < 60; minute += 1) {
        eachMinute?.(etcd)
        await etcd.clock.advance(60_000)
      }
      const { asked } = etcd
      const watches = most?.watches ?? 1
      const limits = { ...nothingAsked, lists: 1, watches: 1, ...most, counts: reads + watches - 1 }
      const over = Object.keys(asked).filter((name) => asked[name as 'lists'] > limits[name as 'lists'])
      assert.deepEqual(over, [], JSON.stringify(asked))
      assert.ok(asked.counts + asked.thorough <= limits.counts, JSON.stringify(asked))
      assert.ok(asked.counts + asked.thorough >= 50, JSON.stringify(asked))
      assert.deepEqual([etcd.gaveUp, world.up], [0, true])
      await world.close()
    })
  }
})
