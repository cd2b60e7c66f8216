import type { Clock } from '../../lib/clock.ts'
import { Latest, type Source } from '../../lib/latest.ts'
import type { Logger } from '../../lib/log.ts'
import { untilFirst } from '../../lib/signals.ts'
import type { ConfigText } from '../types.ts'
import type { EtcdClient } from './client.ts'
import { joinKey } from './key-range.ts'
import { RangeFollower, type RangeSink } from './range-follower.ts'

/** The network configuration at `<prefix>/config`. A missing one is a value, too (`text` undefined), and its coming is seen at once. */
export class EtcdConfigSource implements Source<ConfigText> {
  readonly name = 'etcd config'
  readonly #needs: { client: EtcdClient; clock: Clock; log: Logger; random: () => number }
  readonly #key: string
  readonly #checkEveryMs: number
  #follower: RangeFollower | undefined

  constructor(
    needs: { client: EtcdClient; clock: Clock; log: Logger; random: () => number },
    options: { prefix: string; checkEveryMs?: number },
  ) {
    this.#needs = needs
    this.#key = joinKey(options.prefix, 'config')
    this.#checkEveryMs = options.checkEveryMs ?? 60_000
  }

  /** Reads the key again now (SIGHUP), although the watch would have told of any change. */
  refresh(): void {
    this.#follower?.resync()
  }

  async *watch(signal: AbortSignal): AsyncGenerator<ConfigText> {
    const latest = new Latest<ConfigText>(this.name)
    const over = new AbortController()
    const follower = new RangeFollower(
      { ...this.#needs, sink: configSink(latest, this.#key) },
      { name: this.name, range: { key: Buffer.from(this.#key) }, checkEveryMs: this.#checkEveryMs },
    )
    this.#follower = follower
    const running = untilFirst([signal, over.signal], (stop) => follower.run(stop)).finally(() => latest.close())
    try {
      yield* latest.watch(signal)
    } finally {
      over.abort()
      await running
    }
  }
}

/** Emits what differs from the last emitted value; a list after a break mostly tells the same. */
function configSink(latest: Latest<ConfigText>, key: string): RangeSink {
  const origin = `etcd:${key}`
  const set = (text: string | undefined, revision: string) => {
    const { current } = latest
    if (current === undefined || current.text !== text) latest.set({ text, revision, origin })
  }
  return {
    get size() {
      return latest.current?.text === undefined ? 0 : 1
    },
    beginList: () => {
      let text: string | undefined
      return {
        add: (entry) => {
          text = entry.value.toString()
        },
        commit: (revision) => set(text, String(revision)),
      }
    },
    events: (events) => {
      const last = events.at(-1)
      if (last !== undefined) set(last.type === 'Delete' ? undefined : last.kv.value.toString(), last.kv.mod_revision)
    },
  }
}
