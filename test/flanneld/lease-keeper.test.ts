import assert from 'node:assert/strict'
import { LeaseKeeper, type LeaseKeeperOptions, type LeaseState } from '../../flanneld/leases/lease-keeper.ts'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import { ConfigError } from '../../lib/errors.ts'
import { createLogger } from '../../lib/log.ts'
import type { LeaseAttrs } from '../../subnet/types.ts'
import { network } from '../backends/world.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'
import { FakeLeaseStore, FakeLeaseTable } from '../fakes/lease-store.ts'

const HOUR = 3_600_000
const ADDRESS = '192.168.64.11' as IpAddr

function attrs(node: string, address = ADDRESS): LeaseAttrs {
  const primary = { backend: 'host-gw', data: new Map<Family, unknown>() }
  return { node, primary, accepts: [], publicIps: new Map([[4, address]]), tunnelIps: new Map() }
}

/** A keeper of node `a` that already runs; `stop` ends it and returns its fault, if any. */
async function start(
  change: Partial<LeaseKeeperOptions> & { owns?: boolean; table?: FakeLeaseTable; slowAnswers?: boolean } = {},
) {
  const clock = new VirtualClock()
  const table = change.table ?? new FakeLeaseTable({ wall: () => clock.wall() })
  const store = new FakeLeaseStore({ table, network: network(4), random: () => 0 })
  const { publish } = store
  if (change.slowAnswers) {
    store.publish = async (...args) => {
      const own = await publish.apply(store, args)
      await settleTasks()
      return own
    }
  }
  const warnings: string[] = []
  const log = createLogger((severity, message) => {
    if (severity === 'warn') warnings.push(message)
  })
  const hints = { previous: new Map<Family, Cidr>(), ownsAddress: () => change.owns ?? true }
  const options = { want: attrs('a'), hints, renewMarginMs: HOUR, retryMs: 60_000, ...change }
  const keeper = new LeaseKeeper({ store, clock, log }, options)
  const end = new AbortController()
  let fault: unknown
  const running = keeper.run(end.signal).catch((cause) => {
    fault = cause
  })
  await settleTasks()
  const stop = async () => {
    end.abort()
    await settleTasks()
    await running
    return fault
  }
  return { clock, table, keeper, stop, warnings, state: () => keeper.state.current as LeaseState }
}

function idOf(state: LeaseState): string {
  assert.equal(state.at, 'held')
  return state.at === 'held' ? state.own.lease.id : ''
}

const value = (node: string, address: string) =>
  `{"PublicIP":"${address}","PublicIPv6":null,"BackendType":"host-gw","NodeID":"${node}"}`

