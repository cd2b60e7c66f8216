import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { systemClock } from '../../lib/clock.ts'
import { needs, peerProgram } from '../needs.ts'
import { ChangingHosts, reachesByIpv6, type Told, told } from './changing-hosts.ts'
import {
  bringUp,
  flanneld,
  knowsPeers,
  leasePrefix,
  logsInFailure,
  ready,
  startDaemon,
  status,
  until,
  vxlan,
} from './world.ts'

const dual = { ...vxlan, EnableIPv6: true, IPv6Network: 'fc00::/48' }
const segment = { name: 'lan1', subnet: '192.168.64.0/24', subnet6: 'fd00:64::/64', hosts: ['h1', 'h2', 'h3'] }

async function families(host: Host, names: readonly string[]): Promise<void> {
  await until(20_000, `${host.label} has ${names}`, async () => {
    const { text } = await host.subnetEnv()
    const found = [...text.matchAll(/^FLANNEL_(IPV6_)?SUBNET=/gm)].map(([, v6]) => (v6 ? 'IPv6' : 'IPv4'))
    assert.deepEqual(found, names)
    const conditions = await told(host)
    assert.deepEqual([conditions, (await status(host)).notReady], [[], []], JSON.stringify(conditions))
  })
}

async function says(host: Host, code: string, text: RegExp): Promise<Told> {
  const found: Told[] = []
  await until(20_000, `${host.label} says ${code}`, async () => {
    const conditions = await told(host)
    found.splice(0, Number.POSITIVE_INFINITY, ...conditions.filter((condition) => condition.code === code))
    assert.match(found[0]?.text ?? JSON.stringify(conditions), text)
  })
  return found[0] as Told
}

