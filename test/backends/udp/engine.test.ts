import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { EngineFailure, type EngineState, UdpEngine } from '../../../backends/udp/engine.ts'
import type { IpAddr } from '../../../lib/address.ts'
import { type Clock, systemClock } from '../../../lib/clock.ts'
import { silentLogger } from '../../../lib/log.ts'
import { until as within } from '../../until.ts'

describe('udp engine', () => {
  let folder: string
  let engine: UdpEngine
  let states: string[]
  let lines: [string, unknown][]

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'udp-engine-'))
  })
  afterEach(async () => {
    await engine.stop()
    await rm(folder, { recursive: true })
  })

  const heard = async () => (await readFile(join(folder, 'heard'), 'utf8')).trim().split('\n')
  const tableOf = (own: string) => ({ own: own as IpAddr, peers: [] })
  // Looks at its worker ten times as often as in earnest.
  const clock: Clock = { ...systemClock, sleep: async (ms, signal) => await systemClock.sleep(ms / 10, signal) }
  const make = (own: string) => {
    states = []
    lines = []
    const note = (message: string, fields: Record<string, unknown> = {}) => void lines.push([message, fields['tunTcp']])
    engine = new UdpEngine(
      {
        clock,
        log: { ...silentLogger, info: note, warn: note },
        random: Math.random,
        table: tableOf(own),
        onState: (state: EngineState) => states.push(state.at),
      },
      {
        device: join(folder, 'heard'),
        local: '127.0.0.1' as IpAddr,
        port: 8285,
        workerFile: new URL('./fake-worker.mjs', import.meta.url),
      },
    )
    return engine
  }
  const until = async (condition: () => boolean | Promise<boolean>) => {
    for (let tries = 0; !(await condition()); tries += 1) {
      assert.ok(tries < 900, 'it did not happen within 9 s')
      await delay(10)
    }
  }

  it('starts, hands over tables, stops', async () => {
    await make('10.0.0.1').start()
    assert.equal(engine.state.at, 'running')
    assert.deepEqual(lines, [['udp proxy started', true]])
    engine.replaceTable(tableOf('10.0.0.2'))
    engine.replaceTable(tableOf('10.0.0.3'))
    await engine.stop()
    assert.deepEqual(await heard(), ['start a000001', 'table a000002', 'table a000003', 'stop'])
    assert.deepEqual(states, ['starting', 'running', 'stopped'])
    assert.equal(engine.deaths, 0)
  })

  it('starts a worker anew with the last table when one dies, at first at once', async () => {
    await make('10.0.0.1').start()
    engine.replaceTable(tableOf('6.6.6.1'))
    // Given while there is none: the next one begins with it.
    engine.replaceTable(tableOf('10.0.0.9'))
    await within(1_000, 'a new worker', async () => assert.deepEqual([engine.deaths, engine.state.at], [1, 'running']))
    assert.deepEqual(
      (await heard()).filter((line) => line.startsWith('start')),
      ['start a000001', 'start a000009'],
    )
    assert.equal(engine.counters().packetsOut, 2, 'counters outlive a worker')
    assert.deepEqual(states, ['starting', 'running', 'failed', 'running'])
  })

  it('waits between starts when every worker dies', async () => {
    await make('10.0.0.1').start()
    engine.replaceTable(tableOf('6.6.6.1'))
    await until(() => engine.deaths === 1 && engine.state.at === 'running')
    for (const deaths of [2, 3, 4]) {
      engine.replaceTable(tableOf('6.6.6.1'))
      await until(() => engine.deaths === deaths && engine.state.at === 'running')
    }
    assert.equal((await heard()).filter((line) => line.startsWith('start')).length, 5)
  })

  it('replaces a worker that hangs, and counts it among the deaths', async () => {
    await make('10.0.0.1').start()
    engine.replaceTable(tableOf('7.7.7.1'))
    engine.replaceTable(tableOf('10.0.0.9'))
    await until(() => engine.deaths === 1 && engine.state.at === 'running')
    assert.deepEqual((await heard()).at(-1), 'start a000009')
    assert.deepEqual(states, ['starting', 'running', 'failed', 'running'])
    await systemClock.sleep(1_000, AbortSignal.timeout(5_000))
    assert.equal(engine.deaths, 1, 'one that lives is left alone')
  })

  it('says why it cannot start, once, and starts when it can', async () => {
    await make('1.1.1.1').start()
    const { error } = engine.state.at === 'failed' ? engine.state : assert.fail()
    assert.ok(error instanceof EngineFailure)
    assert.deepEqual([error.code, error.what], ['EBUSY', 'tun'])
    await until(async () => (await heard()).length > 2)
    assert.deepEqual([states, lines], [['starting', 'failed'], []])
    engine.replaceTable(tableOf('10.0.0.1'))
    await until(() => engine.state.at === 'running')
    assert.deepEqual([states, engine.deaths], [['starting', 'failed', 'running'], 0])
    assert.deepEqual(lines, [['udp proxy started', true]])
  })

  it('stops while it waits to start anew', async () => {
    await make('10.0.0.1').start()
    engine.replaceTable(tableOf('6.6.6.1'))
    engine.replaceTable(tableOf('1.1.1.1'))
    await until(() => engine.state.at === 'failed' && engine.state.error instanceof EngineFailure)
    await engine.stop()
    assert.equal(engine.state.at, 'stopped')
  })
})
