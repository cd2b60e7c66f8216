import assert from 'node:assert/strict'
import { execPath } from 'node:process'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { Namespace } from '../../lab/namespace.ts'
import { needs } from '../needs.ts'
import { countArrivals } from './arrivals.ts'
import {
  knowsPeers,
  leasePrefix,
  logsInFailure,
  lookedMs,
  ready,
  startDaemon,
  status,
  twoSegments,
  until,
} from './world.ts'

/** All that there is lies inside: the hosts (192.168.64.0/24 and 192.168.65.0/24), their router, etcd (192.0.2.10). */
const network = { Network: '192.0.0.0/8', SubnetLen: 24, SubnetMin: '192.10.0.0', SubnetMax: '192.90.0.0' }
/** h3 comes after SubnetLen was changed, and gets this one. */
const SHORT = { length: 26, first: '192.10.77.0', nobodys: '192.10.77.200' }
const PLAIN = 'udp dport 9999'

/** From here to there with these sources; how many have come to `at`. */
async function speak(from: Namespace, source: string, to: { readonly at: Namespace; readonly address: string }) {
  const arrived = await countArrivals(to.at, source)
  const ping = `ip addr add ${source}/32 dev lo; ping -q -i 0.05 -c 3 -W 0.3 -I ${source} ${to.address}; ip addr del ${source}/32 dev lo`
  await from.exec(['sh', '-c', ping], { anyCode: true })
  return await arrived()
}

