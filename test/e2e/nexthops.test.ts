import assert from 'node:assert/strict'
import { nexthopId } from '../../kernel/kinds/nexthop/kind.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { needs } from '../needs.ts'
import {
  assertSame,
  bringUp,
  flanneld,
  knowsPeers,
  logsInFailure,
  networkOf,
  startDaemon,
  status,
  strangerLease,
  until,
  vxlanFrom100,
} from './world.ts'

const healMs = 1_000
const dual = { ...vxlanFrom100, EnableIPv6: true, IPv6Network: 'fc00::/48' }
/** As a routing daemon makes them. */
const OTHERS = [
  'nexthop add id 11 via 192.168.64.1 dev eth0 proto zebra',
  'nexthop add id 12 via 192.168.64.2 dev eth0 proto zebra',
  'nexthop add id 13 group 11/12 proto zebra',
  'nexthop add id 14 blackhole',
  'route add 172.16.0.0/16 nhid 13 proto zebra',
]

describe('nexthop objects', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab
  let h1: Host
  let h2: Host
  let judges: PingJudge[] = []
  let healthy: readonly string[]

  before(async () => {
    const lan = { name: 'lan1', subnet: '192.168.64.0/24', subnet6: 'fd00:64::/64', hosts: ['h1', 'h2'] }
    lab = await Lab.create({ segments: [lan], netConf: dual })
    ;[h1, h2] = lab.hosts as [Host, Host]
    await h1.ipBatch(OTHERS)
    await lab.etcd.put(...strangerLease(1))
    await bringUp([h1, h2])
    for (const host of [h1, h2]) await knowsPeers(host, 2)
    await until(5_000, 'each peer has its route', async () => {
      const routes = [await h1.ipJson('route'), await h1.ipJson('-6', 'route')].flat()
      assert.equal(routes.filter(({ nhid, protocol }) => nhid && protocol === '102').length, 3)
    })
    healthy = await networkOf(h1)
  })
  afterEach(async function () {
    await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
    judges = []
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(() => lab?.close())

  /** To the container of h2, in both families. */
  const startPings = async () => {
    judges = h2.container('c1').addresses.map((address) => h1.container('c1').startPing(address, 20))
    await Promise.all(judges.map((judge) => judge.answered(AbortSignal.timeout(30_000))))
  }
  const nothingLost = async () => {
    const sent = judges.map((judge) => judge.verdict().sent)
    await until(10_000, 'more packets', async () => {
      for (const [n, judge] of judges.entries()) assert.ok(judge.verdict().sent > (sent[n] ?? 0) + 25)
    })
    assert.deepEqual(
      judges.map((judge) => judge.verdict().lost),
      judges.map(() => 0),
    )
  }
  const healed = async (what: string) =>
    await until(healMs, `healed after ${what}`, async () => assertSame(await networkOf(h1), healthy))
  const sh = async (host: Host, script: string) => await host.exec(['sh', '-ec', script])
  const own = async (host: Host) =>
    (await host.ipJson('nexthop')).filter(({ protocol }) => protocol === '102') as Record<string, string>[]

  it('stand for each peer in each family, and its route names them', async () => {
    const ways = await own(h1)
    assert.deepEqual(ways.map(({ dev }) => dev).sort(), ['flannel-v6.1', 'flannel.1', 'flannel.1'])
    for (const { id, gateway = '', dev = '' } of ways) {
      assert.equal(id, nexthopId({ device: dev, via: gateway }))
      const [route] = await h1.ipJson(gateway.includes(':') ? '-6' : '-4', 'route', 'show', 'via', gateway)
      assert.deepEqual([route?.nhid, route?.protocol, route?.dev], [id, '102', dev])
    }
    assert.equal((await flanneld(h1, ['plan'])).stdout, '# nothing to change\n')
  })

  it('and their routes are back within a second when they are deleted, or all that is on the device', async () => {
    for (const { id, dev } of await own(h1)) {
      await h1.ip('nexthop', 'del', 'id', `${id}`)
      await healed(`deletion of ${id} on ${dev}`)
    }
    for (const script of ['ip nexthop flush proto 102', 'ip link set flannel.1 down', 'ip link del flannel.1']) {
      await sh(h1, script)
      await healed(script)
    }
  })

  // By public reports of what other programs do to nexthop objects, or lose by.
  const reports: readonly [string, string][] = [
    [
      'systemd#29034: all objects of others on a link go',
      'ip nexthop flush dev flannel.1; ip nexthop flush dev flannel-v6.1',
    ],
    [
      'frr#14471: another gateway under our number',
      'ip nexthop replace id $ID via 10.5.99.9 dev flannel.1 onlink proto 102',
    ],
    [
      'frr#23206: our number becomes a blackhole',
      'ip nexthop replace id $ID blackhole; sleep 0.3; ip nexthop del id $ID',
    ],
    ['frr#18722: a device goes down and up at once', 'ip link set flannel.1 down; ip link set flannel.1 up'],
    ['frr#18722: an IPv6 device, too', 'ip link set flannel-v6.1 down; ip link set flannel-v6.1 up'],
    ['frr#13561: all addresses go, and routes with them unsaid', 'ip addr flush dev flannel.1'],
    ['frr#11528: addresses of both families', 'ip addr flush dev flannel.1; ip addr flush dev flannel-v6.1'],
    // iproute2 sends back what it has read, number and gateway, which the kernel refuses.
    ['routes alone, by device', 'ip route flush dev flannel.1 || true'],
    ['routes alone, by protocol', 'ip route flush proto 102 || true; ip -6 route flush proto 102 || true'],
    ['basebox#470: a gateway in place of the number', 'ip route replace $DST via $GW dev flannel.1 onlink proto 102'],
    ['dentOS#232: the number of an object of others', 'ip route replace $DST nhid 11'],
    [
      'grout#273: a second object of that gateway, as ours',
      'ip nexthop add id 4242 via $GW dev flannel.1 onlink proto 102',
    ],
    [
      'an entry through a group of far ends',
      'ip nexthop add id 501 via 192.168.64.50 fdb; ip nexthop add id 502 group 501 fdb; bridge fdb add 02:00:00:00:05:01 dev flannel.1 nhid 502 self; sleep 0.3; ip nexthop del id 502; ip nexthop del id 501',
    ],
  ]
  for (const [what, script] of reports) {
    it(`are put right within a second: ${what}`, async () => {
      const [way] = (await own(h1)).filter(({ dev }) => dev === 'flannel.1')
      const gateway = way?.['gateway']
      await sh(h1, `ID=${way?.['id']} GW=${gateway} DST=${gateway}/24\n${script}`)
      await until(healMs, what, async () =>
        assertSame((await networkOf(h1)).map(withoutNumber), healthy.map(withoutNumber)),
      )
      assert.equal((await status(h1)).state, 'ok')
    })
  }

  it('stay as they are beside an object of another program with that gateway (frr#19119)', async () => {
    const [way] = (await own(h1)).filter(({ dev }) => dev === 'flannel.1')
    const before = await own(h1)
    await sh(h1, `ip nexthop add id 4243 via ${way?.['gateway']} dev flannel.1 onlink proto zebra`)
    await sh(h1, 'ip nexthop flush proto 102')
    await until(healMs, 'ours are back', async () => assert.deepEqual(await own(h1), before))
    assert.match(await h1.ip('nexthop', 'show', 'id', '4243'), /proto zebra/)
    await h1.ip('nexthop', 'del', 'id', '4243')
    await until(healMs, 'only the other is gone', async () =>
      assertSame((await networkOf(h1)).map(withoutNumber), healthy.map(withoutNumber)),
    )
  })

  it('give way within a second to another program that takes their number, and leave it alone', async () => {
    // That of h2 in IPv4.
    const [taken] = (await own(h1)).filter(({ gateway }) => !/:|^10\.5\.1\./.test(gateway ?? ''))
    await h1.ip('nexthop', 'replace', 'id', `${taken?.['id']}`, 'via', '192.168.64.3', 'dev', 'eth0', 'proto', 'zebra')
    await until(healMs, 'the route goes through another object', async () => {
      const [route] = await h1.ipJson('route', 'show', 'via', String(taken?.['gateway']))
      assert.ok(route !== undefined && route.nhid !== taken?.['id'], JSON.stringify(route))
    })
    await startPings()
    assert.match(await h1.ip('nexthop', 'show', 'id', `${taken?.['id']}`), /via 192\.168\.64\.3 dev eth0 .*proto zebra/)
    // A later process knows it by that number.
    const before = await networkOf(h1)
    h1.daemon?.kill('SIGKILL')
    await h1.daemon?.waitExit()
    await startDaemon(h1)
    await knowsPeers(h1, 2)
    assertSame(await networkOf(h1), before)
    await nothingLost()
    // With the number free again it gets its own at the next occasion.
    await h1.ip('nexthop', 'del', 'id', `${taken?.['id']}`)
    await h1.ip('nexthop', 'flush', 'proto', '102')
    await until(healMs, 'all is back', async () => assert.equal((await own(h1)).length, 3))
  })

  it('take the place of gateways that flannel or an older version left, without a packet lost', async () => {
    for (const protocol of ['proto 102', 'proto boot']) {
      await startPings()
      h1.daemon?.kill('SIGKILL')
      await h1.daemon?.waitExit()
      const inline = (await own(h1)).map(({ gateway = '', dev }) => {
        const [family, length] = gateway.includes(':') ? ['-6 ', 64] : ['', 24]
        return `ip ${family}route replace ${gateway}/${length} via ${gateway} dev ${dev} onlink ${protocol}`
      })
      await sh(h1, [...inline, 'ip nexthop flush proto 102'].join('\n'))
      await startDaemon(h1)
      await knowsPeers(h1, 2)
      await until(healMs, 'no gateway is left', async () => {
        const routes = [await h1.ipJson('route'), await h1.ipJson('-6', 'route')].flat()
        const left = routes.filter(({ gateway, nhid, dst }) => /^(10\.5|fc00)/.test(dst) && gateway && !nhid)
        assert.deepEqual(left, [])
      })
      await nothingLost()
      await Promise.all(judges.map((judge) => judge.stop()))
    }
  })

  it('and the routes through them are known where the kernel shows no more than the number', async () => {
    await h1.exec(['sysctl', '-qw', 'net.ipv4.nexthop_compat_mode=0'])
    try {
      assert.equal((await flanneld(h1, ['plan'])).stdout, '# nothing to change\n')
      const before = await networkOf(h1)
      await sh(h1, 'ip nexthop flush proto 102')
      await until(healMs, 'all is back', async () => assertSame(await networkOf(h1), before))
    } finally {
      await h1.exec(['sysctl', '-qw', 'net.ipv4.nexthop_compat_mode=1'])
    }
  })

  it('go with their peer and at a cleanup, and those of others stay', async () => {
    const others = async () =>
      (await networkOf(h1)).filter((line) => /^id 1[1-4] |^172\.16|^nexthop via 192/.test(line))
    const before = await others()
    assert.ok(before.length >= OTHERS.length)
    await lab.etcd.del(strangerLease(1)[0])
    await until(5_000, 'the peer is gone', async () => {
      assert.deepEqual(
        (await own(h1)).filter(({ gateway }) => gateway === '10.5.1.0'),
        [],
      )
    })
    await h1.daemon?.stop()
    assert.equal((await own(h1)).length, 2)
    assert.equal((await flanneld(h1, ['cleanup'])).code, 0)
    assert.deepEqual(await own(h1), [])
    assertSame(await others(), before)
  })
})

/** Which number an object of ours has is its own affair: one that was taken for a moment is another one afterwards. */
function withoutNumber(line: string): string {
  return line.includes('proto 102') ? line.replace(/(^id|nhid) \d+/, '$1 N') : line
}
