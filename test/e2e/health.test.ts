import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { execPath } from 'node:process'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { Manager } from './systemd-manager.ts'
import {
  flanneld,
  knowsPeers,
  logsInFailure,
  oneSegment,
  startDaemon,
  status,
  strangerLease,
  until,
  vxlanFrom100,
  whileFrozen,
} from './world.ts'

const port = 8089

describe('health', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host
  let manager: Manager

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1) })
    await lab.etcd.putAll([1, 2].map((n) => strangerLease(n)))
    host = lab.host('h1')
    manager = new Manager(join(host.folder, 'notify'))
    const env = { NOTIFY_SOCKET: manager.path, WATCHDOG_USEC: '400000' }
    await startDaemon(host, { args: [`--healthz-port=${port}`], env })
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    manager?.close()
    await lab?.close()
  })

  const ask = async (path: string) => await askHealth(host, path)
  const both = async () => {
    const { code } = await flanneld(host, ['status', '--brief'])
    const { state } = await status(host)
    return [code, state, (await ask('/readyz')).code, (await ask('/livez')).code]
  }

  it('is alive and not ready while there is no configuration, and says why', async () => {
    await until(5_000, 'the port is open', async () => assert.equal((await ask('/healthz')).code, 200))
    await until(5_000, 'the reason is known', async () =>
      assert.match((await status(host)).notReady.join('\n'), /\/coreos\.com\/network\/config/),
    )
    assert.deepEqual(await ask('/healthz'), { code: 200, text: 'flanneld is running' })
    assert.deepEqual(await ask('/livez'), { code: 200, text: 'flanneld is running' })
    const readyz = await ask('/readyz')
    assert.equal(readyz.code, 503)
    assert.match(readyz.text, /^flanneld is not ready yet\n.*\/coreos\.com\/network\/config/)
    assert.equal((await ask('/nonsense')).code, 404)
    assert.match((await ask('/metrics')).text, /^flannel_ready 0$/m)
    assert.deepEqual(await both(), [2, 'down', 503, 200])
    const told = manager.told()
    assert.ok(
      told.some((line) => /^STATUS=not ready: .*config/.test(line)),
      told.join('\n'),
    )
    assert.ok(!told.includes('READY=1'))
  })

  it('is ready once subnet.env is there; who waits for that is answered', async () => {
    const waiting = flanneld(host, ['status', '--wait', '30s', '--brief'])
    await lab.configure(vxlanFrom100)
    await until(10_000, 'READY=1', async () => {
      const told = manager.told()
      // Whoever is started after the daemon reads the file at once.
      if (told.includes('READY=1')) await host.subnetEnv({ timeout: 0 })
      assert.ok(told.includes('READY=1'), told.join('\n'))
    })
    const { code, stdout } = await waiting
    assert.equal(code, 0)
    assert.match(stdout, /^ok, lease 10\.5\.\d+\.0\/24, backend vxlan, peers 2\/2, datastore up\n$/)
    assert.deepEqual(await ask('/readyz'), { code: 200, text: 'flanneld is ready' })
    await until(5_000, 'nothing is left to do', async () => assert.deepEqual(await both(), [0, 'ok', 200, 200]))
    await knowsPeers(host, 2)
    await until(2_000, 'the manager knows the number of peers', async () =>
      assert.equal(
        manager.told().findLast((line) => line.startsWith('STATUS=')),
        'STATUS=ready: vxlan, 2 peers',
      ),
    )
  })

  it('shows the same truth as text, as JSON and as metrics', async () => {
    const { code, stdout } = await flanneld(host, ['status', '-o', 'json'])
    const document = JSON.parse(stdout)
    assert.deepEqual([code, document.apiVersion, document.pid], [0, 'flannel.status/v1', host.daemon?.pid])
    assert.deepEqual(document.lease.subnets.ipv4, (await host.subnetEnv()).families[0]?.subnet)
    assert.deepEqual(
      document.peers.map(({ id, path, state }: Record<string, string>) => [id, path, state]),
      [
        ['10.5.1.0-24', 'tunnel', 'ok'],
        ['10.5.2.0-24', 'tunnel', 'ok'],
      ],
    )
    const text = (await flanneld(host, ['status'])).stdout
    for (const { id, publicIps } of document.peers) {
      assert.match(text, new RegExp(`${id.replace('-', '/')} +${publicIps.ipv4} +tunnel +ok`))
    }
    assert.equal(statSync(host.paths.statusSocket).mode & 0o777, 0o660)

    const metrics = (await ask('/metrics')).text
    for (const line of metrics.trimEnd().split('\n')) {
      assert.match(line, /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [-+.\de]+)$/)
    }
    const number = (sample: string) =>
      Number(
        metrics
          .split('\n')
          .find((line) => line.startsWith(`${sample} `))
          ?.slice(sample.length),
      )
    assert.equal(number('flannel_ready'), 1)
    assert.equal(number('flannel_datastore_up'), 1)
    assert.equal(number('flannel_leases{state="own"}'), 1)
    assert.equal(number('flannel_leases{state="accepted"}'), 2)
    assert.equal(number('flannel_lease_expiry_timestamp_seconds'), Date.parse(document.lease.expiresAt) / 1000)
    assert.ok(number('process_resident_memory_bytes') > 1e7)
  })

  it('is not ready while a required object is broken, alive all the same, and ready again within a second', async () => {
    const verbose = await ask('/readyz?verbose')
    assert.equal(verbose.code, 200)
    assert.match(verbose.text, /^flanneld is ready\n(\[\+\][a-z-]+ ok\n?)+$/)
    const before = manager.told().filter((line) => line === 'READY=1')

    await host.ip('link', 'set', 'flannel.1', 'name', 'lost0')
    try {
      await until(1_000, 'not ready', async () => assert.equal((await status(host)).ready, false))
      assert.deepEqual(await both(), [2, 'down', 503, 200])
      const broken = await ask('/readyz?verbose')
      assert.match(broken.text, /^flanneld is not ready yet$/m)
      assert.match(broken.text, /^\[-\]required-objects failed: .*flannel\.1/m)
      assert.equal((await ask('/readyz?exclude=required-objects')).code, 200)
      assert.match((await ask('/metrics')).text, /^flannel_ready 0$/m)
    } finally {
      await host.ip('link', 'set', 'lost0', 'name', 'flannel.1')
    }
    await until(1_000, 'ready again', async () => assert.equal((await status(host)).ready, true))
    // What the renamed device's route said of the own subnet ends with the next reading of the host.
    await until(5_000, 'well again', async () => assert.deepEqual(await both(), [0, 'ok', 200, 200]))
    const told = manager.told()
    assert.ok(
      told.some((line) => /^STATUS=not ready: .*flannel\.1/.test(line)),
      told.join('\n'),
    )
    // systemd wants it once.
    assert.equal(told.filter((line) => line === 'READY=1').length, before.length)
  })

  it('is ready and degraded while a route of somebody else stands in the place of one peer’s', async () => {
    await whileFrozen(host, async () => {
      await host.ip('route', 'del', '10.5.1.0/24')
      await host.ip('route', 'add', '10.5.1.0/24', 'via', '192.168.64.1', 'proto', 'static')
    })
    try {
      // Found in the way at once, then judged as a harm to the host: first the path is degraded, then the peer rejected.
      await until(5_000, 'rejected', async () => {
        const { stdout } = await flanneld(host, ['status'])
        assert.match(stdout, /10\.5\.1\.0-24: host-range: .*route 10\.5\.1\.0\/24 via 192\.168\.64\.1/)
        assert.match((await ask('/metrics')).text, /^flannel_peers_rejected\{reason="host-range"\} 1$/m)
      })
      assert.deepEqual(await both(), [1, 'degraded', 200, 200])
    } finally {
      await host.ip('route', 'del', '10.5.1.0/24', 'proto', 'static')
    }
    await until(5_000, 'well again', async () => assert.equal((await status(host)).state, 'ok'))
  })

  it('is degraded, not out of service, while the store is away', async () => {
    await lab.etcd.freeze()
    try {
      await until(30_000, 'degraded', async () => assert.equal((await status(host)).datastore.up, false))
      assert.deepEqual(await both(), [1, 'degraded', 200, 200])
      assert.match((await ask('/metrics')).text, /^flannel_datastore_up 0$/m)
    } finally {
      lab.etcd.thaw()
    }
    await until(30_000, 'well again', async () => assert.equal((await status(host)).state, 'ok'))
  })

  it('feeds the watchdog only while its loop turns (row 4)', async () => {
    const fed = () => manager.told().filter((line) => line === 'WATCHDOG=1').length
    const before = fed()
    await until(5_000, 'fed', async () => assert.ok(fed() > before + 2))
    let frozen = 0
    await whileFrozen(host, async () => {
      frozen = fed()
      await host.exec(['sleep', '1'])
      assert.equal(fed(), frozen)
    })
    await until(5_000, 'fed again', async () => assert.ok(fed() > frozen))
  })

  it('keeps answering while others misuse its ports (row 60)', async () => {
    const script = `
      const net = require('net'), open = []
      for (let n = 0; n < 300; n += 1) {
        const to = n % 2 ? { port: ${port} } : { path: '${host.paths.statusSocket}' }
        open.push(net.connect(to).on('error', () => {}).on('connect', function () { this.write('GET / HTTP/1.1\\r\\nX-Slow: ') }))
      }
      net.connect(${port}).on('error', () => {}).end('GET / HTTP/1.1\\r\\nX: ' + 'x'.repeat(1e7))
      net.connect(${port}).on('error', () => {}).end('GET /../../etc/passwd HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n')
        .on('data', (text) => process.stdout.write(text))
      setTimeout(() => process.exit(0), 2000)`
    const [{ stdout }] = await Promise.all([
      host.exec([execPath, '-e', script]),
      // The data plane is not disturbed by any of that.
      until(5_000, 'a deleted route comes back', async () => {
        await host.exec(['sh', '-c', 'ip route del 10.5.2.0/24; sleep 0.9; ip route get 10.5.2.1 | grep flannel.1'])
      }),
    ])
    assert.doesNotMatch(stdout, /root:/)
    await until(15_000, 'both ports answer', async () => assert.deepEqual(await both(), [0, 'ok', 200, 200]))
  })

  it('says that it stops, and that nobody is there afterwards', async () => {
    assert.deepEqual(await host.daemon?.stop(), { code: 0, signal: null })
    await until(5_000, 'STOPPING=1', async () => assert.ok(manager.told().includes('STOPPING=1')))
    const { code, stderr } = await flanneld(host, ['status'])
    assert.equal(code, 3)
    assert.match(stderr, /flanneld is not running: nobody answers at .*flanneld\.sock/)
  })

  it('works without its port while that is taken, and opens none unasked', async () => {
    const listener = `require('net').createServer().listen(${port}, () => process.stdout.write('x'))`
    const occupant = await host.start([execPath, '-e', listener], { log: join(host.folder, 'occupant.log') })
    await until(5_000, 'the port is taken', async () => assert.equal(await occupant.logText(), 'x'))
    try {
      await startDaemon(host, { args: [`--healthz-port=${port}`] })
      await knowsPeers(host, 2)
      const [condition] = (await status(host)).conditions
      assert.equal(condition.code, 'health-port')
      assert.match(condition.text, new RegExp(`EADDRINUSE.*${port}`))
    } finally {
      await occupant.stop()
    }
    await until(10_000, 'its port answers', async () => assert.equal((await askHealth(host, '/healthz')).code, 200))
    assert.ok(!(await status(host)).conditions.some(({ code }: { code: string }) => code === 'health-port'))
    await host.daemon?.stop()
    await startDaemon(host)
    await knowsPeers(host, 2)
    assert.equal((await host.exec(['ss', '-Hltn'])).stdout, '')
  })
})

async function askHealth(host: Host, path: string): Promise<{ code: number; text: string }> {
  const script = `
    const asked = require('http').get({ port: ${port}, path: process.argv[1], agent: false, timeout: 5000 }, (response) => {
      let text = ''
      response.on('data', (chunk) => { text += chunk })
      response.on('end', () => process.stdout.write(JSON.stringify({ code: response.statusCode, text })))
    })
    asked.on('error', (cause) => { process.stdout.write(JSON.stringify({ code: 0, text: cause.message })) })`
  return JSON.parse((await host.exec([execPath, '-e', script, path])).stdout)
}
