import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Lab } from '../../lab/lab.ts'
import { NamespaceProxy } from '../../lab/namespace-proxy.ts'
import { processesOfLab } from '../../lab/proc.ts'
import { systemClock } from '../../lib/clock.ts'
import { until } from '../until.ts'

const segments = [
  { name: 'lan1', subnet: '192.168.64.0/24', subnet6: 'fd00:64::/64', hosts: ['h1', 'h2'] },
  { name: 'lan2', subnet: '192.168.65.0/24', subnet6: 'fd00:65::/64', hosts: ['h3'], mtu: 1400 },
]

// Knows the lab's flags and nothing else: writes the file and stays.
const pretender = `#!/bin/sh
for arg; do case "$arg" in --subnet-file=*) file="\${arg#*=}" ;; --fail) echo "cannot go on" >&2; exit 3 ;; esac; done
printf 'FLANNEL_NETWORK=10.5.0.0/16\\nFLANNEL_SUBNET=10.5.72.1/24\\nFLANNEL_IPV6_NETWORK=fc00::/48\\nFLANNEL_IPV6_SUBNET=fc00:0:0:1::1/64\\nFLANNEL_MTU=1450\\nFLANNEL_IPMASQ=false\\n' > "$file"
echo "args $*"
exec sleep 1000
`