describe('hosts inside the network', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab
  let h1: Host
  let h2: Host
  let h3: Host
  let stranger: Host

  before(async () => {
    const [lan1, lan2] = [twoSegments[0], twoSegments[1]]
    assert(lan1 !== undefined && lan2 !== undefined)
    lab = await Lab.create({ segments: [{ ...lan1, hosts: ['h1', 'h2', 'h4'] }, lan2] })
    ;[h1, h2, h3, stranger] = ['h1', 'h2', 'h3', 'h4'].map((name) => lab.host(name)) as [Host, Host, Host, Host]
  })
  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(() => lab?.close())

  const c = (host: Host) => host.container('c1')
  const start = async (hosts: readonly Host[], backend: Record<string, unknown>) => {
    for (const host of lab.hosts) await host.daemon?.stop()
    await lab.etcd.del(leasePrefix, { prefix: true })
    const reservation = `${leasePrefix}${SHORT.first}-${SHORT.length}`
    await lab.etcd.put(reservation, JSON.stringify({ PublicIP: h3.address }))
    const args = ['--ip-masq', '--ingress-guard=on']
    for (const host of hosts) {
      await lab.configure({ ...network, ...(host === h3 ? { SubnetLen: SHORT.length } : {}), Backend: backend })
      await startDaemon(host, { args })
      await host.subnetEnv()
      if (host.containers.length === 0) await host.addContainer('c1')
      await ready(host)
    }
    for (const host of hosts) await knowsPeers(host, hosts.length - 1)
    // The backend of the test before this one is still there beside the new one.
    await until(30_000, 'no change is under way', async () => {
      for (const host of hosts) assert.equal((await status(host)).backendChange, null, host.label)
    })
  }
  /** Containers and hosts, each to each; what the guard refused would be lost. */
  const assertAllReach = async (hosts: readonly Host[]) => {
    const ends = hosts.flatMap((host) => [host, c(host)])
    const pairs = ends.flatMap((from) => ends.filter((to) => to !== from).map((to) => [from, to] as const))
    const lost = await Promise.all(
      pairs.map(async ([from, to]) => {
        const { received } = await from.ping(to.address, { count: 2, interval: 20, wait: 500 })
        return received > 0 ? [] : [`${from.address} -> ${to.address}`]
      }),
    )
    assert.deepEqual(lost.flat(), [])
  }
  /** Counts what comes to `at` from a port that is not the sender's own, and what comes at all. */
  const countPorts = async (at: Host, packets: string, port: number) => {
    const own = `${packets} udp sport ${port}`
    const rules = `${own} counter comment "own"; ${packets} udp sport != ${port} counter comment "other";`
    const chain = `chain c { type filter hook input priority -200; ${rules} }`
    await at.exec(['nft', `add table ip ports; delete table ip ports; table ip ports { ${chain}; }`])
    return async () => {
      const { stdout } = await at.exec(['nft', 'list', 'table', 'ip', 'ports'])
      const counted = (name: string) =>
        Number(new RegExp(`packets (\\d+) bytes \\d+ comment "${name}"`).exec(stdout)?.[1])
      return { own: counted('own'), other: counted('other') }
    }
  }
  const send = (from: Host, to: Host, localPort: number) => {
    const script = `const s = require('dgram').createSocket('udp4'); s.bind(${localPort}, () => s.send('x', 9999, '${to.address}', () => s.close()))`
    return from.exec([execPath, '-e', script])
  }
  const refused = async (host: Host) => (await status(host)).guard.refused

  it('vxlan: all reach all, also between links, with --ip-masq, the guard on, and subnets of two lengths; who claims to be a container does not', async () => {
    await start([h1, h2, h3], { Type: 'vxlan' })
    await assertAllReach([h1, h2, h3])
    // What is bound to a port keeps it: a mount of NFS, for one, is refused from another.
    const ports = await countPorts(h2, PLAIN, 700)
    await send(h1, h2, 700)
    assert.deepEqual(await ports(), { own: 1, other: 0 })

    const own = c(h1).address.replace(/\d+$/, '99')
    const to = { at: c(h1), address: c(h1).address }
    // h3 is not on this link, so nothing of its containers comes by it without the tunnel.
    const { families } = await h1.subnetEnv()
    await stranger.exec(['ip', 'route', 'replace', String(families[0]?.subnet), 'via', h1.address, 'dev', 'eth0'])
    for (const source of [own, c(h3).address]) assert.equal(await speak(stranger, source, to), 0, source)
    const device = await h1.ipJson('link', 'show', 'flannel.1')
    await stranger.exec([
      'sh',
      '-ec',
      `ip link add evil type vxlan id 1 local ${stranger.address} dev eth0 dstport 8472 nolearning
       ip link set evil up
       bridge fdb append ${device[0].address} dev evil dst ${h1.address}
       ip neigh replace 192.9.9.9 lladdr ${device[0].address} dev evil
       ip route replace ${families[0]?.subnet} via 192.9.9.9 dev evil onlink`,
    ])
    for (const source of [c(h2).address, '192.9.8.7']) assert.equal(await speak(stranger, source, to), 0, source)
    // A peer's tunnel with another peer's container, with one of this host's, with nobody's.
    for (const [liar, source] of [
      [h2, c(h3).address],
      [h2, own],
      [h2, '192.9.8.6'],
      // Cut to the length of the others' subnets it would be h3's own.
      [h3, SHORT.nobodys],
    ] as const) {
      const arrived = await countArrivals(c(h1), source)
      const rule = `oifname "flannel.1" icmp type echo-request ip saddr set ${source}`
      await liar.exec(['nft', `table ip liar { chain out { type filter hook postrouting priority 300; ${rule}; }; }`])
      await liar.exec(['ping', '-q', '-c', '3', '-i', '0.05', '-W', '0.3', c(h1).address], { anyCode: true })
      await liar.exec(['nft', 'delete table ip liar'])
      assert.equal(await arrived(), 0, source)
    }
    const packet = `require('dgram').createSocket('udp4').send(Buffer.from('0800000000000100', 'hex'), 8472, '${h2.address}', process.exit)`
    await c(h1).exec([execPath, '-e', packet])
    await until(lookedMs, 'counted', async () => {
      assert.deepEqual(await refused(h1), { 'outer-source': 6, 'inner-source': 12, 'direct-source': 6, container: 1 })
    })
  })

  it('host-gw: on one link all reach all', async () => {
    await start([h1, h2], { Type: 'host-gw' })
    await until(5_000, 'all reach all', () => assertAllReach([h1, h2]))
  })

  it('udp: each peer has its route and nothing else of the network, etcd stays in reach, ports stay as they are', async () => {
    await start([h1, h2, h3], { Type: 'udp', Engine: 'userspace' })
    const ports = await countPorts(h2, 'udp dport 8285', 8285)
    await assertAllReach([h1, h2, h3])
    const { own, other } = await ports()
    assert.ok(own > 0)
    assert.equal(other, 0)
    const routes = (await h1.exec(['ip', 'route', 'show', 'dev', 'flannel0'])).stdout
    assert.deepEqual(
      routes.match(/^192\S+/gm)?.sort(),
      [c(h2).address.replace(/\d+$/, '0/24'), `${SHORT.first}/${SHORT.length}`].sort(),
    )
    // As flannel would have it: etcd, the router and half of the hosts would be behind the tunnel.
    await h1.exec(['ip', 'route', 'add', '192.0.0.0/8', 'dev', 'flannel0'])
    await lab.etcd.put(`${leasePrefix}192.20.7.0-24`, JSON.stringify({ PublicIP: '192.168.65.77', NodeID: 'n' }))
    await until(3_000, 'that route is gone, and etcd heard', async () => {
      const { stdout } = await h1.exec(['ip', 'route'])
      assert.doesNotMatch(stdout, /192\.0\.0\.0\/8/)
      assert.match(stdout, /^192\.20\.7\.0\/24 dev flannel0 /m)
    })
  })
})