describe('lease keeper', () => {
  it('leases a subnet and renews it before it expires', async () => {
    const world = await start()
    const id = idOf(world.state())
    const before = world.table.version(id)
    await world.clock.advance(22 * HOUR)
    assert.equal(world.table.version(id), before)
    await world.clock.advance(HOUR + 1000)
    assert.notEqual(world.table.version(id), before)
    assert.deepEqual(world.keeper.renewals, { ok: 1, failed: 0 })
    await world.stop()
  })

  it('takes the same subnet again when its lease was deleted', async () => {
    const world = await start()
    const id = idOf(world.state())
    world.table.delete(id)
    await settleTasks()
    assert.match(world.table.value(id) ?? '', /"NodeID":"a"/)
    assert.equal(idOf(world.state()), id)
    await world.stop()
  })

  it("does not take its own change for somebody else's when the watch is faster than the answer", async () => {
    const world = await start({ slowAnswers: true })
    world.keeper.setAttrs(attrs('a', '192.168.64.77' as IpAddr))
    await settleTasks()
    await settleTasks()
    assert.match(world.table.value(idOf(world.state())) ?? '', /192\.168\.64\.77/)
    assert.deepEqual([world.keeper.renewals, world.warnings], [{ ok: 1, failed: 0 }, []])
    await world.stop()
  })

  it('never overwrites the node that took its subnet meanwhile, and comes back when that one has gone', async () => {
    const world = await start()
    const id = idOf(world.state())
    world.table.put(id, value('b', '192.168.64.12'))
    await settleTasks()
    const state = world.state()
    assert.equal(state.at, 'lost')
    assert.equal(state.at === 'lost' && state.conflict.type, 'subnet-taken')
    await world.clock.advance(10 * HOUR)
    assert.match(world.table.value(id) ?? '', /"NodeID":"b"/)
    world.table.delete(id)
    await settleTasks()
    assert.equal(idOf(world.state()), id)
    await world.stop()
  })

  it('stops advertising when a copy of its identity writes another address', async () => {
    const world = await start()
    const id = idOf(world.state())
    world.table.put(id, value('a', '192.168.64.99'))
    await settleTasks()
    const state = world.state()
    assert.equal(state.at === 'lost' && state.conflict.type, 'identity-shared')
    assert.match(world.table.value(id) ?? '', /192\.168\.64\.99/)
    await world.stop()
  })

  it('takes the same subnet again when the store has lost everything, its revisions too (row 21)', async () => {
    const world = await start()
    for (let third = 101; third <= 150; third += 1) {
      world.table.put(`10.5.${third}.0-24`, value(`n${third}`, `172.16.0.${third}`))
    }
    await settleTasks()
    const id = idOf(world.state())
    world.table.wipe()
    await settleTasks()
    assert.match(world.table.value(id) ?? '', /"NodeID":"a"/)
    assert.equal(idOf(world.state()), id)
    const version = world.table.version(id)
    await world.clock.advance(2 * HOUR)
    assert.equal(world.table.version(id), version)
    await world.stop()
  })

  it('publishes a changed address at once and keeps the subnet', async () => {
    const world = await start()
    const id = idOf(world.state())
    world.keeper.setAttrs(attrs('a', '192.168.64.77' as IpAddr))
    await settleTasks()
    assert.match(world.table.value(id) ?? '', /192\.168\.64\.77/)
    assert.equal(idOf(world.state()), id)
    await world.stop()
  })

  it('tells of a fault of its watch at once, not when it is stopped', async () => {
    const table = new FakeLeaseTable({ wall: () => 0 })
    const store = new FakeLeaseStore({ table, network: network(4), random: () => 0 })
    store.watch = async function* () {
      yield* []
      throw new TypeError('a fault')
    }
    const hints = { previous: new Map<Family, Cidr>(), ownsAddress: () => true }
    const needs = { store, clock: new VirtualClock(), log: createLogger(() => {}) }
    const keeper = new LeaseKeeper(needs, { want: attrs('a'), hints, renewMarginMs: HOUR })
    await assert.rejects(keeper.run(new AbortController().signal), /a fault/)
  })

  it('writes nothing when told the same again', async () => {
    const world = await start()
    const id = idOf(world.state())
    const before = world.table.version(id)
    world.keeper.setAttrs(attrs('a'))
    await world.clock.advance(1000)
    assert.equal(world.table.version(id), before)
    await world.stop()
  })

  it('gives up at the start when another node has its public address and this host has not', async () => {
    const table = new FakeLeaseTable({ wall: () => 0 })
    table.put('10.5.9.0-24', value('b', ADDRESS))
    const world = await start({ table, owns: false })
    const fault = await world.stop()
    assert.ok(fault instanceof ConfigError)
    assert.match(fault.message, /^public-ip: .*10\.5\.9\.0-24/)
    assert.match(table.value('10.5.9.0-24') ?? '', /"NodeID":"b"/)
  })

  it('waits while no subnet is free, and takes the first that is', async () => {
    const table = new FakeLeaseTable({ wall: () => 0 })
    for (let third = 1; third <= 255; third += 1)
      table.put(`10.5.${third}.0-24`, value(`n${third}`, `172.16.0.${third}`))
    const world = await start({ table })
    const state = world.state()
    assert.equal(state.at, 'acquiring')
    assert.match(state.at === 'acquiring' ? (state.waitingFor ?? '') : '', /no .*subnet|free/)
    table.delete('10.5.42.0-24')
    await settleTasks()
    assert.equal(idOf(world.state()), '10.5.42.0-24')
    await world.stop()
  })
})
