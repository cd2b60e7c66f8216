import assert from 'node:assert/strict'
import type { LeaseKeeperOptions } from '../../flanneld/leases/keeper-options.ts'
import { LeaseKeeper, type LeaseState } from '../../flanneld/leases/lease-keeper.ts'
import { leaseConditions } from '../../flanneld/status/lease-conditions.ts'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import { ConfigError } from '../../lib/errors.ts'
import { createLogger } from '../../lib/log.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { LeaseAttrs } from '../../subnet/types.ts'
import { network } from '../backends/world.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'
import { type Connection, FakeLeaseStore, goodConnection } from '../fakes/lease-store.ts'
import { FakeLeaseTable } from '../fakes/lease-table.ts'
import { networkOf } from '../subnet/leases.ts'

const HOUR = 3_600_000
const v4 = network(4)
const lastRun = async () => ({ previous: new Map<Family, Cidr>(), sinceBoot: new Map<Family, Cidr>() })
const ADDRESS = '192.168.64.11' as IpAddr

function attrs(node: string, address = ADDRESS): LeaseAttrs {
  const primary = { backend: 'host-gw', data: new Map<Family, unknown>() }
  return { node, primary, accepts: [], publicIps: new Map([[4, address]]), tunnelIps: new Map() }
}

/** A keeper of node `a` that already runs; `stop` ends it and returns its fault, if any. */
async function start(
  change: Partial<LeaseKeeperOptions> & {
    want?: LeaseAttrs
    clock?: VirtualClock
    table?: FakeLeaseTable
    connection?: Partial<Connection>
    random?: () => number
    network?: NetworkConfig
  } = {},
) {
  const clock = change.clock ?? new VirtualClock()
  const table = change.table ?? new FakeLeaseTable({ clock })
  const connection = change.connection && { ...goodConnection(), ...change.connection }
  const store = new FakeLeaseStore({ table, random: () => 0 }, { ...(connection && { connection }) })
  const warnings: string[] = []
  const log = createLogger((severity, message) => {
    if (severity === 'warn') warnings.push(message)
  })
  const options = { lastRun, renewMarginMs: HOUR, retryMs: 60_000, ...change }
  const keeper = new LeaseKeeper({ store, clock, log, random: change.random ?? (() => 0) }, options)
  const want = (next: LeaseAttrs, network = v4) => keeper.setWant({ attrs: next, network })
  want(change.want ?? attrs('a'), change.network)
  const end = new AbortController()
  let fault: unknown
  const following = store.run(end.signal)
  const running = keeper.run(end.signal).catch((cause) => {
    fault = cause
  })
  await settleTasks()
  const stop = async () => {
    end.abort()
    await settleTasks()
    await Promise.all([running, following])
    return fault
  }
  return { clock, table, store, keeper, want, stop, warnings, state: () => keeper.state.current as LeaseState }
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
    const before = world.table.entry(id)?.version
    await world.clock.advance(22 * HOUR)
    assert.equal(world.table.entry(id)?.version, before)
    await world.clock.advance(HOUR + 1000)
    assert.notEqual(world.table.entry(id)?.version, before)
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

  it('asks for a subnet of another family once, and again when one is freed or a while later', async () => {
    const clock = new VirtualClock()
    const world = await start({ clock, table: new FakeLeaseTable({ clock }) })
    const id = idOf(world.state())
    const full = networkOf({
      Network: '10.244.0.0/16',
      EnableIPv6: true,
      IPv6Network: 'fc00::/48',
      IPv6SubnetMin: 'fc00:0:0:1::',
      IPv6SubnetMax: 'fc00:0:0:1::',
    })
    const holder = '0.0.0.0-0&fc00:0:0:1::-64'
    world.table.put(holder, '{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::9","BackendType":"host-gw","NodeID":"z"}')
    const both = {
      ...attrs('a'),
      publicIps: new Map<Family, IpAddr>([...attrs('a').publicIps, [6, 'fd00::11' as IpAddr]]),
    }
    world.want(both, full)
    await settleTasks()
    const lacks = () => {
      const state = world.state()
      return state.at === 'held' ? state.own.lacks?.text : state.at
    }
    assert.equal(idOf(world.state()), id)
    assert.match(lacks() ?? '', /no IPv6 subnet: no free subnet is left/)
    assert.deepEqual(
      leaseConditions(world.state()).map(({ code, severity }) => `${severity} ${code}`),
      ['warning lease-family'],
    )
    const writes = world.table.writes
    await world.clock.advance(10 * 60_000)
    assert.equal(world.table.writes, writes)
    world.table.delete(holder)
    await world.clock.advance(1)
    assert.equal(idOf(world.state()), `${id}&fc00:0:0:1::-64`)
    assert.equal(lacks(), undefined)
    world.want(attrs('a'))
    await settleTasks()
    assert.equal(idOf(world.state()), id)
    assert.deepEqual([...world.table.snapshot().leases.keys()], [id])
    assert.equal(await world.stop(), undefined)
  })

  for (const family of [false, true])
    it(`asks for a ${family ? 'subnet of another family' : 'subnet'} that is freed at another moment than others that wait for it`, async () => {
      const clock = new VirtualClock()
      const table = new FakeLeaseTable({ clock })
      for (let n = 0; n < 100; n += 1) table.put(`10.9.${n}.0-24`, value(`other${n}`, `192.168.65.${n}`))
      const bounds = { IPv6SubnetMin: 'fc00:0:0:1::', IPv6SubnetMax: 'fc00:0:0:1::' }
      const tiny = networkOf(
        family
          ? { Network: '10.244.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48', ...bounds }
          : { Network: '10.244.0.0/16', SubnetMin: '10.244.1.0', SubnetMax: '10.244.1.0' },
      )
      const holder = family ? '0.0.0.0-0&fc00:0:0:1::-64' : '10.244.1.0-24'
      table.put(holder, `{"PublicIP":"192.168.66.1","PublicIPv6":"fd00::9","BackendType":"host-gw","NodeID":"z"}`)
      const world = await start({ clock, table, random: () => 0.5, ...(!family && { network: tiny }) })
      const both = { publicIps: new Map<Family, IpAddr>([...attrs('a').publicIps, [6, 'fd00::11' as IpAddr]]) }
      if (family) world.want({ ...attrs('a'), ...both }, tiny)
      await world.clock.advance(60_000)
      const { writes } = table
      table.delete(holder)
      await world.clock.advance(150)
      assert.equal(table.writes, writes)
      await world.clock.advance(100)
      assert.match(idOf(world.state()), family ? /&fc00:0:0:1::-64$/ : /^10\.244\.1\.0-24$/)
      await world.stop()
    })

  it("does not take its own change for somebody else's when the watch is faster than the answer", async () => {
    const world = await start({ connection: { delayMs: 4 } })
    await world.clock.advance(100)
    world.want(attrs('a', '192.168.64.77' as IpAddr))
    await world.clock.advance(100)
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
    const version = world.table.entry(id)?.version
    await world.clock.advance(2 * HOUR)
    assert.equal(world.table.entry(id)?.version, version)
    await world.stop()
  })

  it('believes a restored store though its revisions are lower', async () => {
    const world = await start()
    const id = idOf(world.state())
    for (let last = 60; last < 65; last += 1) {
      world.want(attrs('a', `192.168.64.${last}` as IpAddr))
      await settleTasks()
    }
    world.table.wipe()
    world.table.put(id, value('b', '192.168.64.12'))
    await settleTasks()
    assert.equal(world.state().at, 'lost')
    await world.stop()
  })

  it('publishes a changed address at once and keeps the subnet', async () => {
    const world = await start()
    const id = idOf(world.state())
    world.want(attrs('a', '192.168.64.77' as IpAddr))
    await settleTasks()
    assert.match(world.table.value(id) ?? '', /192\.168\.64\.77/)
    assert.equal(idOf(world.state()), id)
    await world.stop()
  })

  it('leases nothing before it is known what is wanted, and tries at once in a network that has changed', async () => {
    const clock = new VirtualClock()
    const table = new FakeLeaseTable({ clock })
    const store = new FakeLeaseStore({ table, random: () => 0 })
    const keeper = new LeaseKeeper(
      { store, clock, log: createLogger(() => {}), random: () => 0 },
      { lastRun, renewMarginMs: HOUR },
    )
    const end = new AbortController()
    const running = keeper.run(end.signal)
    await settleTasks()
    assert.deepEqual([keeper.state.current, table.writes], [{ at: 'acquiring' }, 0])
    const tiny = networkOf({ Network: '10.5.0.0/28', SubnetMin: '10.5.0.4', SubnetMax: '10.5.0.4' })
    table.put('10.5.0.4-30', value('b', '192.168.64.12'))
    keeper.setWant({ attrs: attrs('a'), network: tiny })
    await settleTasks()
    assert.equal(keeper.state.current?.at, 'acquiring')
    keeper.setWant({ attrs: attrs('a'), network: v4 })
    await settleTasks()
    assert.equal(keeper.state.current?.at, 'held')
    end.abort()
    await settleTasks()
    await running
  })

  it('tells of a fault of its watch at once, not when it is stopped', async () => {
    const clock = new VirtualClock()
    const table = new FakeLeaseTable({ clock })
    const store = new FakeLeaseStore({ table, random: () => 0 })
    store.watch = async function* () {
      yield* []
      throw new TypeError('a fault')
    }
    const needs = { store, clock, log: createLogger(() => {}), random: () => 0 }
    const keeper = new LeaseKeeper(needs, { lastRun, renewMarginMs: HOUR })
    await assert.rejects(keeper.run(new AbortController().signal), /a fault/)
  })

  it('writes nothing when told the same again', async () => {
    const world = await start()
    const id = idOf(world.state())
    const before = world.table.entry(id)?.version
    world.want(attrs('a'))
    await world.clock.advance(1000)
    assert.equal(world.table.entry(id)?.version, before)
    await world.stop()
  })

  it('waits for a silent holder of its address, says so, and gets the same subnet (a host made anew)', async () => {
    const clock = new VirtualClock()
    const table = new FakeLeaseTable({ clock })
    table.put('10.5.9.0-24', value('b', ADDRESS))
    const world = await start({ table, clock })
    await clock.advance(29_000)
    const state = world.state()
    assert.match(
      state.at === 'acquiring' ? `${state.waitingFor} ${state.remedy}` : '',
      /10\.5\.9\.0-24 .* b, .*etcdctl del/,
    )
    await clock.advance(2_000)
    assert.equal(idOf(world.state()), '10.5.9.0-24')
    await world.stop()
  })

  it('ends the second host with one address, and the first is not disturbed', async () => {
    const first = await start()
    const id = idOf(first.state())
    const { table, clock } = first
    const second = await start({ table, clock, want: attrs('b') })
    const fault = await second.stop()
    assert.ok(fault instanceof ConfigError)
    assert.match(
      fault.message,
      /^public-ip: .* held by node a \(lease 10\.5\.1\.0-24\) and not by this node, b\. .*--iface/,
    )
    const version = table.entry(id)?.version
    for (let restart = 0; restart < 5; restart += 1) {
      assert.ok((await (await start({ table, clock, want: attrs('b') })).stop()) instanceof ConfigError)
    }
    assert.equal(table.entry(id)?.version, version)
    assert.deepEqual(table.entry(id)?.lease?.refused, ['b'])
    assert.equal(idOf(first.state()), id)
    await clock.advance(24 * HOUR)
    assert.equal(table.entry(id)?.lease?.refused, undefined)
    await first.stop()
  })

  it('objects to a claim that it sees late, up to the last second', async () => {
    const first = await start()
    const { table, clock, store } = first
    const { publish } = store
    store.publish = async (...args) => {
      await clock.sleep(29_000, new AbortController().signal)
      return await publish.apply(store, args)
    }
    const second = await start({ table, clock, want: attrs('b') })
    await clock.advance(31_000)
    assert.ok((await second.stop()) instanceof ConfigError)
    assert.match(table.value(idOf(first.state())) ?? '', /"NodeID":"a","Refused":\["b"\]/)
    await first.stop()
  })

  it('does not take back what was claimed while it was cut off', async () => {
    const first = await start()
    const id = idOf(first.state())
    const { table, clock, store } = first
    const { publish } = store
    let cut = true
    const mended: (() => void)[] = []
    store.publish = async (...args) => {
      if (cut) await new Promise<void>((resolve) => mended.push(resolve))
      return await publish.apply(store, args)
    }
    const second = await start({ table, clock, want: attrs('b') })
    await clock.advance(31_000)
    assert.equal(idOf(second.state()), id)
    const version = table.entry(id)?.version
    cut = false
    for (const go of mended) go()
    await clock.advance(10 * 60_000)
    const state = first.state()
    assert.equal(state.at, 'lost')
    assert.match(leaseConditions(state)[0]?.remedy ?? '', /two hosts must not have one address: give this one its own/)
    assert.equal(table.entry(id)?.version, version)
    await first.stop()
    await second.stop()
  })

  it('writes once over a copy of its state directory with the same address, which yields', async () => {
    const first = await start()
    const id = idOf(first.state())
    const { table, clock } = first
    await clock.advance(60_000)
    const copy = await start({ table, clock })
    await clock.advance(10 * 60_000)
    const state = copy.state()
    assert.equal(state.at === 'lost' && state.conflict.type, 'identity-shared')
    assert.equal(idOf(first.state()), id)
    // The copy's start and the one answer to it, nothing after.
    assert.deepEqual([table.writes, first.warnings.length], [3, 1])
    await first.stop()
    await copy.stop()
  })

  it('says nothing more in its lease when it is started again on the same host, and for a day when that was booted', async () => {
    const world = await start()
    const { table, clock } = world
    const id = idOf(world.state())
    const value = table.value(id)
    await world.stop()
    const sinceBoot = new Map([[4 as Family, '10.5.1.0/24' as Cidr]])
    const again = await start({ table, clock, lastRun: async () => ({ ...(await lastRun()), sinceBoot }) })
    assert.equal(table.value(id), value)
    await again.stop()
    const booted = await start({ table, clock })
    assert.match(table.value(id) ?? '', /"NodeID":"a","Claim":\{"NodeID":"a","Nonce":"[^"]+"\}\}$/)
    await clock.advance(24 * HOUR)
    assert.equal(table.value(id), value)
    await booted.stop()
  })

  it('is left by one of two copies that start at once', async () => {
    const before = await start()
    const { table, clock } = before
    await before.stop()
    const copies = [await start({ table, clock }), await start({ table, clock })]
    await clock.advance(10 * 60_000)
    assert.deepEqual(copies.map(({ state }) => state().at).sort(), ['held', 'lost'])
    assert.equal(table.writes, 3)
    for (const copy of copies) await copy.stop()
  })

  it('writes its NodeID again over a flannel elsewhere once, then names it', async () => {
    const world = await start()
    const id = idOf(world.state())
    const flannels = `{"PublicIP":"${ADDRESS}","PublicIPv6":null,"BackendType":"host-gw"}`
    world.table.put(id, flannels)
    await settleTasks()
    assert.match(world.table.value(id) ?? '', /"NodeID":"a"/)
    assert.equal(idOf(world.state()), id)
    await world.clock.advance(HOUR)
    world.table.put(id, flannels)
    await world.clock.advance(HOUR)
    const state = world.state()
    assert.equal(state.at === 'lost' && state.conflict.type, 'public-address-shared')
    assert.equal(world.table.value(id), flannels)
    await world.stop()
  })

  it('keeps what is lost lost when something else fails meanwhile', async () => {
    const world = await start()
    const id = idOf(world.state())
    world.table.put(id, value('b', '192.168.64.12'))
    await settleTasks()
    const { acquire } = world.store
    world.store.acquire = async () => {
      throw new Error('out of order')
    }
    await world.clock.advance(5 * 60_000)
    assert.equal(world.state().at, 'lost')
    world.store.acquire = acquire
    world.table.delete(id)
    await world.clock.advance(60_000)
    assert.equal(idOf(world.state()), id)
    await world.stop()
  })

  for (const [what, connection] of [
    ['slow', { delayMs: 4 }],
    ['slow, and loses every third answer', { delayMs: 4, failOneOf: 3 }],
    ['slow, and shows everything late', { delayMs: 4, lagMs: 9 }],
  ] as const) {
    it(`publishes what is wanted last, at whatever point of a publish that is said, to a store that is ${what}`, async () => {
      for (let point = 0; point < 12; point += 1) {
        const world = await start({ connection })
        await world.clock.advance(2_000)
        const id = idOf(world.state())
        world.want(attrs('a', '192.168.64.50' as IpAddr))
        for (let turn = 0; turn < point; turn += 1) await world.clock.advance(1)
        world.want(attrs('a', '192.168.64.51' as IpAddr))
        await world.clock.advance(3_000)
        assert.match(world.table.value(id) ?? '', /192\.168\.64\.51/, `at point ${point}`)
        await world.stop()
      }
    })
  }

  it('waits while no subnet is free, and takes the first that is', async () => {
    const table = new FakeLeaseTable({ clock: new VirtualClock() })
    for (let third = 1; third <= 255; third += 1)
      table.put(`10.5.${third}.0-24`, value(`n${third}`, `172.16.0.${third}`))
    const world = await start({ table })
    const state = world.state()
    assert.equal(state.at, 'acquiring')
    assert.match(state.at === 'acquiring' ? (state.waitingFor ?? '') : '', /no .*subnet|free/)
    table.delete('10.5.42.0-24')
    await world.clock.advance(1)
    assert.equal(idOf(world.state()), '10.5.42.0-24')
    await world.stop()
  })
})
