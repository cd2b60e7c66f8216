import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer as createHttp2, type Http2Session } from 'node:http2'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { systemClock } from '../../lib/clock.ts'
import { createLogger, Secret } from '../../lib/log.ts'
import type { EtcdAccess } from '../../subnet/etcd/endpoints.ts'
import type { EtcdLeaseStore } from '../../subnet/etcd/lease-store.ts'
import { range } from '../../subnet/etcd/rpc.ts'
import { attrs, hints, snapshotWhere } from '../conformance/lease-store.ts'
import { EtcdServer, freePort } from './etcd-server.ts'
import { forEachVersion } from './versions.ts'
import { access, Daemons, folder } from './world.ts'

const run = promisify(execFile)
const value = (n: number) => `{"PublicIP":"192.168.1.${n}","PublicIPv6":null,"BackendType":"host-gw"}`
const key = (n: number) => `${folder}10.5.${n}.0-24`
const checkEveryMs = 300

/** The figures for an hour are in test/subnet/range-follower-hour.test.ts. */
describe('an etcd is not given up', function () {
  this.timeout(60_000)
  let server: EtcdServer
  let daemons: Daemons
  let store: EtcdLeaseStore
  let warnings: string[]
  let outages: string[]

  beforeEach(() => {
    daemons = new Daemons()
    warnings = []
    outages = []
  })
  afterEach(async () => {
    await daemons.close()
    await server.close()
  })

  /** A store that has proven to be current; from now on its complaints are collected. */
  const follow = async (endpoints: readonly string[], more: Partial<EtcdAccess> = {}) => {
    const log = createLogger((severity, message) => void (severity === 'warn' && warnings.push(message)))
    store = daemons.store(daemons.client(access(endpoints, more), log), { checkEveryMs }, log)
    await store.acquire(attrs('n1', '192.168.64.1'), hints, daemons.signal)
    // A server that was just started may have refused the first connection.
    warnings = []
    void (async () => {
      for await (const { up, error } of store.health.watch(daemons.signal)) if (!up) outages.push(error ?? '')
    })()
  }
  const sees = async (n: number, user?: string) => {
    await server.ctl(['put', '--', key(n), value(n)], user)
    await snapshotWhere(store, ({ leases }) => leases.has(`10.5.${n}.0-24`))
  }
  const assertCalm = async () => {
    for await (const { resyncs } of store.health.watch(AbortSignal.timeout(1000))) {
      assert.deepEqual([warnings, outages, [...resyncs]], [[], [], []])
      return
    }
  }

  /** Every server of grpc-go but etcd itself ends a connection that it finds pinged too often; the next one is pinged less. */
  const assertFewPings = async () => {
    const pings: number[] = []
    const sessions: Http2Session[] = []
    const proxy = createHttp2().on('session', (session) => {
      const index = pings.push(0) - 1
      sessions.push(session)
      session.on('error', () => {})
      session.on('ping', () => {
        pings[index] = (pings[index] ?? 0) + 1
      })
      // ENHANCE_YOUR_CALM
      if (index === 0) session.goaway(11, 0, Buffer.from('too_many_pings'))
    })
    proxy.listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    const address = proxy.address()
    assert.ok(typeof address === 'object' && address !== null)
    try {
      const client = daemons.client(access([`http://127.0.0.1:${address.port}`]))
      const one = { key: Buffer.from('x') }
      await assert.rejects(client.call(range, one, daemons.signal))
      await client.watch(
        { created() {}, events() {}, progress() {}, ended() {} },
        { range: one, fromRevision: 1n },
        daemons.signal,
      )
      await systemClock.sleep(10_500, daemons.signal)
      assert.deepEqual(pings, [0, 0])
    } finally {
      for (const session of sessions) session.destroy()
      proxy.close()
    }
  }

  forEachVersion((_name, program) => {
    it('whose tokens live for two seconds: calls log in anew, the watch goes on, nothing is listed', async () => {
      const keys = await mkdtemp(join(tmpdir(), 'flannel-jwt-'))
      try {
        const [secret, open] = [join(keys, 'key'), join(keys, 'key.pub')]
        await run('openssl', ['genrsa', '-out', secret, '2048'])
        await run('openssl', ['rsa', '-in', secret, '-pubout', '-out', open])
        const jwt = `--auth-token=jwt,pub-key=${open},priv-key=${secret},sign-method=RS256,ttl=2s`
        server = await EtcdServer.start({ program: program(), flags: [jwt] })
      } finally {
        await rm(keys, { recursive: true })
      }
      const root = 'root:s3cret'
      await server.ctl(['user', 'add', root])
      await server.ctl(['role', 'add', 'root'])
      await server.ctl(['user', 'grant-role', 'root', 'root'])
      await server.ctl(['auth', 'enable'])
      await follow([server.url], { username: 'root', password: new Secret('s3cret') })
      const before = [
        await server.started('Range'),
        await server.started('Authenticate'),
        await server.started('Watch'),
      ]
      await systemClock.sleep(3000, daemons.signal)
      const after = [await server.started('Range'), await server.started('Authenticate'), await server.started('Watch')]
      const [ranges = 0, logins = 0, watches] = after.map((count, index) => count - (before[index] ?? 0))
      assert.ok(logins >= 1 && logins <= 3, `${logins} logins`)
      assert.ok(ranges - logins <= 3000 / (0.75 * checkEveryMs) + 1, `${ranges} reads`)
      assert.equal(watches, 0)
      // A change of users makes every token one of the past.
      await server.ctl(['user', 'add', 'other:x'], root)
      await systemClock.sleep(1000, daemons.signal)
      await sees(9, root)
      await assertCalm()
    })
  })

  it('behind a grpc-proxy, which answers nothing about progress', async () => {
    server = await EtcdServer.start()
    const [port, metrics] = [await freePort(), await freePort()]
    const listen = [`--listen-addr=127.0.0.1:${port}`, `--metrics-addr=http://127.0.0.1:${metrics}`]
    const proxy = spawn('etcd', ['grpc-proxy', 'start', `--endpoints=${server.url}`, ...listen], { stdio: 'ignore' })
    try {
      await follow([`http://127.0.0.1:${port}`])
      await server.put('/elsewhere', 'x')
      const [reads, watches] = [await server.started('Range'), await server.started('Watch')]
      // An answer about progress is waited for once, for ten seconds.
      await Promise.all([systemClock.sleep(11_000, daemons.signal), assertFewPings()])
      for (let puts = 0; puts < 10; puts += 1) {
        await server.put('/elsewhere', `${puts}`)
        await systemClock.sleep(100, daemons.signal)
      }
      await sees(9)
      assert.equal(await server.started('Watch'), watches)
      assert.ok((await server.started('Range')) - reads < 20)
      await assertCalm()
    } finally {
      proxy.kill('SIGKILL')
      await once(proxy, 'exit')
    }
  })

  it('that does not answer for four seconds', async () => {
    server = await EtcdServer.start()
    await follow([server.url])
    const watches = await server.started('Watch')
    server.freeze()
    try {
      await systemClock.sleep(4500, daemons.signal)
    } finally {
      server.thaw()
    }
    await sees(9)
    assert.equal(await server.started('Watch'), watches)
    await assertCalm()
  })

  it('that has no room left: reads and watches go on, and the lease is written when it has', async () => {
    server = await EtcdServer.start({ flags: ['--quota-backend-bytes=2000000'] })
    await follow([server.url])
    const full = async () => {
      for (let n = 0; n < 60; n += 1) await server.put(`/x${n}`, 'y'.repeat(60_000))
    }
    await assert.rejects(full(), /database space exceeded/)
    const watches = await server.started('Watch')
    const second = store.acquire(attrs('n2', '192.168.64.2'), hints, daemons.signal)
    await systemClock.sleep(1500, daemons.signal)
    await server.ctl(['del', '--prefix', '/x'])
    const status = JSON.parse(await server.ctl(['endpoint', 'status', '-w', 'json']))
    await server.ctl(['compact', String(status[0].Status.header.revision)])
    await server.ctl(['defrag'])
    await server.ctl(['alarm', 'disarm'])
    const { lease } = await second
    await snapshotWhere(store, ({ leases }) => leases.has(lease.id))
    assert.equal(await server.started('Watch'), watches)
    assert.ok(
      warnings.every((line) => line === 'own lease not written, trying again'),
      warnings.join(),
    )
    warnings = []
    await assertCalm()
  })

  it('behind endpoints that accept and never answer, and behind one that refuses', async () => {
    server = await EtcdServer.start()
    const sockets = new Set<Socket>()
    const silent = createServer((socket) => void sockets.add(socket))
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const address = silent.address()
    assert.ok(typeof address === 'object' && address !== null)
    try {
      const hole = `http://127.0.0.1:${address.port}`
      const port = await freePort()
      const began = systemClock.now()
      await follow([hole, `http://127.0.0.1:${port}`, hole.replace('127.0.0.1', 'localhost'), server.url])
      // Waiting for one of the silent ones would take three seconds.
      assert.ok(systemClock.now() - began < 3000, `${systemClock.now() - began} ms`)
      await sees(9)
      // And when the one in use is away for a moment.
      await server.kill()
      await server.start()
      await sees(10)
    } finally {
      silent.close()
      for (const socket of sockets) socket.destroy()
    }
  })
})