describe('lab', function () {
  this.timeout(120_000)
  const soon = () => AbortSignal.timeout(30_000)
  const folder = mkdtempSync(join(tmpdir(), 'lab-test-'))
  const program = join(folder, 'pretender')
  let lab: Lab

  before(async () => {
    writeFileSync(program, pretender)
    chmodSync(program, 0o755)
    lab = await Lab.create({ segments, rpFilter: 1, netConf: { Network: '10.5.0.0/16' } })
  })

  after(async () => {
    await lab?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  // etcd's folder goes with the lab: what it said must be in the failure, or nobody can tell why.
  afterEach(function () {
    const failure = this.currentTest?.err
    if (failure === undefined || lab === undefined) return
    const log = existsSync(lab.etcd.log) ? readFileSync(lab.etcd.log, 'utf8').slice(-3_000) : 'no log'
    failure.message += `\netcd: pid ${lab.etcd.pid ?? 'none, it has ended'}\n${log}`
  })

  it('connects hosts of one segment, of two segments, and the control plane, in both families', async () => {
    const from = lab.host('h1')
    for (const address of ['192.168.64.12', '192.168.65.11', '192.0.2.10', 'fd00:64::c', 'fd00:65::b']) {
      assert.equal((await from.ping(address, { count: 1 })).received, 1, address)
    }
  })

  it('lets through what the smallest MTU of the path allows, and no more', async () => {
    const [from, to] = [lab.host('h1'), lab.host('h3').address]
    assert.equal((await from.ping(to, { count: 1, size: 1372, df: true })).received, 1)
    const larger = await from.ping(to, { count: 1, size: 1373, df: true })
    assert.equal(larger.received, 0)
  })

  it('says what cannot be reached instead of throwing', async () => {
    assert.equal((await lab.host('h1').ping('192.168.64.200', { count: 1 })).received, 0)
  })

  it('sets rp_filter as asked on the interfaces of hosts', async () => {
    const read = async (path: string) =>
      (await lab.host('h1').exec(['cat', `/proc/sys/net/ipv4/${path}`])).stdout.trim()
    assert.deepEqual(
      [await read('conf/eth0/rp_filter'), await read('conf/all/rp_filter'), await read('ip_forward')],
      ['1', '0', '1'],
    )
  })

  it('stores the configuration and keeps data over a crash of etcd', async () => {
    assert.equal((await lab.etcd.get('/coreos.com/network/config'))?.value, '{"Network":"10.5.0.0/16"}')
    await lab.etcd.putAll(
      Array.from({ length: 250 }, (_unused, n) => [`/many/${String(n).padStart(3, '0')}`, `${n}`] as const),
    )
    await lab.etcd.crash()
    await lab.etcd.start()
    assert.equal((await lab.etcd.list('/many/')).length, 250)
    assert.equal(await lab.etcd.del('/many/', { prefix: true }), 250)
    assert.match(await lab.etcd.ctl('get', '/coreos.com/network/config'), /10\.5\.0\.0/)
  })

  it('freezes and thaws etcd', async () => {
    await lab.etcd.freeze()
    try {
      assert.equal(await lab.etcd.healthy(), false)
    } finally {
      lab.etcd.thaw()
    }
    await until(5_000, 'it answers', async () => assert.equal(await lab.etcd.healthy(), true))
  })

  it('runs a daemon with its files in the host folder, and containers from its subnet.env', async () => {
    const host = lab.host('h1')
    const daemon = await host.startDaemon({ program, args: ['--v=7'] })
    const env = await host.subnetEnv()
    assert.deepEqual(
      env.families.map(({ subnet }) => subnet),
      ['10.5.72.0/24', 'fc00:0:0:1::/64'],
    )
    const [c1, c2] = [await host.addContainer('c1'), await host.addContainer('c2')]
    assert.deepEqual(c1.addresses, ['10.5.72.2', 'fc00:0:0:1::2'])
    assert.deepEqual(c2.addresses, ['10.5.72.3', 'fc00:0:0:1::3'])
    for (const address of [...c2.addresses, '10.5.72.1', 'fc00:0:0:1::1', ...c1.addresses]) {
      assert.equal((await c1.ping(address, { count: 1 })).received, 1, address)
    }
    const [bridge] = await host.ipJson('-d', 'link', 'show', 'cni0')
    const [port] = await host.ipJson('-d', 'link', 'show', 'veth-c1')
    assert.equal(bridge.mtu, 1450)
    assert.equal(port.linkinfo.info_slave_data.hairpin, true)
    assert.match(await daemon.logText(), /args --etcd-endpoints=http:\/\/192\.0\.2\.10:2379 .*--state-dir=.* --v=7/)
    await host.removeContainer('c2')
    assert.equal((await c1.ping(c2.address, { count: 1 })).received, 0)
    assert.equal(daemon.kill('SIGTERM'), true)
    assert.deepEqual(await daemon.waitExit(), { code: null, signal: 'SIGTERM' })
    assert.equal(daemon.kill(), false)
  })

  it('tells at once when a daemon ends before subnet.env, with its last words', async () => {
    const host = lab.host('h2')
    await host.startDaemon({ program, args: ['--fail'] })
    await assert.rejects(host.subnetEnv(), /h2 ended \(exit code 3\)[\s\S]*cannot go on/)
  })

  it('judges a path: nothing lost while it works, the gap while the wire is cut', async () => {
    const judge = lab.host('h1').startPing(lab.host('h3').address, 10)
    await judge.answered(soon())
    await systemClock.sleep(500, soon())
    assert.equal(judge.verdict().lost, 0)
    const begun = systemClock.now()
    await lab.host('h3').cutWire()
    try {
      await systemClock.sleep(400, soon())
    } finally {
      await lab.host('h3').mendWire()
    }
    const mended = systemClock.now()
    await systemClock.sleep(400, soon())
    const { sent, received, lost, longestGapMs } = await judge.stop()
    // Two pings, each every 16 ms: 125 in a second.
    assert.ok(lost > 30 && lost < (mended - begun + 100) / 6, `lost ${lost} in ${Math.round(mended - begun)} ms`)
    assert.ok(
      longestGapMs >= 390 && longestGapMs < mended - begun + 500,
      `gap ${longestGapMs} of ${Math.round(mended - begun)}`,
    )
    assert.equal(sent, received + lost)
  })

  it('puts address and default route back when a link comes up again', async () => {
    const host = lab.host('h2')
    await host.linkDown()
    try {
      assert.equal((await host.ping('192.168.65.11', { count: 1 })).received, 0)
    } finally {
      await host.linkUp()
    }
    await until(5_000, 'it is reached', async () =>
      assert.ok((await host.ping('192.168.65.11', { count: 3, interval: 500 })).received > 0),
    )
  })

  it('puts a failing proxy before etcd, in the control plane', async () => {
    const proxy = await NamespaceProxy.start(lab.controlPlane, {
      listen: { host: '0.0.0.0', port: 12379 },
      target: { host: '127.0.0.1', port: 2379 },
    })
    const ask = async () => {
      const argv = ['etcdctl', '--endpoints=http://192.0.2.10:12379', '--dial-timeout=5s', '--command-timeout=5s']
      const { code } = await lab.host('h1').exec([...argv, 'get', 'x'], { anyCode: true, env: { ETCDCTL_API: '3' } })
      return code
    }
    assert.equal(await ask(), 0)
    await proxy.setMode('refuse')
    assert.notEqual(await ask(), 0)
    await proxy.setMode('allow')
    assert.equal(await ask(), 0)
    assert.ok((await proxy.counts()).accepted >= 2)
    await proxy.close()
  })

  it('lives beside another lab with the same addresses, and closes without a trace', async () => {
    const other = await Lab.create({ segments, etcd: false })
    assert.equal((await other.host('h1').ping(other.host('h3').address, { count: 1 })).received, 1)
    await other.host('h1').start(['sleep', '1000'], { log: join(other.folder, 'sleep.log') })
    await other.close()
    assert.deepEqual(await processesOfLab(other.id), [])
    assert.deepEqual(
      readdirSync('/run/netns').filter((name) => name.startsWith(`lab-${other.id}-`)),
      [],
    )
    assert.equal(existsSync(other.folder), false)
    assert.equal((await lab.host('h1').ping(lab.host('h3').address, { count: 1 })).received, 1)
  })

  it('leaves nothing when it is closed while containers are being made', async () => {
    const other = await Lab.create({ segments, etcd: false })
    const host = other.host('h1')
    await host.startDaemon({ program })
    await host.subnetEnv()
    const made = Array.from({ length: 5 }, (_unused, n) => host.addContainer(`c${n}`).catch(() => undefined))
    await other.close()
    await Promise.all(made)
    assert.deepEqual(
      readdirSync('/run/netns').filter((name) => name.startsWith(`lab-${other.id}-`)),
      [],
    )
  })
})
