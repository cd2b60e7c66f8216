import assert from 'node:assert/strict'
import { silentLogger } from '../../lib/log.ts'
import { keysBelow } from '../../subnet/etcd/key-range.ts'
import { RangeFollower, type RangeSink } from '../../subnet/etcd/range-follower.ts'
import { ScriptedEtcd } from '../fakes/scripted-etcd.ts'

/** A follower of a scripted etcd, with what it holds. */
export class Followed {
  readonly etcd = new ScriptedEtcd()
  held = new Map<string, string>()
  /** Of each list. */
  readonly sameHistory: boolean[] = []
  readonly #stop = new AbortController()
  #running: Promise<void> | undefined

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  get up(): boolean | undefined {
    return this.etcd.health.source.current?.up
  }

  start(): RangeFollower {
    const { client, clock } = this.etcd
    const follower = new RangeFollower(
      { client, clock, log: silentLogger, random: () => 0.5, sink: this.#sink() },
      { name: 'leases', range: keysBelow('/s/'), checkEveryMs: 60_000 },
    )
    this.#running = follower.run(this.signal)
    return follower
  }

  /** The mirror holds what the store does. */
  assertEqual(): void {
    const { entries } = this.etcd
    const stored = [...entries].map(([key, { value }]): [string, string] => [key, value])
    assert.deepEqual([...this.held].sort(), stored.sort())
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('over'))
    await this.#running
    assert.equal(this.etcd.clock.sleeping, 0)
  }

  #sink(): RangeSink {
    const size = () => this.held.size
    return {
      get size() {
        return size()
      },
      beginList: (same) => {
        this.sameHistory.push(same)
        const next = new Map<string, string>()
        return {
          add: ({ key, value }) => next.set(String(key), String(value)),
          commit: () => {
            this.held = next
          },
        }
      },
      events: (events) => {
        for (const { type, kv } of events) {
          if (type === 'Delete') this.held.delete(String(kv.key))
          else this.held.set(String(kv.key), String(kv.value))
        }
      },
    }
  }
}
