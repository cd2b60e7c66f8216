import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import {
  assertSame,
  bringUp,
  countInLog,
  knowsPeers,
  logsInFailure,
  networkOf,
  oneSegment,
  overlayOf,
  status,
  strangerLease,
  until,
  vxlanFrom100,
  whileFrozen,
} from './world.ts'

/** Fault rows 36, 37, 38, 40: whatever happens to our objects, they are back within a second. */
const healMs = 1_000
const device = 'flannel.1'

describe('healing', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host
  let healthy: readonly string[]

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlanFrom100 })
    await lab.etcd.putAll([1, 2, 3].map((n) => strangerLease(n)))
    await bringUp(lab.hosts)
    host = lab.host('h1')
    for (const each of lab.hosts) await knowsPeers(each, 4)
    // 4 peers, each with a route, a nexthop object, a neighbour and an FDB entry; the device, its address with its local route. A peer
    // counts as known while a pass is on its way to it.
    await until(5_000, 'all is in place', async () => {
      const overlay = await overlayOf(host)
      assert.equal(overlay.length, 4 * 4 + 3, overlay.join('\n'))
    })
    healthy = await networkOf(host)
  })

  // What the test before has left in our way, where it failed: the next one begins on a healthy host.
  beforeEach(async () => {
    const pairs = await host.ipJson('link', 'show', 'type', 'veth')
    if (pairs.some(({ ifname }) => ifname === device)) await host.ip('link', 'del', device)
    await host.exec(['ip', 'link', 'set', 'lost0', 'name', device], { anyCode: true })
    await host.exec(['ip', 'link', 'del', 'veth-vpn0'], { anyCode: true })
    await host.exec(['ip', 'route', 'del', '10.5.1.0/24', 'proto', 'static'], { anyCode: true })
    await until(20_000, 'healthy', async () => assertSame(await networkOf(host), healthy))
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  const healed = async (what: string) =>
    await until(healMs, `healed after ${what}`, async () => assertSame(await networkOf(host), healthy))
  // The healing takes a few milliseconds: what needs two commands is done while the daemon stands still.
  const unseen = async (script: string) => await whileFrozen(host, () => host.exec(['sh', '-c', script]))
  const reaches = async () => {
    const { received } = await host.container('c1').ping(lab.host('h2').container('c1').address, { count: 1 })
    assert.equal(received, 1)
  }

  it('replaces a route of proto boot at a wanted key and logs what it was', async () => {
    // First of all tests: of a burst of repairs only the first is logged with its old value.
    await host.ip('route', 'replace', '10.5.2.0/24', 'via', '192.168.64.1')
    await healed('a boot route')
    const log = (await host.daemon?.logText()) ?? ''
    const line = log.split('\n').findLast((text) => /route (repaired|adopted)/.test(text))
    assert.match(line ?? '', /10\.5\.2\.0\/24.*was="[^"]*192\.168\.64\.1[^"]*".*now=/)
  })

  it('brings back each route, neighbour and FDB entry that was deleted', async () => {
    const routes = await host.ipJson('-4', 'route', 'show', 'dev', device)
    const neighbours = await host.ipJson('neigh', 'show', 'dev', device, 'nud', 'permanent')
    const fdb = JSON.parse((await host.exec(['bridge', '-json', 'fdb', 'show', 'dev', device])).stdout)
    assert.deepEqual([routes.length, neighbours.length, fdb.length], [4, 4, 4])
    const deletions: string[][] = [
      ...routes.map(({ dst }) => ['ip', 'route', 'del', dst]),
      ...neighbours.map(({ dst }) => ['ip', 'neigh', 'del', dst, 'dev', device]),
      ...fdb.map((entry: { mac: string; dst: string }) => [
        'bridge',
        'fdb',
        'del',
        entry.mac,
        'dev',
        device,
        'dst',
        entry.dst,
      ]),
    ]
    for (const argv of deletions) {
      await host.exec(argv)
      await healed(argv.join(' '))
    }
  })

  it('puts each route, neighbour and FDB entry right that was changed', async () => {
    const [route] = await host.ipJson('-4', 'route', 'show', 'dev', device)
    const changes: string[][] = [
      ['ip', 'route', 'replace', route.dst, 'via', '192.168.64.1'],
      ['ip', 'route', 'replace', route.dst, 'dev', device],
      ['ip', 'route', 'replace', 'blackhole', route.dst],
      ['ip', 'neigh', 'replace', route.gateway, 'lladdr', '02:00:00:00:00:77', 'dev', device, 'nud', 'permanent'],
      ['bridge', 'fdb', 'replace', '02:00:00:00:00:01', 'dev', device, 'dst', '192.168.64.250', 'self', 'permanent'],
      // Not wanted at all: nobody else has business on our device.
      ['ip', 'neigh', 'add', '10.5.99.0', 'lladdr', '02:00:00:00:00:78', 'dev', device, 'nud', 'permanent'],
      ['bridge', 'fdb', 'add', '02:00:00:00:00:79', 'dev', device, 'dst', '192.168.64.251', 'self', 'permanent'],
      ['ip', 'addr', 'add', '10.5.99.0/32', 'dev', device],
      ['ip', 'route', 'add', '10.5.98.0/24', 'via', '192.168.64.1', 'proto', '102'],
    ]
    for (const argv of changes) {
      await host.exec(argv)
      await healed(argv.join(' '))
    }
  })

  it('restores all after `ip nexthop flush`, of the device and of its neighbours and FDB', async () => {
    for (const script of [
      `ip nexthop flush dev ${device}`,
      `ip nexthop flush proto 102`,
      `ip neigh flush dev ${device} nud permanent`,
      `bridge fdb flush dev ${device} 2>/dev/null || bridge fdb show dev ${device} | while read mac rest; do bridge fdb del $mac dev ${device} \${rest%% self*}; done`,
    ]) {
      await host.exec(['sh', '-c', script])
      await healed(script)
    }
    await reaches()
  })

  it('restores the device with its MAC and all its peers, whatever happens to it', async () => {
    for (const script of [
      `ip link del ${device}`,
      `ip link set ${device} down`,
      `ip addr flush dev ${device}`,
      `ip link set ${device} mtu 1300`,
      `ip link set ${device} address 02:11:22:33:44:55`,
      `ip link set ${device} down address 02:11:22:33:44:56 mtu 1200`,
      `ip link set ${device} type vxlan learning`,
    ]) {
      await host.exec(['sh', '-c', script])
      await healed(script)
      await reaches()
    }
  })

  it('makes a device of our kind and name anew where VNI or port are not ours', async () => {
    for (const script of [
      `ip link del ${device} && ip link add ${device} type vxlan id 9 dev eth0 dstport 8472`,
      `ip link del ${device} && ip link add ${device} type vxlan id 1 local ${host.address} dev eth0 dstport 8473`,
    ]) {
      await unseen(script)
      await healed(script)
      await reaches()
    }
  })

  it('is not ready while its device has another name, and takes it back with its own', async () => {
    await host.ip('link', 'set', device, 'name', 'lost0')
    await until(healMs, 'not ready', async () =>
      assert.match((await status(host)).notReady.join('\n'), /link flannel\.1/),
    )
    await host.ip('link', 'set', 'lost0', 'name', device)
    await healed('named back')
    await until(healMs, 'ready', async () => assert.equal((await status(host)).ready, true))
  })

  for (const path of ['net/ipv4/ip_forward', `net/ipv4/conf/${device}/rp_filter`]) {
    it(`sets ${path} again, which a reset of all sysctls has changed (kubernetes#45022)`, async () => {
      const read = async () => (await host.exec(['cat', `/proc/sys/${path}`])).stdout.trim()
      const before = await read()
      await host.exec(['sysctl', '-qw', `${path}=${before === '1' ? '0' : '1'}`])
      await until(healMs, 'as before', async () => assert.equal(await read(), before))
    })
  }

  it('restores subnet.env removed, edited, cut short and with another mode', async () => {
    const { subnetFile } = host.paths
    const { text } = await host.subnetEnv()
    for (const [what, hurt] of [
      ['removed', () => rmSync(subnetFile)],
      ['edited', () => writeFileSync(subnetFile, text.replace('FLANNEL_MTU=1450', 'FLANNEL_MTU=9000'))],
      ['truncated', () => writeFileSync(subnetFile, '')],
    ] as const) {
      hurt()
      await until(healMs, what, async () => assert.equal((await host.subnetEnv({ timeout: 0 })).text, text))
    }
    await host.exec(['chmod', '600', subnetFile])
    await until(healMs, 'mode', async () => {
      assert.equal((await host.exec(['stat', '-c', '%a', subnetFile])).stdout.trim(), '644')
    })
  })

  it('counts and logs what it repaired, and is well again', async () => {
    const { counters, state } = await status(host)
    assert.equal(state, 'ok')
    for (const kind of ['route', 'neighbour', 'fdb', 'link', 'address', 'file']) {
      assert.ok(counters.driftRepaired[kind] > 0, kind)
    }
    assert.ok((await countInLog(host, /link repaired .*was=missing/)) > 0)
  })

  it('leaves another program’s route in our way alone: that peer is rejected, as after a restart, the others work', async () => {
    const dst = '10.5.1.0/24'
    await host.ip('route', 'del', dst)
    // Faster than the healing, or after it: what counts is who has the key in the end.
    await host.exec(['sh', '-c', `ip route replace ${dst} via 192.168.64.1 proto static`])
    await until(healMs, 'the peer is rejected', async () => {
      const { peers, rejected, state, ready } = await status(host)
      assert.deepEqual([state, ready], ['degraded', true])
      assert.ok(peers.every((peer: { id: string; state: string }) => peer.state === 'ok' && peer.id !== '10.5.1.0-24'))
      assert.deepEqual(
        rejected.map(({ id, reason }: { id: string; reason: string }) => `${id} ${reason}`),
        ['10.5.1.0-24 host-range'],
      )
      assert.match(
        rejected[0].text,
        /is the destination of this host's route 10\.5\.1\.0\/24 via 192\.168\.64\.1 dev eth0/,
      )
    })
    assert.match(await host.ip('route', 'show', dst), /via 192\.168\.64\.1 dev eth0 proto static/)
    await reaches()
    await host.ip('route', 'del', dst)
    await healed('the foreign route has gone')
    assert.equal((await status(host)).state, 'ok')
  })

  it('has its own route again as soon as another program’s in its way has gone with its device, of which the kernel tells nothing', async () => {
    const dst = '10.5.1.0/24'
    await host.ipBatch([
      'link add veth-vpn0 type veth peer name veth-vpn1',
      'link set veth-vpn0 up',
      'link set veth-vpn1 up',
    ])
    for (const gone of ['link set veth-vpn0 down', 'link del veth-vpn0']) {
      await host.ip('link', 'set', 'veth-vpn0', 'up')
      await host.exec(['sh', '-c', `ip route del ${dst}; ip route replace ${dst} dev veth-vpn0 proto static`])
      await until(healMs, 'the peer is rejected', async () => {
        const { rejected } = await status(host)
        assert.deepEqual(
          rejected.map(({ id }: { id: string }) => id),
          ['10.5.1.0-24'],
        )
      })
      await host.ip(...gone.split(' '))
      await healed(gone)
    }
  })

  it('never deletes a device of another kind that has our name: not ready, with the remedy', async () => {
    await unseen(`ip link del ${device} && ip link add ${device} type veth peer name other0`)
    await until(5_000, 'not ready', async () => {
      const { ready, notReady } = await status(host)
      assert.equal(ready, false)
      assert.match(notReady.join('\n'), /flannel\.1.*(veth|another kind)/)
    })
    assert.match(await host.ip('-d', 'link', 'show', device), /veth/)
    const conditions = (await status(host)).conditions.map(
      (each: { text: string; remedy: string }) => each.text + each.remedy,
    )
    assert.match(conditions.join('\n'), /ip link (del|set)|remove|rename/)
    await host.ip('link', 'del', device)
    await healed('the veth has gone')
    await reaches()
    assert.equal((await status(host)).state, 'ok')
  })
})