describe('a change of the families that does not go smoothly', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let hosts: readonly [Host, Host, Host]
  let changing: ChangingHosts

  before(async () => {
    lab = await Lab.create({ segments: [segment], netConf: vxlan })
    hosts = lab.hosts as unknown as typeof hosts
    await bringUp(hosts)
    for (const host of hosts) await knowsPeers(host, 2)
    changing = await ChangingHosts.start(hosts, 10)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await changing?.stop()
    await lab?.close()
  })

  const pause = async (ms: number) => await systemClock.sleep(ms, AbortSignal.timeout(60_000))
  const everywhere = async (names: readonly string[]) => {
    for (const host of hosts) await families(host, names)
    for (const host of hosts) await knowsPeers(host, 2)
    await until(5_000, 'one lease for each host', async () => {
      const keys = (await lab.etcd.list(leasePrefix)).map(({ key }) => key)
      assert.equal(keys.length, 3, keys.join())
      for (const key of keys) assert.equal(key.includes('&'), names.includes('IPv6'), key)
    })
  }
  const allSwitch = async () => {
    // Nobody holds these edits for a quarrel.
    for (const host of hosts) await flanneld(host, ['switch'])
  }

  it('goes through where daemons are killed at any moment of it, and back, and comes to one lease each', async () => {
    const subnets = async () => Promise.all(hosts.map(async (host) => (await host.subnetEnv()).families[0]?.subnet))
    const before = await subnets()
    for (const [n, [config, names]] of (
      [
        [dual, ['IPv4', 'IPv6']],
        [vxlan, ['IPv4']],
        [dual, ['IPv4', 'IPv6']],
        [vxlan, ['IPv4']],
      ] as const
    ).entries()) {
      await lab.configure(config)
      for (const host of hosts.slice(0, 2)) {
        await pause(40 * n + Math.random() * 150)
        host.daemon?.kill('SIGKILL')
        await host.daemon?.stop()
        await startDaemon(host)
      }
      await allSwitch()
      await everywhere(names)
      await changing.nothingLost()
    }
    assert.deepEqual(await subnets(), before)
  })

  it('is followed to its last word where it is edited faster than it is done', async () => {
    for (const config of [dual, vxlan, dual]) {
      await lab.configure(config)
      await pause(Math.random() * 120)
    }
    await allSwitch()
    await everywhere(['IPv4', 'IPv6'])
    for (const [n, host] of hosts.entries()) await reachesByIpv6(host, hosts[(n + 1) % 3] as Host)
    await lab.configure(vxlan)
    await allSwitch()
    await everywhere(['IPv4'])
    await changing.nothingLost()
  })

  it('waits for a store that hangs in the middle of it', async () => {
    await lab.configure(dual)
    await lab.etcd.freeze()
    try {
      await pause(3_000)
    } finally {
      lab.etcd.thaw()
    }
    await allSwitch()
    await everywhere(['IPv4', 'IPv6'])
    await changing.nothingLost()
    await lab.configure(vxlan)
    await allSwitch()
    await everywhere(['IPv4'])
  })

  it('leaves a node without a free subnet of the new family its old one, named, until there are more', async () => {
    const one = { ...dual, IPv6SubnetMin: 'fc00:0:0:1::', IPv6SubnetMax: 'fc00:0:0:1::' }
    // All ask for it at once.
    await lab.configure(one)
    await allSwitch()
    let lacks: readonly Host[] = []
    await until(20_000, 'two go without', async () => {
      const found = await Promise.all(hosts.map(async (host) => (await told(host)).map(({ code }) => code).join()))
      assert.deepEqual([...found].sort(), ['', 'lease-family', 'lease-family'])
      lacks = hosts.filter((_host, n) => found[n] !== '')
    })
    const [first, second] = lacks as [Host, Host]
    await says(first, 'lease-family', /no IPv6 subnet: no free subnet is left between fc00:0:0:1:: and fc00:0:0:1::/)
    // Over a restart, too.
    await first.daemon?.stop()
    await startDaemon(first)
    await ready(first)
    await says(first, 'lease-family', /no free subnet is left/)
    for (const host of lacks) assert.equal((await host.subnetEnv()).families.length, 1)
    await changing.nothingLost()
    await lab.configure(dual)
    await allSwitch()
    await everywhere(['IPv4', 'IPv6'])
    await reachesByIpv6(first, second)
    await lab.configure(vxlan)
    await allSwitch()
    await everywhere(['IPv4'])
    await changing.nothingLost()
  })

  it('leaves a host without an address of the new family on its uplink as it is, named in the words of a start', async () => {
    const [h1, h2, h3] = hosts
    const address = 'fd00:64::d/64'
    const { stdout } = await h3.exec(['ip', '-6', '-o', 'addr', 'show', 'dev', 'eth0', 'scope', 'global'])
    const own = /inet6 (\S+)/.exec(stdout)?.[1] ?? address
    const routes = (await h3.exec(['ip', '-6', 'route', 'show', 'default'])).stdout
    await h3.exec(['sh', '-c', 'ip -6 addr flush dev eth0; sysctl -qw net.ipv6.conf.eth0.addr_gen_mode=1'])
    await lab.configure(dual)
    await allSwitch()
    for (const host of [h1, h2]) await families(host, ['IPv4', 'IPv6'])
    await says(h3, 'family-without-interface', /no interface fits .*eth0 lacks a usable IPv6 address/)
    await reachesByIpv6(h1, h2)
    for (const host of hosts) await knowsPeers(host, 2)
    assert.equal((await h3.subnetEnv()).families.length, 1)
    await h3.daemon?.stop()
    await startDaemon(h3)
    await ready(h3)
    await says(h3, 'family-without-interface', /no interface fits .*lacks a usable IPv6 address/)
    await changing.nothingLost()
    await h3.exec([
      'sh',
      '-c',
      `ip addr add ${own} dev eth0 nodad; ip -6 route replace ${routes.trim() || 'fd00:ffff::/64 dev eth0'}`,
    ])
    await everywhere(['IPv4', 'IPv6'])
    await reachesByIpv6(h3, h1)
    await reachesByIpv6(h1, h3)
    await changing.nothingLost()
  })

  it('is refused together with another backend, with both ways to do it named; one after the other both are had', async () => {
    const [h1] = hosts
    const hostGw = { ...vxlan, Backend: { Type: 'host-gw' } }
    await lab.configure(hostGw)
    await allSwitch()
    const found = await says(h1, 'config-refused', /Backend: vxlan would change together with the families/)
    assert.match(found.remedy, /two edits, one after the other/)
    await lab.configure(vxlan)
    await allSwitch()
    await everywhere(['IPv4'])
    await lab.configure(hostGw)
    await allSwitch()
    await everywhere(['IPv4'])
    await lab.configure({ ...dual, Backend: { Type: 'host-gw' } })
    await allSwitch()
    await until(20_000, 'the change of the backend is over', async () => {
      for (const host of hosts) assert.equal((await status(host)).backendChange, null)
    })
    await everywhere(['IPv4', 'IPv6'])
    await changing.nothingLost()
  })

  it('leaves a host whose backend cannot be had in the new family its old one, over a restart too, until it can be had', async () => {
    const [h1, h2, h3] = hosts
    const hostGw = { Backend: { Type: 'host-gw' } }
    await lab.configure({ ...vxlan, ...hostGw })
    await allSwitch()
    await everywhere(['IPv4'])
    const foreign = 'fd00:64::99'
    const restart = async () => {
      await h3.daemon?.stop()
      await startDaemon(h3, { args: ['--iface=eth0', `--public-ipv6=${foreign}`] })
      await ready(h3)
    }
    await restart()
    await lab.configure({ ...dual, ...hostGw })
    await allSwitch()
    for (const host of [h1, h2]) await families(host, ['IPv4', 'IPv6'])
    const lacks = async () => await says(h3, 'family-not-had', /public-ip: must be an address of this host/)
    await lacks()
    await restart()
    await lacks()
    assert.equal((await h3.subnetEnv()).families.length, 1)
    await changing.nothingLost()
    await h3.exec(['ip', 'addr', 'add', `${foreign}/64`, 'dev', 'eth0', 'nodad'])
    await everywhere(['IPv4', 'IPv6'])
    await changing.nothingLost()
  })

  it('turns the first family off and on, where no container has it', async () => {
    await lab.configure({ ...dual, EnableIPv4: false, Backend: { Type: 'host-gw' } })
    await allSwitch()
    for (const host of hosts)
      await says(host, 'config-refused', /EnableIPv4: containers of this host have addresses of 10\.5/)
    await changing.nothingLost()
    await changing.stop()
    for (const host of hosts) await host.exec(['ip', '-4', 'addr', 'flush', 'dev', 'cni0'])
    for (const host of hosts) await families(host, ['IPv6'])
    const keys = (await lab.etcd.list(leasePrefix)).map(({ key }) => key)
    assert.ok(keys.length === 3 && keys.every((key) => key.includes('/0.0.0.0-0&')), keys.join())
    await until(10_000, 'the routes of IPv4 are gone', async () => {
      for (const host of hosts) assert.doesNotMatch((await host.exec(['ip', 'route'])).stdout, /10\.5\./)
    })
    for (const host of hosts) await knowsPeers(host, 2)
    await lab.configure({ ...dual, Backend: { Type: 'host-gw' } })
    await allSwitch()
    await everywhere(['IPv4', 'IPv6'])
  })
})

