import assert from 'node:assert/strict'
import { DirectChange } from '../../flanneld/host/direct-change.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'

describe('direct paths that are turned on and off', () => {
  const start = (wasWanted?: boolean) => {
    const clock = new VirtualClock()
    const change = new DirectChange({ clock, wasWanted })
    const end = new AbortController()
    const running = change.run(end.signal)
    const stop = async () => {
      end.abort()
      await running
    }
    return { clock, change, stop }
  }

  for (const isWanted of [true, false])
    it(`wait until the others have heard of it, and then it is told: ${isWanted ? 'on' : 'off'}`, async () => {
      const { clock, change, stop } = start()
      assert.equal(change.look(!isWanted, 3_000), 'settled')
      const meanwhile = isWanted ? 'beginning' : 'ending'
      assert.equal(change.look(isWanted, 3_000), meanwhile)
      await clock.advance(2_999)
      assert.deepEqual([change.look(isWanted, 3_000), change.changes.current], [meanwhile, undefined])
      await clock.advance(1)
      await settleTasks()
      assert.deepEqual([change.look(isWanted, 3_000), change.changes.current], ['settled', 1])
      await stop()
    })

  it('wait at a start, too, where the last run had it otherwise', async () => {
    for (const [wasWanted, isWanted, state] of [
      [false, true, 'beginning'],
      [true, false, 'ending'],
      [true, true, 'settled'],
    ] as const) {
      const { change, stop } = start(wasWanted)
      assert.equal(change.look(isWanted, 3_000), state)
      await stop()
    }
  })

  it('are as they are at a start that knows nothing of the last run, and where several ways have said so before', async () => {
    const { change, stop } = start()
    assert.equal(change.look(true, 3_000), 'settled')
    assert.equal(change.look(undefined, 3_000), 'settled')
    assert.equal(change.look(false, 3_000), 'settled')
    await stop()
  })

  it('end where the timer is early by a part of a millisecond', async () => {
    const { clock, change, stop } = start()
    const whole = clock.now.bind(clock)
    let early = 0
    clock.now = () => whole() - early
    change.look(false, 3_000)
    change.look(true, 3_000)
    await settleTasks()
    early = 0.4
    await clock.advance(3_000)
    assert.equal(change.changes.current, undefined)
    await clock.advance(1)
    assert.deepEqual([change.changes.current, change.look(true, 3_000)], [1, 'settled'])
    await stop()
  })

  it('begin to wait anew where it is changed back', async () => {
    const { clock, change, stop } = start()
    change.look(false, 3_000)
    change.look(true, 3_000)
    await clock.advance(2_000)
    assert.equal(change.look(false, 3_000), 'ending')
    await clock.advance(2_000)
    assert.equal(change.look(false, 3_000), 'ending')
    await clock.advance(1_000)
    assert.equal(change.look(false, 3_000), 'settled')
    await stop()
  })
})
