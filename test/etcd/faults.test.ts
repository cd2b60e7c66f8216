import assert from 'node:assert/strict'
import { type AddressInfo, createServer } from 'node:net'
import { TcpProxy } from '../../lab/tcp-proxy.ts'
import { systemClock } from '../../lib/clock.ts'
import { createLogger, Secret, silentLogger } from '../../lib/log.ts'
import { EtcdClient } from '../../subnet/etcd/client.ts'
import { EtcdConfigSource } from '../../subnet/etcd/config-source.ts'
import { EtcdLeaseStore } from '../../subnet/etcd/lease-store.ts'
import { range, txn } from '../../subnet/etcd/rpc.ts'
import { parseNetworkConfig } from '../../subnet/network-config.ts'
import type { LeaseStore, StoreHealth } from '../../subnet/types.ts'
import { attrs, conflict, hints, network, snapshotWhere } from '../conformance/lease-store.ts'
import { until } from '../until.ts'
import { EtcdServer, freePort } from './etcd-server.ts'
import { access, Daemons, folder, prefix } from './world.ts'

const value = (n: number) => `{"PublicIP":"192.168.${n >> 8}.${n & 255}","PublicIPv6":null,"BackendType":"host-gw"}`
const key = (n: number) => `${folder}10.${5 + (n >> 12)}.${(n >> 4) & 255}.${(n & 15) * 16}-28`
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function healthWhere(
  store: LeaseStore,
  good: (health: StoreHealth) => boolean,
  ms: number,
): Promise<StoreHealth> {
  let last: StoreHealth | undefined
  for await (const health of store.health.watch(AbortSignal.timeout(ms))) {
    last = health
    if (good(health)) return health
  }
  assert.fail(`no such health within ${ms} ms; the last was ${JSON.stringify(last)}`)
}