describe("a second family beside flannel's daemon", function () {
  needs(this, 'netns', 'etcd', 'peer:flanneld')
  this.timeout(180_000)
  let lab: Lab
  let judges: readonly PingJudge[] = []

  afterEach(async function () {
    await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  it('leaves flannel the routes of IPv4, and has IPv6 with it when that is restarted', async () => {
    lab = await Lab.create({ segments: [segment], netConf: vxlan })
    const [h1, h2, h3] = lab.hosts as [Host, Host, Host]
    const flannel = { program: peerProgram('peer:flanneld') }
    await Promise.all([startDaemon(h1, flannel), startDaemon(h2), startDaemon(h3)])
    for (const host of lab.hosts) {
      await host.subnetEnv()
      await host.addContainer('c1')
    }
    for (const host of [h2, h3]) await knowsPeers(host, 2)
    const ours = h2.container('c1').startPing(h3.container('c1').address)
    const toFlannel = h2.container('c1').startPing(h1.container('c1').address)
    judges = [ours, toFlannel]
    await Promise.all(judges.map((judge) => judge.answered(AbortSignal.timeout(30_000))))
    await lab.configure(dual)
    for (const host of [h2, h3]) await families(host, ['IPv4', 'IPv6'])
    await reachesByIpv6(h2, h3)
    for (const host of [h2, h3]) await knowsPeers(host, 2)
    // Its daemon takes the route away and makes it again: a lease of two families has another key.
    await until(5_000, 'flannel has the routes', async () => {
      const before = toFlannel.verdict()
      await systemClock.sleep(300, AbortSignal.timeout(5_000))
      const after = toFlannel.verdict()
      assert.ok(after.received > before.received && after.lost === before.lost, JSON.stringify(after))
    })
    assert.equal(ours.verdict().lost, 0)
    process.stderr.write(`flannel: ${JSON.stringify(toFlannel.verdict())}\n`)
    await h1.daemon?.stop()
    // In two families flannel's daemon ends with a nil pointer while any lease has IPv4 alone, its own one included.
    for (const { key } of await lab.etcd.list(leasePrefix)) if (!key.includes('&')) await lab.etcd.del(key)
    await startDaemon(h1, flannel)
    await until(20_000, 'flannel has a subnet of each family', async () => {
      assert.equal((await h1.subnetEnv()).families.length, 2)
      for (const host of [h2, h3]) await knowsPeers(host, 2)
    })
    await reachesByIpv6(h2, h1)
    assert.equal(ours.verdict().lost, 0)
  })
})
