import assert from 'node:assert/strict'
import type { IEvent, IKeyValue } from 'etcd3'
import { silentLogger } from '../../lib/log.ts'
import { StoreUnavailable, TooLarge } from '../../subnet/etcd/errors.ts'
import { HealthRecord } from '../../subnet/etcd/health-record.ts'
import { keysBelow } from '../../subnet/etcd/key-range.ts'
import { type RangeClient, RangeFollower, type RangeSink } from '../../subnet/etcd/range-follower.ts'
import type { WatchEvents } from '../../subnet/etcd/watch-stream.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'

/** An etcd that lies, stalls and forgets as told. */
class ScriptedEtcd {
  readonly clock = new VirtualClock()
  readonly health = new HealthRecord({ clock: this.clock })
  readonly entries = new Map<string, string>()
  revision = 7
  cluster = '1'
  /** Lists read. */
  lists = 0
  tries = 0
  gaveUp = 0
  rotations = 0
  reachable = true
  answersWatch = true
  answersProgress = true
  largestPage = Number.POSITIVE_INFINITY
  on: WatchEvents | undefined

  readonly client: RangeClient = {
    health: this.health,
    call: async <T>({ payload }: { payload: unknown }): Promise<T> => {
      this.tries += 1
      if (!this.reachable) throw new StoreUnavailable('nobody there')
      const request = payload as { key: Buffer; limit?: number; count_only?: boolean }
      const header = { revision: String(this.revision), cluster_id: this.cluster }
      if (request.count_only) return { header, count: String(this.entries.size), kvs: [] } as T
      if ((request.limit ?? 0) > this.largestPage) throw new TooLarge('too large')
      const keys = [...this.entries.keys()].sort().filter((key) => Buffer.compare(Buffer.from(key), request.key) >= 0)
      const kvs = keys.slice(0, request.limit).map((key) => this.kv(key))
      if (String(request.key) === '/s/') this.lists += 1
      return { header, kvs, more: keys.length > kvs.length } as T
    },
    watch: async (on) => {
      this.on = on
      if (this.answersWatch) on.created()
      const requestProgress = () => {
        if (this.answersProgress) on.progress(BigInt(this.revision))
      }
      return { endpoint: 'e', requestProgress, close: () => undefined }
    },
    applyRotatedFiles: async () => {
      this.rotations += 1
    },
    giveUp: async () => {
      this.gaveUp += 1
    },
  }

  kv(key: string): IKeyValue {
    const revision = String(this.revision)
    return {
      key: Buffer.from(key),
      value: Buffer.from(this.entries.get(key) ?? ''),
      create_revision: revision,
      mod_revision: revision,
      version: '1',
      lease: '0',
    }
  }

  /** With `quietly`, the watch does not tell. */
  put(key: string, quietly = false): void {
    this.revision += 1
    this.entries.set(key, key)
    const event = { type: 'Put', kv: this.kv(key) } as IEvent
    if (!quietly) this.on?.events([event])
    if (!quietly) this.on?.progress(BigInt(this.revision))
  }

  resyncs(): string {
    return [...(this.health.source.current?.resyncs ?? [])].map(([cause, count]) => `${cause} ${count}`).join()
  }
}

describe('RangeFollower', () => {
  let etcd: ScriptedEtcd
  let held: Map<string, string>
  let sameHistory: boolean[]
  let stop: AbortController
  let running: Promise<void>

  function start(): RangeFollower {
    const sink: RangeSink = {
      get size() {
        return held.size
      },
      beginList: (same) => {
        sameHistory.push(same)
        const next = new Map<string, string>()
        return {
          add: ({ key, value }) => next.set(String(key), String(value)),
          commit: () => {
            held = next
          },
        }
      },
      events: (events) => {
        for (const { kv } of events) held.set(String(kv.key), String(kv.value))
      },
    }
    const follower = new RangeFollower(
      { client: etcd.client, clock: etcd.clock, log: silentLogger, random: () => 0.5, sink },
      { name: 'leases', range: keysBelow('/s/'), checkEveryMs: 60_000 },
    )
    running = follower.run(stop.signal)
    return follower
  }

  beforeEach(() => {
    etcd = new ScriptedEtcd()
    held = new Map()
    sameHistory = []
    stop = new AbortController()
  })
  afterEach(async () => {
    stop.abort(new Error('over'))
    await running
    assert.equal(etcd.clock.sleeping, 0)
  })

  const up = () => etcd.health.source.current?.up

  it('lists once, then follows events', async () => {
    for (let n = 0; n < 1200; n += 1) etcd.entries.set(`/s/${n}`, `${n}`)
    start()
    await settleTasks()
    etcd.put('/s/new')
    await etcd.clock.advance(600_000)
    assert.deepEqual([etcd.lists, held.size, up(), etcd.resyncs()], [1, 1201, true, ''])
    assert.ok(etcd.rotations >= 8)
  })

  it('asks for smaller pages when they are too large', async () => {
    for (let n = 0; n < 40; n += 1) etcd.entries.set(`/s/${n}`, `${n}`)
    etcd.largestPage = 5
    start()
    await settleTasks()
    assert.equal(held.size, 40)
  })

  for (const why of ['broken', 'canceled', 'compacted'] as const) {
    it(`lists again after a watch was ${why}`, async () => {
      start()
      await settleTasks()
      etcd.on?.ended({ why, text: 'x' })
      await settleTasks()
      assert.equal(up(), false)
      await etcd.clock.advance(1000)
      assert.deepEqual([etcd.lists, up(), etcd.resyncs(), sameHistory], [2, true, `${why} 1`, [false, true]])
    })
  }

  it('lists again when the count shows that an event was lost', async () => {
    start()
    await settleTasks()
    etcd.put('/s/unseen', true)
    await etcd.clock.advance(90_000)
    assert.deepEqual([etcd.lists, [...held.keys()], etcd.resyncs()], [2, ['/s/unseen'], 'mismatch 1'])
  })

  it('gives up a connection whose watch stands still', async () => {
    start()
    await settleTasks()
    etcd.answersProgress = false
    etcd.revision += 1
    await etcd.clock.advance(90_000)
    assert.deepEqual([etcd.gaveUp, etcd.resyncs()], [1, 'stale 1'])
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
      assert.deepEqual([etcd.lists, etcd.resyncs(), sameHistory], [2, 'restored 1', [false, false]])
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
    assert.ok(etcd.lists < 120, `${etcd.lists}`)
  })

  it('lets those wait who need a current view', async () => {
    etcd.reachable = false
    const follower = start()
    let current = false
    const waiting = follower.whenSynced(stop.signal).then(() => {
      current = true
    })
    await etcd.clock.advance(1000)
    assert.equal(current, false)
    etcd.reachable = true
    await etcd.clock.advance(2000)
    await waiting
    assert.equal(current, true)
    follower.resync('uncertain-write')
    const again = follower.whenSynced(stop.signal)
    await etcd.clock.advance(2000)
    await again
    assert.equal(etcd.resyncs(), 'uncertain-write 1')
  })
})
