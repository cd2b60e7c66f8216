import assert from 'node:assert/strict'
import { PacedLooks } from '../../../flanneld/switch/paced-looks.ts'
import { VirtualClock } from '../../fakes/clock.ts'

describe('looks at a change of the backend', () => {
  /** How often it looks in `ms`, with news every few ms of that time; `tookMs`: how long a look takes. */
  async function looks({ ms = 3_000, tookMs = 0, newsEveryMs = 0, isChanging = true }): Promise<readonly number[]> {
    const clock = new VirtualClock()
    const stop = new AbortController()
    const at: number[] = []
    const look = async () => {
      at.push(clock.now())
      if (tookMs > 0) await clock.sleep(tookMs, stop.signal).catch(() => {})
    }
    const paced = new PacedLooks({ clock, look, isChanging: () => isChanging })
    const run = paced.run(stop.signal)
    const turn = newsEveryMs || Math.max(1, ms)
    for (let passed = 0; passed < ms; passed += turn) {
      await clock.advance(turn)
      if (newsEveryMs > 0) paced.ring()
    }
    stop.abort()
    await run
    return at
  }

  it('take a tenth of the time at most, however much news there is, and a long one delays the next by a second', async () => {
    assert.ok((await looks({ tookMs: 30, newsEveryMs: 7 })).length <= 3_000 / 300 + 1)
    assert.equal((await looks({ tookMs: 800, newsEveryMs: 7 })).length, 2)
  })

  it('are soon where there is news', async () => {
    assert.ok((await looks({ ms: 1_000, newsEveryMs: 50 })).length >= 20)
  })

  for (const ms of [0, 5, 500])
    it(`end with the signal, ${ms} ms after the first`, async () => {
      assert.equal((await looks({ ms, isChanging: false })).length, 1)
    })

  it('become rarer without news, and none is needed while nothing changes', async () => {
    const at = await looks({ ms: 60_000 })
    const pauses = at.slice(1).map((time, n) => time - (at[n] ?? 0))
    assert.deepEqual(
      pauses,
      [...pauses].sort((a, b) => a - b),
    )
    assert.ok((pauses[0] ?? 0) < 300 && (pauses.at(-1) ?? 0) > 4_000, pauses.join(' '))
    assert.equal((await looks({ isChanging: false })).length, 1)
  })
})
