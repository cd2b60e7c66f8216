import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs, peerProgram } from '../needs.ts'
import { ChangingHosts } from './changing-hosts.ts'
import {
  bringUp,
  flanneld,
  knowsPeers,
  leaseOf,
  logsInFailure,
  oneSegment,
  ready,
  startDaemon,
  until,
} from './world.ts'

const network = { Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' }
const onPort = (Port: number) => ({ ...network, Backend: { Type: 'vxlan', Port } })
const SECOND = ['flannel-1', 'flannel-v6-1']

describe('a second device of vxlan, since a change of the port', function () {
  needs(this, 'netns', 'etcd', 'peer:flanneld')
  this.timeout(180_000)
  let lab: Lab
  let hosts: readonly [Host, Host]
  let changing: ChangingHosts

  before(async () => {
    const segments = oneSegment(2).map((lan) => ({ ...lan, subnet6: 'fd64::/64' }))
    lab = await Lab.create({ segments, rpFilter: 1, netConf: onPort(8472) })
    hosts = lab.hosts as unknown as [Host, Host]
    await bringUp(hosts, { args: ['--ingress-guard=on'] })
    for (const host of hosts) await knowsPeers(host, 1)
    changing = await ChangingHosts.start(hosts, 10)
    await lab.configure(onPort(4789))
    await settled()
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await changing?.stop()
    await lab?.close()
  })

  const settled = () =>
    changing.settled({ device: 'flannel-1', tunnel: SECOND }, async (host) => {
      const { Accepts = [] } = JSON.parse((await leaseOf(lab, host)).value)
      assert.deepEqual(
        Accepts.map(({ Port }: { Port?: number }) => Port),
        [4789],
      )
    })

  const devices = async (host: Host) =>
    (await host.ipJson('-d', 'link')).flatMap(({ ifname, ifindex, linkinfo }) =>
      String(ifname).startsWith('flannel') ? [[ifname, ifindex, linkinfo?.info_data?.port]] : [],
    )

  it('was taken up without a lost packet in either family', async () => {
    await changing.nothingLost()
    for (const host of hosts)
      assert.deepEqual(
        (await devices(host)).map(([name, , port]) => [name, port]).sort(),
        SECOND.map((name) => [name, 4789]),
      )
  })

  it('is the same one after the next start, and there is nothing to change', async () => {
    const [host] = hosts
    const before = await devices(host)
    host.daemon?.kill('SIGKILL')
    await host.daemon?.waitExit()
    await startDaemon(host, { args: ['--ingress-guard=on'] })
    await settled()
    assert.deepEqual(await devices(host), before)
    const { stdout } = await flanneld(host, ['plan'], { args: ['--ingress-guard=on'] })
    assert.match(stdout, /nothing to change/)
    await changing.nothingLost()
  })

  it("gives way to flannel's own by a hand-over, and flannel's daemon carries on", async () => {
    const [host, other] = hosts
    await host.daemon?.stop()
    assert.equal((await flanneld(host, ['hand-over'])).code, 0)
    assert.deepEqual(await devices(host), [])
    await startDaemon(host, { program: peerProgram('peer:flanneld') })
    await until(20_000, "flannel's device has the port", async () =>
      assert.deepEqual((await devices(host)).map(([name, , port]) => [name, port]).sort(), [
        ['flannel-v6.1', 4789],
        ['flannel.1', 4789],
      ]),
    )
    for (const [from, to] of [
      [host, other],
      [other, host],
    ] as const)
      for (const address of to.container('c1').addresses)
        await until(20_000, `${from.label} reaches ${address}`, async () =>
          assert.equal((await from.container('c1').ping(address, { count: 1, wait: 500 })).received, 1),
        )
  })
})

describe("another program's device under a second name", function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  const cases: readonly [what: string, make: string, name: string, from: object, to: object, chosen: string][] = [
    [
      'of vxlan',
      'ip link add flannel-1 up type vxlan id 77 dstport 9999 dev eth0',
      'flannel-1',
      { Type: 'vxlan', Port: 8472 },
      { Type: 'vxlan', Port: 4789 },
      'flannel_1',
    ],
    [
      'of tun',
      'ip tuntap add dev flannel1 mode tun; ip link set flannel1 up',
      'flannel1',
      { Type: 'udp', Port: 8285, Engine: 'userspace' },
      { Type: 'udp', Port: 9000, Engine: 'userspace' },
      'flannel2',
    ],
  ]
  for (const [what, make, name, from, to, chosen] of cases) {
    it(`${what} is left alone, at the start, while the backend changes, and by a clean-up`, async () => {
      lab = await Lab.create({ segments: oneSegment(1), netConf: { Network: '10.5.0.0/16', Backend: from } })
      const [host] = lab.hosts as unknown as [Host]
      const index = async () => (await host.ipJson('link')).find(({ ifname }) => ifname === name)?.ifindex
      const ours = async () =>
        (await host.ipJson('link')).flatMap(({ ifname }) =>
          String(ifname).startsWith('flannel') && ifname !== name ? [ifname] : [],
        )
      await host.exec(['sh', '-ec', make])
      const before = await index()
      assert.ok(before !== undefined)
      await startDaemon(host)
      await ready(host)
      assert.match((await flanneld(host, ['plan'])).stdout, /^# nothing to change$/m)
      assert.equal(await index(), before)

      await lab.configure({ Network: '10.5.0.0/16', Backend: to })
      await until(20_000, 'the other port is in use', async () => assert.deepEqual(await ours(), [chosen]))
      assert.equal(await index(), before)

      await host.daemon?.stop()
      assert.equal((await flanneld(host, ['cleanup'])).code, 0)
      assert.deepEqual([await ours(), await index()], [[], before])
    })
  }
})
