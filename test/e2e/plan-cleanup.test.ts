import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { DaemonOptions } from '../../lab/daemon.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { Program } from '../../lab/program.ts'
import { needs } from '../needs.ts'
import {
  assertSame,
  flanneld,
  get,
  knowsPeers,
  leasePrefix,
  logsInFailure,
  networkOf,
  oneSegment,
  overlayOf,
  ready,
  startDaemon,
  strangerLease,
  until,
  vxlanFrom100,
} from './world.ts'

describe('commands', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host

  beforeEach(async () => {
    const netConf = { ...vxlanFrom100, Backend: { Type: 'vxlan', DirectRouting: true } }
    // A strict uplink: direct paths change it, and whoever cleans up must give it back.
    lab = await Lab.create({ segments: oneSegment(2), rpFilter: 1, netConf })
    host = lab.host('h1')
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  /** h1 with a direct peer, h2, and three that nobody answers for, in the tunnel. */
  const start = async () => {
    await lab.etcd.putAll([1, 2, 3].map((n) => strangerLease(n)))
    await Promise.all(lab.hosts.map((each) => startDaemon(each)))
    for (const each of lab.hosts) await knowsPeers(each, 4)
    await until(10_000, 'the path to h2 is direct', async () => {
      assert.match(await host.ip('route', 'show', 'proto', '102'), /via 192\.168\.64\.12 dev eth0/)
    })
  }

  it('plan prints the way from a drifted host to a healthy one, and changes nothing', async () => {
    const first = await networkOf(host)
    const without = await flanneld(host, ['plan'])
    assert.deepEqual([without.code, without.stderr], [0, ''])
    assert.match(without.stdout, /^# this node holds no lease yet/)
    assertSame(await networkOf(host), first)
    assert.deepEqual(await filesOf(host), [])

    await start()
    const healthy = await networkOf(host)
    assert.deepEqual(await flanneld(host, ['plan']), { code: 0, stdout: '# nothing to change\n', stderr: '' })

    host.daemon?.kill('SIGKILL')
    await host.daemon?.waitExit()
    const { text } = await host.subnetEnv()
    for (const script of [
      'ip nexthop del id $(ip nexthop | sed -n "s/^id \\([0-9]*\\) via 10.5.1.0 .*/\\1/p")',
      'ip route replace 10.5.2.0/24 via 192.168.64.1',
      'ip route add 10.5.77.0/24 via 192.168.64.1 proto 102',
      'ip neigh replace 10.5.1.0 lladdr 02:00:00:00:00:77 dev flannel.1 nud permanent',
      'ip neigh del 10.5.3.0 dev flannel.1',
      'bridge fdb del 02:00:00:00:00:02 dev flannel.1 dst 192.168.64.102',
      'bridge fdb add 02:00:00:00:00:79 dev flannel.1 dst 192.168.64.251 self permanent',
      'ip addr add 10.5.99.0/32 dev flannel.1',
      'ip link set flannel.1 mtu 1300',
      `echo junk >> ${host.paths.subnetFile}`,
    ]) {
      await host.exec(['sh', '-c', script])
    }
    const drifted = { network: await networkOf(host), files: await filesOf(host), leases: await lab.etcd.list('/') }
    const plan = await flanneld(host, ['plan'])
    assert.deepEqual([plan.code, plan.stderr], [0, ''])
    for (const line of [
      /^ip nexthop add id (\d+) via 10\.5\.1\.0 dev flannel\.1 onlink proto 102$.*^ip route add 10\.5\.1\.0\/24 nhid \1 proto 102$/ms,
      /^ip route replace 10\.5\.2\.0\/24 nhid \d+ proto 102$/m,
      /^ip route delete 10\.5\.77\.0\/24/m,
      /^ip link set flannel\.1 mtu 1450$/m,
    ]) {
      assert.match(plan.stdout, line)
    }
    assertSame(await networkOf(host), drifted.network)
    assert.deepEqual(await filesOf(host), drifted.files)
    assert.deepEqual(await lab.etcd.list('/'), drifted.leases)

    // The proof that it is the whole way: a shell that goes it.
    await host.exec(['sh', '-e'], { input: plan.stdout })
    assertSame(await networkOf(host), healthy)
    assert.equal((await host.subnetEnv()).text, text)
    assert.equal((await flanneld(host, ['plan'])).stdout, '# nothing to change\n')

    // From nothing at all, too, the device with its MAC.
    await host.ip('link', 'del', 'flannel.1')
    await host.exec(['rm', host.paths.subnetFile])
    await host.exec(['sh', '-e'], { input: (await flanneld(host, ['plan'])).stdout })
    assertSame(await networkOf(host), healthy)
    assert.equal((await host.subnetEnv()).text, text)

    // The guard with all that its sets hold, where they are missing and where they are others.
    const guard = /flanneld-guard\S*/.exec((await host.exec(['nft', 'list', 'tables'])).stdout)?.[0]
    for (const line of [`nft delete table inet ${guard}`, `nft add counter inet ${guard} mine`]) {
      await host.exec(['sh', '-c', line])
      await host.exec(['sh', '-e'], { input: (await flanneld(host, ['plan'])).stdout })
      assertSame(await networkOf(host), healthy)
      assert.equal((await flanneld(host, ['plan'])).stdout, '# nothing to change\n')
    }
  })

  it('cleanup removes all that is ours and nothing else', async () => {
    // Others' things that look like ours; the second daemon is ours, but not this instance.
    await host.ipBatch([
      'link add flannel.9 type vxlan id 9 dev eth0 dstport 4789',
      'link set flannel.9 up',
      'route add 10.5.200.0/24 via 192.168.64.1 proto static',
      'route add 10.5.201.0/24 via 192.168.64.1 proto bird',
      'route add 172.16.1.0/24 via 192.168.64.1',
      'route add 172.16.2.0/24 via 192.168.64.1 proto 102',
      'neigh add 192.168.64.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent',
      'rule add from 10.5.0.0/16 lookup main priority 1000',
    ])
    const other = await startOther()
    const before = await networkOf(host)
    const rpFilter = async () => (await host.exec(['cat', '/proc/sys/net/ipv4/conf/eth0/rp_filter'])).stdout.trim()
    assert.equal(await rpFilter(), '1')

    await start()
    await host.addContainer('c1')
    assert.equal(await rpFilter(), '2')
    const running = await networkOf(host)
    const bridge = running.filter((line) => line.includes('cni0'))
    assert.ok(bridge.length > 0)
    const ownLease = async () =>
      (await lab.etcd.list(leasePrefix)).find(({ value }) => JSON.parse(value).PublicIP === host.address)
    const lease = await ownLease()
    const { text } = await host.subnetEnv()

    const refused = await flanneld(host, ['cleanup'])
    assert.equal(refused.code, 75)
    assert.match(refused.stderr, new RegExp(`pid ${host.daemon?.pid}\\b`))
    assertSame(await networkOf(host), running)

    assert.deepEqual(await host.daemon?.stop(), { code: 0, signal: null })
    const { code, stdout, stderr } = await flanneld(host, ['cleanup'])
    assert.equal(code, 0, stderr)
    assert.match(stdout, /^ip link delete flannel\.1$/m)
    const after = await networkOf(host)
    assertSame(
      after.filter((line) => !line.includes('cni0')),
      before,
    )
    assertSame(
      after.filter((line) => line.includes('cni0')),
      bridge,
    )
    assert.equal(await rpFilter(), '1')
    await assert.rejects(host.subnetEnv({ timeout: 0 }))
    assert.deepEqual(await ownLease(), lease)

    // The other instance has noticed nothing.
    assert.equal(other.running, true)
    const { text: document } = await get({ socketPath: otherPath('sock'), path: '/' })
    const { state, counters } = JSON.parse(document)
    assert.deepEqual([state, counters.driftRepaired], ['ok', {}])

    const again = await flanneld(host, ['cleanup'])
    assert.equal(again.code, 0, again.stderr)
    assertSame(await networkOf(host), after)

    // The lease was left, and the host is who it was.
    await startDaemon(host)
    assert.equal((await host.subnetEnv()).text, text)
    await knowsPeers(host, 4)
  })

  it('cleanup works without a store and without a network configuration', async () => {
    await start()
    await host.daemon?.stop()
    await lab.etcd.stop()
    const { code, stderr } = await flanneld(host, ['cleanup'])
    assert.equal(code, 0, stderr)
    assert.deepEqual(await overlayOf(host), [])
  })

  it('cleanup leaves a device alone whose name another running instance has claimed meanwhile', async () => {
    const onPort = (port: number, network: string) => ({ Network: network, Backend: { Type: 'vxlan', Port: port } })
    const devices = async () =>
      (await host.ipJson('link', 'show', 'type', 'vxlan')).map(({ ifname, ifindex }) => `${ifname} ${ifindex}`)
    await lab.configure(onPort(8472, '10.5.0.0/16'))
    await startDaemon(host)
    await ready(host)
    await lab.configure(onPort(4789, '10.5.0.0/16'))
    await until(20_000, 'it has a second name', async () => assert.match((await devices()).join(), /^flannel-1 \d+$/))
    const before = await devices()
    await host.daemon?.stop()
    // What it uses now is flannel.1; it may come to use the other one at any moment.
    await lab.configure(onPort(4790, '10.6.0.0/16'), '/other')
    const args = ['--etcd-prefix=/other', `--subnet-file=${otherPath('env')}`, `--status-socket=${otherPath('sock')}`]
    await startDaemon(host, { args })
    await until(10_000, 'the other has its device', async () => assert.equal((await devices()).length, 2))

    const { code, stdout, stderr } = await flanneld(host, ['cleanup'])
    assert.equal(code, 0, stderr)
    assert.match(stdout, /^# another instance uses it now, left alone: device flannel-1$/m)
    assert.deepEqual(
      (await devices()).filter((each) => !each.startsWith('flannel.1 ')),
      before,
    )
  })

  const otherPath = (name: string) => join(host.folder, `other.${name}`)

  /** A second daemon on the host, for another network, with peers. */
  const startOther = async (): Promise<Program> => {
    await lab.configure({ Network: '10.6.0.0/16', Backend: { Type: 'vxlan', VNI: 2 } }, '/other')
    const [, value] = strangerLease(1, { BackendData: { VNI: 2, VtepMAC: '02:00:00:00:00:01' } })
    await lab.etcd.put('/other/subnets/10.6.1.0-24', value)
    const args = ['--etcd-prefix=/other', `--subnet-file=${otherPath('env')}`, `--status-socket=${otherPath('sock')}`]
    const options: DaemonOptions = { args }
    const other = await startDaemon(host, options)
    await until(10_000, 'the other is ready', async () => {
      const { text } = await get({ socketPath: otherPath('sock'), path: '/' })
      const { state, peers } = JSON.parse(text)
      assert.deepEqual([state, peers.length], ['ok', 1])
    })
    return other
  }
})

/** Names, modes, times and contents of what the daemon keeps; the lock and the log apart. */
async function filesOf(host: Host): Promise<readonly string[]> {
  const { stateDir, subnetFile } = host.paths
  const script = `find ${stateDir} ${subnetFile} -printf '%p %M %s %T@ ' \\( -type f -exec md5sum {} \\; -o -printf '\\n' \\)`
  const { stdout } = await host.exec(['sh', '-c', script], { anyCode: true })
  return stdout.split('\n').filter((line) => line !== '')
}
