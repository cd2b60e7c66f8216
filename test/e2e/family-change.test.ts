import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { type Cidr, firstHost } from '../../lib/address.ts'
import { cniPlugins, needs } from '../needs.ts'
import { ChangingHosts, told } from './changing-hosts.ts'
import { bringUp, flanneld, knowsPeers, leasePrefix, logsInFailure, ready, startDaemon, until, vxlan } from './world.ts'

const dual = { ...vxlan, EnableIPv6: true, IPv6Network: 'fc00::/48' }
const masq = { args: ['--ip-masq'] }

describe('a second family of a running cluster', function () {
  needs(this, 'netns', 'etcd', 'cni')
  this.timeout(180_000)
  let lab: Lab
  let hosts: readonly Host[] = []
  let v4: ChangingHosts | undefined
  let v6: ChangingHosts | undefined
  let pids: readonly (number | undefined)[] = []
  let leasesBefore: readonly Lease[] = []

  interface Lease {
    readonly key: string
    readonly value: Record<string, unknown>
  }

  const leases = async (): Promise<readonly Lease[]> =>
    (await lab.etcd.list(leasePrefix))
      .map(({ key, value }) => ({ key: key.slice(leasePrefix.length), value: JSON.parse(value) }))
      .sort((a, b) => (a.key < b.key ? -1 : 1))

  /** What of IPv6 is on the host that an overlay could have left there. */
  const left = async (host: Host) => {
    const script =
      'ip -6 route show table all; ip -o -6 addr; ip -o link; ip -6 neigh show nud permanent; bridge fdb; ip6tables-save; nft list ruleset'
    const { stdout } = await host.exec(['sh', '-c', script])
    const ours = /fc00:|flannel-v6|FLANNEL|table ip6 flannel/
    // The names of iptables' chains are the same in both families.
    const v6 = stdout.split(/^table /m).filter((text) => !/^(ip|inet|netdev|bridge) /.test(text))
    return v6.flatMap((text) => text.split('\n')).filter((line) => ours.test(line))
  }

  const families = async (count: number) => {
    for (const host of hosts) {
      await until(15_000, `${host.label} has ${count} families`, async () => {
        assert.equal((await host.subnetEnv()).families.length, count)
        assert.deepEqual(await told(host), [])
      })
      await knowsPeers(host, hosts.length - 1)
    }
    await until(5_000, 'leases', async () => {
      const found = await leases()
      assert.equal(found.length, hosts.length)
      for (const { key } of found) assert.equal(key.includes('&'), count === 2, key)
    })
  }

  const plan = async (host: Host, config: object) => {
    const file = `${host.paths.stateDir}/new.json`
    await host.exec(['sh', '-c', `printf %s '${JSON.stringify(config)}' > ${file}`])
    return await flanneld(host, ['plan', '--config', file], masq)
  }

  /** Gives the container and its bridge what a CNI plugin gives a new container by then. */
  const giveIpv6 = async (host: Host): Promise<string> => {
    const subnet = (await host.subnetEnv()).families[1]?.subnet
    if (subnet === undefined) throw new Error(`${host.label} has no IPv6 subnet`)
    const gateway = firstHost(subnet as Cidr)
    const address = gateway.replace(/1$/, '2')
    await host.exec([
      'sh',
      '-c',
      `ip addr replace ${gateway}/64 dev cni0 nodad; sysctl -qw net.ipv6.conf.all.forwarding=1`,
    ])
    const inside = `ip addr replace ${address}/64 dev eth0 nodad; ip -6 route replace default via ${gateway}`
    await host.container('c1').exec(['sh', '-c', inside])
    return address
  }
  /** The second network device of its container, by the plugin that joins each container to the host alone. */
  const addPointToPoint = async (host: Host) => {
    const rangeStart = (await giveIpv6(host)).replace(/2$/, '9')
    const subnet = (await host.subnetEnv()).families[1]?.subnet
    const ipam = { type: 'host-local', dataDir: join(host.folder, 'ipam'), ranges: [[{ subnet, rangeStart }]] }
    const network = JSON.stringify({ cniVersion: '0.4.0', name: 'alone', type: 'ptp', ipam })
    const names = `CNI_CONTAINERID=alone CNI_NETNS=/run/netns/${host.container('c1').name} CNI_IFNAME=eth1 CNI_PATH=${cniPlugins}`
    const call = async (verb: string) =>
      await host.exec(['sh', '-c', `printf %s '${network}' | CNI_COMMAND=${verb} ${names} ${cniPlugins}/ptp`])
    await call('ADD')
    return { remove: () => call('DEL') }
  }
  const takeIpv6 = async (host: Host) => {
    await host.container('c1').exec(['ip', '-6', 'addr', 'flush', 'dev', 'eth0', 'scope', 'global'])
    await host.exec(['ip', '-6', 'addr', 'flush', 'dev', 'cni0', 'scope', 'global'])
  }

  before(async () => {
    const lan = { name: 'lan1', subnet: '192.168.64.0/24', subnet6: 'fd00:64::/64', hosts: ['h1', 'h2', 'h3'] }
    lab = await Lab.create({ segments: [lan], netConf: vxlan })
    hosts = lab.hosts
    await bringUp(hosts, masq)
    for (const host of hosts) await knowsPeers(host, 2)
    v4 = await ChangingHosts.start(hosts, 10)
    pids = hosts.map((host) => host.daemon?.pid)
    leasesBefore = await leases()
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await Promise.all([v4?.stop(), v6?.stop()])
    await lab?.close()
  })

  it('is told beforehand by flanneld plan, which changes nothing', async () => {
    const [h1] = hosts as [Host]
    const planned = await plan(h1, dual)
    assert.equal(planned.code, 0, planned.stdout)
    for (const text of [
      '# changes EnableIPv6 false -> true',
      '# goes into use while the daemon runs',
      `# the lease ${leasesBefore.map(({ key }) => key).find((key) => planned.stdout.includes(`the lease ${key} becomes`))} becomes`,
      'FLANNEL_IPV6_NETWORK=fc00::/48',
      'flannel-v6.1',
      'ip6tables',
    ])
      assert.ok(planned.stdout.includes(text), `${text} in ${planned.stdout}`)
    // Outside of IPv6 nothing moves: a smaller MTU is for new containers, whose IPv6 packets have a larger header around them.
    assert.doesNotMatch(
      planned.stdout,
      /may interrupt: (?!the MTU goes from 1450 to 1430)|^ip (-4 )?route .*10\.|^ip link .*flannel\.1\b/m,
    )
    const both = await plan(h1, { ...dual, Backend: { Type: 'host-gw' } })
    assert.equal(both.code, 78, both.stdout)
    assert.match(both.stdout, /would change together with the families/)
    assert.deepEqual(await left(h1), [])
    assert.deepEqual(await leases(), leasesBefore)
  })

  it('is turned on: nothing restarts, no packet of IPv4 is lost, and IPv6 works as soon as both ends have it', async () => {
    await lab.configure(dual)
    await families(2)
    const now = await leases()
    for (const [n, { key, value }] of now.entries()) {
      assert.equal(key.split('&')[0], leasesBefore[n]?.key)
      const { BackendV6Data, PublicIPv6, Since, ...rest } = value
      const { PublicIPv6: _none, ...was } = leasesBefore[n]?.value ?? {}
      assert.deepEqual(rest, was)
      assert.match(String(PublicIPv6), /^fd00:64::/)
      assert.match(String(Since), /^[1-9]\d*$/)
      assert.match(JSON.stringify(BackendV6Data), /"VtepMAC":/)
    }
    const addresses = new Map<Host, string>()
    for (const host of hosts) addresses.set(host, await giveIpv6(host))
    v6 = await ChangingHosts.start(hosts, 10, (host) => [addresses.get(host) ?? ''])
    await v6?.nothingLost()
    await v4?.nothingLost()
    for (const host of hosts) assert.match((await host.exec(['ip6tables-save'])).stdout, /-s fc00::\/48 .*MASQUERADE/)
    assert.deepEqual(
      hosts.map((host) => host.daemon?.pid),
      pids,
    )
  })

  it('stays, named, as long as containers have addresses of it, over a restart too', async () => {
    const planned = await plan(hosts[0] as Host, vxlan)
    assert.equal(planned.code, 78, planned.stdout)
    assert.match(planned.stdout, /EnableIPv6: containers of this host have addresses of fc00:/)
    await lab.configure(vxlan)
    for (const host of hosts) {
      await until(10_000, 'refused', async () => {
        const [found] = await told(host)
        assert.equal(found?.code, 'config-refused')
        assert.match(found?.text ?? '', /EnableIPv6: containers of this host have addresses of fc00:/)
        assert.match(found?.remedy ?? '', /take fc00:\S+ from this host's end/)
      })
    }
    const [h1] = hosts as [Host]
    h1.daemon?.kill('SIGKILL')
    await h1.daemon?.stop()
    await startDaemon(h1, masq)
    await ready(h1)
    await until(10_000, 'refused again', async () => assert.equal((await told(h1))[0]?.code, 'config-refused'))
    await v6?.nothingLost()
    await v4?.nothingLost()
  })

  it('is gone where no container has it any more: of IPv6 nothing is left, of IPv4 nothing is lost', async () => {
    await v6?.nothingLost()
    await v6?.stop()
    v6 = undefined
    const [h1] = hosts as [Host]
    const pair = await addPointToPoint(h1)
    for (const host of hosts) await takeIpv6(host)
    for (const host of hosts.slice(1))
      await until(10_000, `${host.label} is clean`, async () => assert.deepEqual(await left(host), []))
    const [found] = await told(h1)
    assert.equal(found?.code, 'config-refused')
    assert.match(found?.text ?? '', /EnableIPv6: containers of this host have addresses of fc00:/)
    assert.equal((await h1.subnetEnv()).families.length, 2)
    await pair.remove()
    await families(1)
    for (const host of hosts)
      await until(10_000, `${host.label} is clean`, async () => assert.deepEqual(await left(host), []))
    assert.deepEqual(
      (await leases()).map(({ key, value: { Since: _since, ...value } }) => ({ key, value })),
      leasesBefore,
    )
    await v4?.nothingLost()
  })
})