describe('etcd lease store under faults', function () {
  this.timeout(180_000)
  let server: EtcdServer
  let proxy: TcpProxy
  let daemons: Daemons

  beforeEach(async () => {
    server = await EtcdServer.start()
    proxy = await TcpProxy.listen({ target: { host: '127.0.0.1', port: server.port } })
    daemons = new Daemons()
  })
  afterEach(async () => {
    await daemons.close()
    await proxy.close()
    await server.close()
  })

  const viaProxy = () => daemons.client(access([`http://${proxy.address}`]))
  const direct = () => daemons.client(access([server.url]))

  /** Leases with the numbers from `first` up to `end`, many in a transaction. */
  async function fill(first: number, end: number): Promise<void> {
    const client = direct()
    for (let at = first; at < end; at += 100) {
      const success = Array.from({ length: Math.min(100, end - at) }, (_unused, n) => ({
        request_put: { key: Buffer.from(key(at + n)), value: Buffer.from(value(at + n)) },
      }))
      await client.call(txn, { success }, daemons.signal)
    }
  }

  it('lists 5,000 leases in pages at one revision, once', async () => {
    await fill(0, 5000)
    const store = daemons.store(direct())
    const { leases } = await snapshotWhere(store, (s) => s.leases.size > 0)
    assert.equal(leases.size, 5000)
    assert.equal((await healthWhere(store, ({ up }) => up, 30_000)).resyncs.size, 0)
  })

  it('reads everything again after a compaction while it was away (row 14)', async () => {
    await fill(0, 20)
    const store = daemons.store(viaProxy())
    await snapshotWhere(store, (s) => s.leases.size === 20)
    await proxy.setMode('refuse')
    await proxy.cut()
    await server.ctl(['del', key(3)])
    await fill(20, 30)
    await server.put(key(50), value(50))
    const revision = JSON.parse(await server.ctl(['endpoint', 'status', '-w', 'json']))[0].Status.header.revision
    await server.ctl(['compact', String(revision)])
    await proxy.setMode('allow')
    const { leases } = await snapshotWhere(store, (s) => s.leases.size === 30, 30_000)
    assert.equal(leases.has('10.5.0.48-28'), false)
  })

  it('misses nothing when the line is cut in mid-backlog of 4,000 (row 15)', async () => {
    const store = daemons.store(viaProxy())
    await snapshotWhere(store, (s) => s.revision !== '')
    await proxy.setMode('refuse')
    await proxy.cut()
    await fill(0, 4000)
    await proxy.cutAfter(200_000)
    await proxy.setMode('allow')
    await snapshotWhere(store, (s) => s.leases.size === 4000, 45_000)
    // And once more while events flow.
    await proxy.cutAfter(50_000)
    await fill(0, 4000)
    await fill(4000, 4010)
    await snapshotWhere(store, (s) => s.leases.size === 4010, 45_000)
  })

  it('notices a frozen etcd within 15 s and recovers (row 13)', async () => {
    const store = daemons.store(direct())
    await snapshotWhere(store, () => true)
    await healthWhere(store, ({ up }) => up, 30_000)
    server.freeze()
    try {
      await until(15_000, 'it is noticed', async () =>
        assert.ok((await healthWhere(store, ({ up }) => !up, 1_000)).error),
      )
    } finally {
      server.thaw()
    }
    await server.put(key(1), value(1))
    await snapshotWhere(store, (s) => s.leases.size === 1, 30_000)
  })

  it('goes to another endpoint when one is a black hole (row 12)', async () => {
    const store = daemons.store(daemons.client(access([`http://${proxy.address}`, server.url])))
    await healthWhere(store, ({ up }) => up, 30_000)
    await proxy.setMode('black-hole')
    const other = `127.0.0.1:${server.port}`
    await until(16_000, 'the other one is taken', () =>
      healthWhere(store, ({ up, endpoint }) => up && endpoint === other, 1_000),
    )
  })

  it('sees an etcd that comes up after it within about a second', async () => {
    await server.kill()
    const source = new EtcdConfigSource(
      { client: direct(), clock: systemClock, log: createLogger(() => {}), random: Math.random },
      { prefix },
    )
    const seen: (string | undefined)[] = []
    const reading = (async () => {
      for await (const { text } of source.watch(daemons.signal)) {
        seen.push(text)
        if (text === '{"b":2}') return
      }
    })()
    await pause(3000)
    await server.start()
    await until(2_000, 'it is seen', async () => assert.deepEqual(seen, [undefined]))
    await server.put(`${prefix}/config`, '{"a":1}')
    await server.ctl(['del', `${prefix}/config`])
    await server.put(`${prefix}/config`, '{"b":2}')
    await reading
    assert.equal(seen.at(-1), '{"b":2}')
  })

  it('acquires as soon as etcd comes up', async () => {
    await server.kill()
    const store = daemons.store(direct())
    const acquiring = store.acquire(attrs('n1', '192.168.64.1'), hints, daemons.signal)
    await pause(1000)
    await server.start()
    assert.match((await acquiring).lease.id, /^10\.5\./)
  })

  it('takes its lease again after the etcd lease was revoked (row 17), and not when another was quicker (row 18)', async () => {
    const store = daemons.store(direct())
    let own = await store.acquire(attrs('n1', '192.168.64.1'), hints, daemons.signal)
    // JSON.parse rounds 63-bit numbers, so the text is used.
    const revokeExactly = async () => {
      const text = await server.ctl(['get', '-w', 'json', `${folder}${own.lease.id}`])
      await server.ctl(['lease', 'revoke', BigInt(/"lease":(\d+)/.exec(text)?.[1] ?? 0).toString(16)])
      await snapshotWhere(store, (s) => s.leases.size === 0)
    }
    await revokeExactly()
    const again = await store.publish(own, attrs('n1', '192.168.64.1'), { network }, daemons.signal)
    assert.equal(again.lease.id, own.lease.id)
    own = again
    await revokeExactly()
    await server.put(`${folder}${own.lease.id}`, '{"PublicIP":"192.168.64.2","NodeID":"n2"}')
    await assert.rejects(
      store.publish(own, attrs('n1', '192.168.64.1'), { network }, daemons.signal),
      conflict('subnet-taken', { holder: 'n2' }),
    )
  })

  it('makes exactly one lease per node however answers are lost', async () => {
    const client = viaProxy()
    const store = daemons.store(client)
    const nodes = 12
    for (let n = 0; n < nodes; n += 1) {
      const want = attrs(`n${n}`, `192.168.64.${n + 1}`)
      const claiming = store.acquire(want, hints, daemons.signal)
      await proxy.cutAfter(1 + n * 23)
      const own = await claiming
      await proxy.cutAfter(1 + n * 11)
      const renewed = await store.publish(own, want, { network }, daemons.signal)
      assert.equal(renewed.lease.id, own.lease.id)
    }
    await proxy.cutAfter(Number.POSITIVE_INFINITY)
    const keys = (await server.ctl(['get', '--prefix', '--keys-only', folder]))
      .split('\n')
      .filter((line) => line !== '')
    assert.equal(keys.length, nodes)
  })

  it('counts the silence of a holder anew after etcd was away: the holder could not have written either', async () => {
    const id = '10.5.52.0-24'
    await server.put(`${folder}${id}`, '{"PublicIP":"192.168.64.1","NodeID":"old"}')
    const store = daemons.store(direct(), { claimMs: 2000 })
    const claiming = store.acquire(attrs('n1', '192.168.64.1'), hints, daemons.signal)
    await snapshotWhere(store, ({ leases }) => leases.get(id)?.claim?.node === 'n1')
    await pause(1000)
    await server.kill()
    await pause(1500)
    const backAt = Date.now()
    await server.start()
    assert.equal((await claiming).lease.id, id)
    assert.ok(Date.now() - backAt >= 2000, `after ${Date.now() - backAt} ms`)
  })

  it('leaves no etcd lease behind when it renews', async () => {
    const store = daemons.store(direct())
    let own = await store.acquire(attrs('n1', '192.168.64.1'), hints, daemons.signal)
    for (let n = 0; n < 3; n += 1)
      own = await store.publish(own, attrs('n1', '192.168.64.1'), { network }, daemons.signal)
    assert.match(await server.ctl(['lease', 'list']), /^found 1 leases/)
  })

  it('shows a lease that ran out as gone (row 18)', async () => {
    const store = daemons.store(direct(), { ttlSeconds: 2 })
    const own = await store.acquire(attrs('n1', '192.168.64.1'), hints, daemons.signal)
    assert.ok((own.expiresAt ?? 0) - Date.now() <= 3000)
    await snapshotWhere(store, (s) => s.leases.size === 0, 30_000)
  })

  it('reads everything again after etcd was wiped, and names it (rows 21, 22)', async () => {
    await fill(0, 300)
    const store = daemons.store(direct())
    await snapshotWhere(store, (s) => s.leases.size === 300)
    await server.kill()
    await server.wipe()
    await server.start()
    await snapshotWhere(store, (s) => s.leases.size === 0, 30_000)
    await healthWhere(store, ({ up, resyncs }) => up && resyncs.get('restored') === 1, 30_000)
    await fill(0, 10)
    await snapshotWhere(store, (s) => s.leases.size === 10)
  })

  it('raises no false alarm in its checks', async () => {
    await fill(0, 10)
    const store = daemons.store(direct(), { checkEveryMs: 200 })
    await snapshotWhere(store, (s) => s.leases.size === 10)
    await pause(1000)
    assert.equal((await healthWhere(store, ({ up }) => up, 30_000)).resyncs.size, 0)
  })

  it('survives a burst of changes with few snapshots (row 24)', async () => {
    const store = daemons.store(direct())
    let snapshots = 0
    const counting = (async () => {
      for await (const { leases } of store.watch(daemons.signal)) {
        snapshots += 1
        if (leases.has('10.5.255.0-24')) return
        await pause(50)
      }
    })()
    for (let round = 0; round < 5; round += 1) await fill(0, 1000)
    await server.put(`${folder}10.5.255.0-24`, value(9))
    await counting
    assert.ok(snapshots < 60, `${snapshots}`)
  })

  it('gets a new login when tokens are lost (row 16), and never shows the password', async () => {
    const lines: string[] = []
    const log = createLogger((_severity, message, fields) => lines.push(`${message} ${JSON.stringify(fields)}`))
    for (const argv of [
      ['user', 'add', 'root:s3cret-pa55'],
      ['role', 'add', 'root'],
      ['user', 'grant-role', 'root', 'root'],
      ['auth', 'enable'],
    ]) {
      await server.ctl(argv)
    }
    const login = { username: 'root', password: new Secret('s3cret-pa55') }
    const client = daemons.client(access([server.url], login), log)
    const store = daemons.store(client, {}, log)
    const own = await store.acquire(attrs('n1', '192.168.64.1'), hints, daemons.signal)
    // Simple tokens live in the server's memory.
    await server.kill()
    await server.start()
    await server.ctl(['put', key(1), value(1)], 'root:s3cret-pa55')
    await snapshotWhere(store, (s) => s.leases.size === 2, 30_000)
    await store.publish(own, attrs('n1', '192.168.64.1'), { network }, daemons.signal)

    const wrong = daemons.client(access([server.url], { username: 'root', password: new Secret('wr0ng-pa55') }), log)
    const health = await healthWhere(daemons.store(wrong, {}, log), ({ error }) => error !== undefined, 30_000)
    assert.match(health.error ?? '', /authentication failed/)
    assert.doesNotMatch(lines.join('\n') + JSON.stringify(health), /pa55/)
  })

  it('joins many at once (row 19)', async () => {
    const count = process.env['LONG'] ? 2000 : 200
    const wide = parseNetworkConfig('{"Network":"10.0.0.0/12","Backend":{"Type":"host-gw"}}', 'test')
    const stores = Array.from({ length: 20 }, () => daemons.store(direct()))
    let joined = 0
    const joins = Array.from({ length: count }, async (_unused, n) => {
      const want = attrs(`n${n}`, `172.16.${n >> 8}.${n & 255}`)
      const own = await (stores[n % 20] as LeaseStore).acquire(want, { ...hints, network: wide }, daemons.signal)
      joined += 1
      return own
    })
    const all = Promise.all(joins)
    // 2,000 within a minute are promised.
    await Promise.race([all, until(60_000, 'all have joined', async () => assert.equal(joined, count))])
    const ids = new Set((await all).map(({ lease }) => lease.id))
    assert.equal(ids.size, count)
  }).timeout(240_000)

  it('loses no lease and writes nothing by itself when the time of day jumps (row 47)', async () => {
    let shift = 0
    const clock = { ...systemClock, wall: () => Date.now() + shift }
    const client = new EtcdClient({ clock, log: silentLogger }, access([server.url]))
    const store = new EtcdLeaseStore(
      { client, clock, log: silentLogger, random: Math.random },
      { prefix, checkEveryMs: 100 },
    )
    const stop = new AbortController()
    const running = store.run(stop.signal)
    let own = await store.acquire(attrs('n1', '192.168.64.1'), hints, stop.signal)
    for (const hours of [1, -1]) {
      shift = hours * 3_600_000
      await pause(500)
      const { leases } = await snapshotWhere(store, () => true)
      assert.deepEqual(leases.get(own.lease.id), own.lease)
      assert.match(
        await server.ctl(['get', '-w', 'json', `${folder}${own.lease.id}`]),
        new RegExp(`"mod_revision":${own.version},`),
      )
      own = await store.publish(own, attrs('n1', '192.168.64.1'), { network }, stop.signal)
      assert.ok(Math.abs((own.expiresAt ?? 0) - Date.now() - shift - 86_400_000) < 10_000)
    }
    assert.equal((await healthWhere(store, ({ up }) => up, 30_000)).resyncs.size, 0)
    stop.abort(new Error('over'))
    await running
    await client.close()
  })

  it('tries a single endpoint that is away once, and a second time where it was there before', async () => {
    const ask = (client: EtcdClient) => client.call(range, { key: Buffer.from('x') }, daemons.signal)
    const before = direct()
    await ask(before)
    await server.kill()
    await server.start()
    await ask(before)
    let tries = 0
    const hangsUp = createServer((socket) => {
      tries += 1
      socket.destroy()
    })
    await new Promise<void>((resolve) => hangsUp.listen(0, '127.0.0.1', resolve))
    const { port } = hangsUp.address() as AddressInfo
    await assert.rejects(ask(daemons.client(access([`http://127.0.0.1:${port}`]))), /ECONNRESET|Failed to connect$/)
    hangsUp.close()
    assert.equal(tries, 1)
  })

  it('knocks where the last connection failed, and goes to the next endpoint if nobody opens', async () => {
    const port = await freePort()
    const both = daemons.client(access([`http://127.0.0.1:${port}`, server.url]))
    const one = daemons.client(access([`http://127.0.0.1:${port}`]))
    const ask = (client: EtcdClient) => client.call(range, { key: Buffer.from('x') }, daemons.signal)
    await ask(both)
    await both.giveUp('for the test')
    await ask(both)
    await assert.rejects(ask(one), /connect ECONNREFUSED/)
    await assert.rejects(ask(one), new RegExp(`^StoreUnavailable: etcd at .*: connect ECONNREFUSED 127.0.0.1:${port}$`))
    const talks: string[] = []
    const mute = createServer((socket) => {
      socket.once('data', () => talks.push('talk')).once('end', () => talks.push('end'))
      setTimeout(() => socket.destroy(), 100)
    })
    await new Promise<void>((resolve) => mute.listen(port, '127.0.0.1', resolve))
    await assert.rejects(ask(one))
    mute.close()
    assert.deepEqual(talks.slice(0, 2), ['end', 'talk'])
  })

  it('says which port refuses', async () => {
    const port = await freePort()
    const store = daemons.store(daemons.client(access([`http://127.0.0.1:${port}`])))
    const { up, error } = await healthWhere(store, ({ error }) => error !== undefined, 30_000)
    assert.deepEqual([up, error], [false, `etcd at 127.0.0.1:${port}: connect ECONNREFUSED 127.0.0.1:${port}`])
  })
})
