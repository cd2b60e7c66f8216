import assert from 'node:assert/strict'
import { Systemd, watchdogInterval } from '../../flanneld/systemd.ts'
import { VirtualClock } from '../fakes/clock.ts'

describe('the service manager', () => {
  let sent: string[]
  let alive: boolean
  const clock = new VirtualClock()
  const create = (watchdogUsec?: string) =>
    new Systemd(
      { notifier: { send: (text) => sent.push(text), close: () => {} }, clock, isAlive: () => alive },
      { watchdogUsec, watchdogPid: undefined, pid: 7 },
    )

  beforeEach(() => {
    sent = []
    alive = true
  })

  it('hears once that the node is ready', () => {
    const systemd = create()
    systemd.ready()
    systemd.ready()
    assert.deepEqual(sent, ['READY=1'])
  })

  it('hears of each new state, in one line', () => {
    const systemd = create()
    systemd.status('waiting')
    systemd.status('waiting')
    systemd.status('bad\nREADY=1')
    systemd.stopping()
    assert.deepEqual(sent, ['STATUS=waiting', 'STATUS=bad READY=1', 'STOPPING=1'])
  })

  it('is fed twice in its time, while the parts move', async () => {
    const abort = new AbortController()
    const systemd = create('30000000')
    systemd.ready()
    sent = []
    const run = systemd.run(abort.signal)
    await clock.advance(30_000)
    assert.deepEqual(sent, ['WATCHDOG=1', 'WATCHDOG=1', 'WATCHDOG=1'])
    alive = false
    await clock.advance(60_000)
    assert.equal(sent.length, 3)
    alive = true
    await clock.advance(15_000)
    assert.equal(sent.length, 4)
    abort.abort()
    await run
    assert.equal(clock.sleeping, 0)
  })

  it('is not fed where it has no watchdog', async () => {
    const systemd = create()
    systemd.ready()
    await systemd.run(new AbortController().signal)
    assert.deepEqual(sent, ['READY=1'])
  })

  it('is asked for more time until the node is ready, while the parts move', async () => {
    const more = 'EXTEND_TIMEOUT_USEC=60000000'
    const abort = new AbortController()
    const systemd = create()
    const run = systemd.run(abort.signal)
    await clock.advance(40_000)
    assert.deepEqual(sent, [more, more, more])
    alive = false
    await clock.advance(60_000)
    assert.equal(sent.length, 3)
    alive = true
    await clock.advance(20_000)
    assert.equal(sent.length, 4)
    systemd.ready()
    await clock.advance(60_000)
    assert.deepEqual(sent.slice(4), ['READY=1'])
    assert.equal(clock.sleeping, 0)
    abort.abort()
    await run
  })

  const intervals: [usec: string | undefined, pid: string | undefined, ms: number | undefined][] = [
    ['30000000', undefined, 15_000],
    ['30000000', '7', 15_000],
    ['30000000', '', 15_000],
    ['30000000', '8', undefined],
    [undefined, undefined, undefined],
    ['', undefined, undefined],
    ['0', undefined, undefined],
    ['x', undefined, undefined],
    ['1', undefined, 1],
    ['999999999999999', undefined, 2 ** 31 - 1],
  ]
  for (const [watchdogUsec, watchdogPid, ms] of intervals) {
    it(`with WATCHDOG_USEC=${watchdogUsec} WATCHDOG_PID=${watchdogPid} is fed every ${ms} ms`, () => {
      assert.equal(watchdogInterval({ watchdogUsec, watchdogPid, pid: 7 }), ms)
    })
  }
})
