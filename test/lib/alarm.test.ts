import assert from 'node:assert/strict'
import { Alarm } from '../../lib/alarm.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'

/** Pauses as its users do, until the time has come. */
class Sleeper {
  readonly clock = new VirtualClock()
  readonly alarm = new Alarm({ clock: this.clock })
  /** When each pause ended. */
  readonly ended: number[] = []

  pause(at: number): void {
    this.alarm.until(at).then(() => this.ended.push(this.clock.now()))
  }
}

describe('an alarm', () => {
  it('ends a pause at its time', async () => {
    const one = new Sleeper()
    one.pause(100)
    await one.clock.advance(99)
    assert.deepEqual(one.ended, [])
    await one.clock.advance(1)
    assert.deepEqual(one.ended, [100])
  })

  it('ends a pause at once when it rings, and nothing else', async () => {
    const one = new Sleeper()
    one.alarm.ring()
    one.pause(100)
    await one.clock.advance(10)
    one.alarm.ring()
    await settleTasks()
    assert.deepEqual(one.ended, [10])
    one.pause(100)
    await one.clock.advance(89)
    assert.deepEqual(one.ended, [10])
  })

  it('keeps one timer, however often it rings', async () => {
    const one = new Sleeper()
    for (let times = 0; times < 50; times += 1) {
      one.pause(100 + times)
      one.alarm.ring()
    }
    await settleTasks()
    assert.equal(one.clock.sleeping, 1)
    assert.equal(one.ended.length, 50)
  })

  it('may end a pause before its time, and never after it', async () => {
    const one = new Sleeper()
    one.pause(50)
    one.alarm.ring()
    one.pause(200)
    await one.clock.advance(60)
    assert.deepEqual(one.ended, [0, 50])
    one.pause(200)
    one.alarm.ring()
    one.pause(100)
    await one.clock.advance(100)
    assert.deepEqual(one.ended, [0, 50, 60, 100])
    assert.equal(one.clock.sleeping, 0)
  })

  it('leaves no timer behind when it is stopped', async () => {
    const one = new Sleeper()
    one.pause(100)
    one.alarm.stop()
    await settleTasks()
    assert.deepEqual(one.ended, [0])
    assert.equal(one.clock.sleeping, 0)
  })

  it('takes times further away than a timer can', async () => {
    const one = new Sleeper()
    one.pause(Number.POSITIVE_INFINITY)
    one.alarm.ring()
    one.pause(2 ** 40)
    await one.clock.advance(2 ** 31 - 1)
    assert.deepEqual(one.ended, [0, 2 ** 31 - 1])
  })
})
