import assert from 'node:assert/strict'
import { EngineFailure, type EngineState, type ProxyTable } from '../../../backends/udp/engine.ts'
import { counterNames } from '../../../backends/udp/proxy-memory.ts'
import { type MakeEngine, type ProxyEngine, ProxyTables } from '../../../backends/udp/proxy-tables.ts'
import type { DesiredObject, KernelObject, UdpPeer, UdpProxy } from '../../../kernel/objects.ts'
import { MemoryJournal } from '../../../kernel/reconciler/journal.ts'
import { Reconciler } from '../../../kernel/reconciler/reconciler.ts'
import type { ObjectTable, Op, OpResult } from '../../../kernel/table.ts'
import { silentLogger } from '../../../lib/log.ts'
import { VirtualClock } from '../../fakes/clock.ts'
import * as the from '../../kernel/fixtures.ts'

const RUNNING: EngineState = { at: 'running' }
const PROXY: UdpProxy = {
  kind: 'udp-proxy',
  device: 'flannel0',
  local: the.ip('192.168.64.11'),
  port: 8285,
  own: the.ip('10.5.1.0'),
}
const peer = (n: number, host = n): UdpPeer => ({
  kind: 'udp-peer',
  device: 'flannel0',
  subnet: the.cidr(`10.5.${n}.0/24`),
  publicIp: the.ip(`192.168.64.${host}`),
})

class FakeEngine implements ProxyEngine {
  state: EngineState = { at: 'stopped' }
  deaths = 0
  table: ProxyTable
  readonly #onState: (state: EngineState) => void
  readonly #failure: Error | undefined

  constructor(needs: Parameters<MakeEngine>[0], failure: Error | undefined) {
    this.table = needs.table
    this.#onState = needs.onState
    this.#failure = failure
  }

  go(state: EngineState): void {
    this.state = state
    this.#onState(state)
  }

