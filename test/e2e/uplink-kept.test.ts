import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'
import { needs } from '../needs.ts'
import { bringUp, knowsPeers, leasePrefix, logsInFailure, ready, startDaemon, status, until, vxlan } from './world.ts'

const device = 'flannel.1'
const floating = '192.168.64.77'
const pattern = { args: ['--iface-regex=^(192\\.168|10)\\.'] }

/** Which interface and address a node uses: what works stays, what is gone is replaced at once, and no device is made anew. */
describe('the uplink in use', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host
  let other: Host
  let gateway: string
  let made: string

  before(async () => {
    lab = await Lab.create({
      segments: [
        { name: 'lan1', subnet: '192.168.64.0/24', hosts: ['h1', 'h2'] },
        { name: 'lan2', subnet: '192.168.65.0/24', hosts: ['h1'] },
      ],
      netConf: vxlan,
    })
    host = lab.host('h1')
    other = lab.host('h2')
    const [route] = await host.ipJson('route', 'show', 'default')
    assert.equal(route.dev, 'eth0')
    gateway = route.gateway
    // As by DHCP: everything else would be chosen before it at a first start.
    await host.ip('addr', 'change', `${host.address}/24`, 'dev', 'eth0', 'valid_lft', '3600', 'preferred_lft', '3600')
    await bringUp(lab.hosts)
    for (const each of lab.hosts) await knowsPeers(each, 1)
    made = await identity()
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  /** The device is the same as ever. */
  const identity = async () => {
    const [link] = await host.ipJson('link', 'show', device)
    return `${link.ifindex} ${link.address}`
  }
  const publicAddresses = async () =>
    (await lab.etcd.list(leasePrefix)).map(({ value }) => JSON.parse(value).PublicIP).sort()
  const unchanged = async () => {
    assert.deepEqual(await publicAddresses(), [host.address, other.address].sort())
    assert.equal(await identity(), made)
  }
  const codes = async () => (await status(host)).conditions.map(({ code }: { code: string }) => code)
  const kept = async () => assert((await codes()).includes('interface-kept'))
  const pass = (ms: number) => systemClock.sleep(ms, AbortSignal.timeout(ms + 5_000))
  /** From container to container, both ways, until `work` is done; returns how many were lost. */
  const lostDuring = async (work: () => Promise<void>) => {
    const judge = other.container('c1').startPing(host.container('c1').address, 20)
    try {
      await work()
    } finally {
      await pass(100)
    }
    const { sent, received } = await judge.stop()
    return sent - received
  }
  const reached = (ms: number) =>
    until(ms, 'traffic flows', async () => {
      const { received } = await other.container('c1').ping(host.container('c1').address, { count: 1, wait: 200 })
      assert.equal(received, 1)
    })
  const peerSends = (address: string) =>
    until(1_000, `the peer sends to ${address}`, async () => {
      const { stdout } = await other.exec(['bridge', 'fdb', 'show', 'dev', device])
      assert.match(stdout, new RegExp(` dst ${address.replaceAll('.', '\\.')} `))
    })

  type Place = readonly [address: string, device: string]
  /** In one go: on a busy machine a pause between two commands is long enough for the daemon to choose another uplink. */
  const readdress = (from: Place, to: Place) =>
    host.ipBatch([
      `addr del ${from[0]}/24 dev ${from[1]}`,
      `addr add ${to[0]}/24 dev ${to[1]}`,
      // It went with the last address, and etcd is behind it.
      `route replace default via ${gateway}`,
    ])

  it('stays beside a floating address, with the daemon started again, too', async () => {
    await host.ip('addr', 'add', `${floating}/32`, 'dev', 'eth0')
    await until(1_000, 'it is told', kept)
    await unchanged()
    await host.daemon?.stop()
    await startDaemon(host)
    await ready(host)
    await unchanged()
    await kept()
    await host.ip('addr', 'del', `${floating}/32`, 'dev', 'eth0')
  })

  it('stays while the better of two default routes comes and goes, and no packet is lost', async () => {
    const better = ['default', 'via', '192.168.65.1', 'dev', 'eth1', 'metric', '1']
    await host.ip('route', 'del', 'default')
    await host.ip('route', 'add', 'default', 'via', gateway, 'metric', '100')
    try {
      const lost = await lostDuring(async () => {
        for (const verb of ['add', 'del', 'add']) {
          await host.ip('route', verb, ...better)
          await until(1_000, 'it is told', kept)
          await pass(700)
        }
      })
      assert.equal(lost, 0)
      await unchanged()
    } finally {
      await host.exec(['ip', 'route', 'del', ...better], { anyCode: true })
    }
  })

  it('is no own device and no bridge of containers while its address is away', async () => {
    await host.daemon?.stop()
    await startDaemon(host, pattern)
    await ready(host)
    await host.ip('addr', 'flush', 'dev', 'eth0')
    await host.ip('addr', 'flush', 'dev', 'eth1')
    await until(1_000, 'it is told', async () => assert((await codes()).includes('interface-lost')))
    await unchanged()
    await host.linkUp('eth1')
    await host.linkUp('eth0')
    await reached(2_000)
    assert.equal(await identity(), made)
  })

  it('is replaced within a second where its address is another now', async () => {
    const [old, next] = [host.address, '192.168.64.99']
    await until(15_000, 'it is the first again', async () => assert((await publicAddresses()).includes(old)))
    const change = async (from: string, to: string) => {
      await readdress([from, 'eth0'], [to, 'eth0'])
      await peerSends(to)
      await reached(1_000)
      assert.equal(await identity(), made)
    }
    await change(old, next)
    await change(next, old)
  })

  it('follows its address onto a bridge that the interface is now a port of, and back', async () => {
    const on = async (name: string) => {
      const [link] = await host.ipJson('-d', 'link', 'show', device)
      assert.equal(link.linkinfo.info_data.link, name)
    }
    const move = (from: string, to: string) => readdress([host.address, from], [host.address, to])
    await host.ip('link', 'add', 'br0', 'up', 'type', 'bridge')
    await host.ip('link', 'set', 'eth0', 'master', 'br0')
    await move('eth0', 'br0')
    await until(1_000, 'the device stands on the bridge', () => on('br0'))
    await reached(1_000)
    await host.ip('link', 'set', 'eth0', 'nomaster')
    await move('br0', 'eth0')
    await until(1_000, 'the device stands on the card', () => on('eth0'))
    await host.ip('link', 'del', 'br0')
    await reached(1_000)
    await unchanged()
  })
})