  async start() {
    this.go({ at: 'starting' })
    this.go(this.#failure === undefined ? RUNNING : { at: 'failed', error: this.#failure })
  }

  counters() {
    return Object.fromEntries(counterNames.map((name) => [name, 1])) as ReturnType<ProxyEngine['counters']>
  }

  replaceTable(table: ProxyTable): void {
    this.table = table
  }

  async stop(): Promise<void> {
    this.go({ at: 'stopped' })
  }
}

describe('udp proxy tables', () => {
  let engines: FakeEngine[]
  let changes: number
  let failure: Error | undefined
  let proxies: ProxyTables
  let onChange: () => void
  let stop: AbortController

  beforeEach(() => {
    engines = []
    changes = 0
    failure = undefined
    onChange = () => {
      changes += 1
    }
    proxies = new ProxyTables(
      {
        clock: new VirtualClock(),
        log: silentLogger,
        random: () => 0.5,
        portHolder: (port) => `the holder of ${port}`,
        tunHolder: (device) => `the holder of ${device}`,
      },
      (needs) => {
        const engine = new FakeEngine(needs, failure)
        engines.push(engine)
        return engine
      },
    )
    stop = new AbortController()
    void tableOf('udp-proxy').watch?.(() => onChange(), stop.signal)
  })

  afterEach(() => stop.abort())

  const tableOf = (kind: KernelObject['kind']): ObjectTable => {
    const table = proxies.tables.find((each) => each.kind === kind)
    assert(table !== undefined)
    return table
  }
  const apply = async (op: Op<KernelObject>): Promise<OpResult | undefined> =>
    (await tableOf(op.object.kind).apply([op]))[0]
  const make = async (...objects: KernelObject[]) => {
    for (const object of objects) assert.deepEqual(await apply({ verb: 'create', object }), { ok: true })
  }
  const held = async () => [...(await tableOf('udp-peer').dump([])), ...(await tableOf('udp-proxy').dump([]))]

  it('start an engine with the peers that are there, and show what it runs', async () => {
    await make(peer(2), peer(3), PROXY)
    assert.deepEqual(engines[0]?.table, { own: PROXY.own, peers: [peer(2), peer(3)] })
    assert.deepEqual(await held(), [peer(2), peer(3), PROXY])
    assert.equal(changes, 0, 'what we did ourselves is no news')
  })

  it('hand over a new table for a peer that comes, moves, goes, and for another own address', async () => {
    await make(PROXY, peer(2), peer(3))
    await apply({ verb: 'update', object: peer(2, 99), actual: peer(2) })
    await apply({ verb: 'remove', object: peer(3) })
    const moved = { ...PROXY, own: the.ip('10.5.9.0') }
    await apply({ verb: 'update', object: moved, actual: PROXY })
    assert.equal(engines.length, 1)
    assert.deepEqual(engines[0]?.table, { own: moved.own, peers: [peer(2, 99)] })
    assert.deepEqual(await held(), [peer(2, 99), moved])
  })

  it('run two engines while the port changes, each with the peers of its own device', async () => {
    const second: UdpProxy = { ...PROXY, device: 'flannel1', port: 9000 }
    const moved: UdpPeer = { ...peer(2), device: 'flannel1' }
    await make(PROXY, peer(2), second, moved)
    assert.deepEqual(
      engines.map(({ table, state }) => [table.peers, state.at]),
      [
        [[peer(2)], 'running'],
        [[moved], 'running'],
      ],
    )
    assert.deepEqual(proxies.counts()?.packets, { in: 2, out: 2 })
    await apply({ verb: 'remove', object: PROXY })
    await apply({ verb: 'remove', object: peer(2) })
    assert.deepEqual(
      engines.map(({ state }) => state.at),
      ['stopped', 'running'],
    )
    assert.deepEqual(await held(), [moved, second])
    assert.deepEqual(proxies.counts()?.packets, { in: 2, out: 2 })
  })

  it('replace the engine when address or port change, and keep peers and counts', async () => {
    await make(peer(2), PROXY)
    const moved = { ...PROXY, local: the.ip('192.168.64.12') }
    await apply({ verb: 'recreate', object: moved, actual: PROXY })
    assert.deepEqual(
      engines.map(({ state }) => state.at),
      ['stopped', 'running'],
    )
    assert.deepEqual(engines[1]?.table.peers, [peer(2)])
    const counts = proxies.counts()
    assert.deepEqual([counts?.packets, counts?.drops['inner-source']], [{ in: 2, out: 2 }, 2])
  })

  it('do not show a proxy whose worker died, say why, and tell of its return', async () => {
    await make(PROXY)
    engines[0]?.go({ at: 'failed', error: new Error('the tun device was deleted') })
    assert.deepEqual([await held(), changes], [[], 1])
    const refused = await apply({ verb: 'create', object: PROXY })
    assert.deepEqual(refused, { ok: false, error: { code: 'EIO', message: 'the tun device was deleted' } })
    engines[0]?.go(RUNNING)
    assert.deepEqual([await held(), changes, engines.length], [[PROXY], 2, 1])
  })

  it('answer with what kept the engine from starting, and leave it to the engine to try again', async () => {
    failure = new Error('no')
    const refused = { ok: false, error: { code: 'EIO', message: 'no' } }
    for (let tries = 0; tries < 2; tries += 1) {
      assert.deepEqual(await apply({ verb: 'create', object: PROXY }), refused)
      assert.deepEqual([await held(), changes, engines.length], [[], 0, 1])
    }
    engines[0]?.go(RUNNING)
    assert.deepEqual([await held(), changes], [[PROXY], 1])
  })

  it('replace an engine that could not start when address or port change', async () => {
    failure = new Error('no')
    await apply({ verb: 'create', object: PROXY })
    failure = undefined
    const moved = { ...PROXY, port: 8286 }
    await make(moved)
    assert.deepEqual([engines.map(({ state }) => state.at), await held()], [['stopped', 'running'], [moved]])
  })

  it('stop the engine with its object, and only once', async () => {
    await make(PROXY)
    assert.deepEqual(await apply({ verb: 'remove', object: PROXY }), { ok: true })
    assert.equal((await apply({ verb: 'remove', object: PROXY }))?.ok, false)
    assert.equal(engines[0]?.state.at, 'stopped')
    await proxies.stop()
  })

  it('name who holds the port or the device', async () => {
    const said = async (what: 'socket' | 'tun', errno: number) => {
      failure = new EngineFailure({ type: 'failed', what, errno })
      await proxies.stop()
      const [result] = await tableOf('udp-proxy').apply([{ verb: 'create', object: PROXY }])
      return result?.ok === false && `${result.error.code}: ${result.error.message}`
    }
    assert.equal(
      await said('socket', -98),
      'EADDRINUSE: UDP port 8285 of 192.168.64.11 is in use by the holder of 8285',
    )
    assert.equal(await said('tun', -16), 'EBUSY: the holder of flannel0 holds the device flannel0')
  })

  it('are ordinary tables for the reconciler, which heals them without counting a death as drift', async () => {
    const clock = new VirtualClock()
    const reconciler = new Reconciler({
      tables: proxies.tables,
      clock,
      log: silentLogger,
      journal: new MemoryJournal(),
    })
    onChange = () => reconciler.onEvents([{ type: 'kinds', kinds: ['udp-proxy'] }])
    const required = (object: KernelObject): DesiredObject => ({ ...object, role: { class: 'required' } })
    const settle = async (...objects: KernelObject[]) => {
      const settled = reconciler.settled(
        reconciler.setDesired(the.desiredOf(objects.map(required))),
        AbortSignal.timeout(9_000),
      )
      await clock.advance(100)
      return (await settled).failures.size
    }
    assert.equal(await settle(PROXY, peer(2)), 0)
    engines[0]?.go({ at: 'failed', error: new Error('died') })
    await clock.advance(100)
    assert.deepEqual([...reconciler.failures().keys()], ['udp-proxy flannel0'])
    engines[0]?.go(RUNNING)
    await clock.advance(100)
    assert.equal(reconciler.failures().size, 0)
    assert.deepEqual([...reconciler.counts().driftRepaired], [])
    assert.equal(await settle(), 0)
    assert.deepEqual([await held(), engines[0]?.state.at], [[], 'stopped'])
    await reconciler.stop()
  })
})
