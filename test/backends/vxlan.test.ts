import assert from 'node:assert/strict'
import type { HostFacts } from '../../backends/backend.ts'
import type { AnyBackend } from '../../backends/registry.ts'
import { vxlan as backend } from '../../backends/vxlan/backend.ts'
import { nexthopId } from '../../kernel/kinds/nexthop/kind.ts'
import type { Family, IpAddr, MacAddr } from '../../lib/address.ts'
import { ConfigError } from '../../lib/errors.ts'
import type { Lease } from '../../subnet/types.ts'
import { commandText, facts, lease, MACS, network, type PlanWorld, planOf, vxlanPath } from './world.ts'

const vxlan = backend as AnyBackend
const own = lease('10.5.1.0/24 192.168.64.11', vxlanPath(MACS.own))
const identity = new Map<Family, MacAddr>([[4, MACS.own]])
const near = lease('10.5.2.0/24 192.168.64.12', vxlanPath('02:00:00:00:00:12'))
const far = lease('10.5.3.0/24 192.168.65.13', vxlanPath('02:00:00:00:00:13'))
const world = (change: Partial<PlanWorld> = {}): PlanWorld => ({
  backend: vxlan,
  identity,
  own,
  peers: [near, far],
  ...change,
})
const answered = {
  '192.168.64.12': { onLink: 'eth0', answered: true },
  '192.168.65.13': { onLink: undefined, answered: false },
}

describe('vxlan plan', () => {
  it('makes one device and, per peer, a neighbour, an FDB entry and a route', () => {
    const plan = planOf(world())
    assert.equal(
      commandText(plan),
      `ip link add flannel.1 address 02:00:00:00:00:11 mtu 1450 type vxlan id 1 local 192.168.64.11 dev eth0 dstport 8472 nolearning ttl auto
ip link set flannel.1 up
ip address add 10.5.1.0/32 dev flannel.1
echo 2 > /proc/sys/net/ipv4/conf/flannel.1/rp_filter
ip neighbour add 10.5.2.0 lladdr 02:00:00:00:00:12 dev flannel.1 nud permanent
bridge fdb add 02:00:00:00:00:12 dev flannel.1 dst 192.168.64.12 self permanent
ip route add 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 102 onlink
ip neighbour add 10.5.3.0 lladdr 02:00:00:00:00:13 dev flannel.1 nud permanent
bridge fdb add 02:00:00:00:00:13 dev flannel.1 dst 192.168.65.13 self permanent
ip route add 10.5.3.0/24 via 10.5.3.0 dev flannel.1 proto 102 onlink`,
    )
    assert.equal(plan.mtu, 1450)
    assert.deepEqual(
      [...plan.paths],
      [
        [near.id, 'tunnel'],
        [far.id, 'tunnel'],
      ],
    )
  })

  it('reaches peers in the tunnel through nexthop objects where the kernel has them, and direct ones without', () => {
    const modern = { ...facts(answered), nexthops: true }
    const text = commandText(planOf(world({ config: { DirectRouting: true }, facts: modern })))
    const id = nexthopId({ device: 'flannel.1', via: '10.5.3.0' })
    assert.deepEqual(
      text.split('\n').filter((line) => /^ip (?:nexthop|route)/.test(line)),
      [
        'ip route add 10.5.2.0/24 via 192.168.64.12 dev eth0 proto 102',
        `ip nexthop add id ${id} via 10.5.3.0 dev flannel.1 onlink proto 102`,
        `ip route add 10.5.3.0/24 nhid ${id} proto 102`,
      ],
    )
  })

  it('with DirectRouting routes an on-link peer that answered via the peer itself', () => {
    const plan = planOf(world({ config: { DirectRouting: true }, facts: facts(answered) }))
    assert.match(commandText(plan), /^ip route add 10\.5\.2\.0\/24 via 192\.168\.64\.12 dev eth0 proto 102$/m)
    assert.doesNotMatch(commandText(plan), /02:00:00:00:00:12/)
    assert.match(commandText(plan), /02:00:00:00:00:13/)
    assert.equal(plan.paths.get(near.id), 'direct')
    assert.equal(plan.paths.get(far.id), 'tunnel')
  })

  it('stays in the tunnel until the neighbour has answered, and without DirectRouting always', () => {
    const silent = facts({ '192.168.64.12': { onLink: 'eth0', answered: false } })
    assert.equal(planOf(world({ config: { DirectRouting: true }, facts: silent })).paths.get(near.id), 'tunnel')
    assert.equal(planOf(world({ facts: facts(answered) })).paths.get(near.id), 'tunnel')
  })

  it('loosens a strict uplink while direct paths are in use, and only then', () => {
    const strict = { ...facts(answered), strictReversePath: true }
    const loosened = /^echo 2 > \/proc\/sys\/net\/ipv4\/conf\/eth0\/rp_filter$/m
    assert.match(commandText(planOf(world({ config: { DirectRouting: true }, facts: strict }))), loosened)
    assert.doesNotMatch(commandText(planOf(world({ facts: strict }))), loosened)
    assert.doesNotMatch(
      commandText(planOf(world({ config: { DirectRouting: true }, facts: facts(answered) }))),
      loosened,
    )
  })

  it('follows VNI, Port, GBP, Learning and MTU', () => {
    const config = { VNI: 7, Port: 4789, GBP: true, Learning: true, MTU: 1400 }
    const plan = planOf(
      world({ config, peers: [lease('10.5.2.0/24 192.168.64.12', vxlanPath('02:00:00:00:00:12', undefined, 7))] }),
    )
    assert.match(
      commandText(plan),
      /^ip link add flannel\.7 .* mtu 1350 type vxlan id 7 .* dstport 4789 learning ttl auto gbp$/m,
    )
    assert.equal(plan.mtu, 1350)
  })

  it('never asks for a device larger than the kernel would make it', () => {
    assert.equal(planOf(world({ config: { MTU: 9000 } })).mtu, 1450)
  })

  it('gives each family a device of its own and the smaller MTU', () => {
    const both = network(4, 6)
    const dual = lease('10.5.1.0/24 192.168.64.11 fc00:0:0:1::/64 2001:db8::11', vxlanPath(MACS.own, MACS.own6))
    const peer = lease(
      '10.5.2.0/24 192.168.64.12 fc00:0:0:2::/64 2001:db8::12',
      vxlanPath('02:00:00:00:00:12', '02:00:00:00:06:12'),
    )
    const identities = new Map<Family, MacAddr>([...identity, [6, MACS.own6]])
    const plan = planOf({ backend: vxlan, identity: identities, own: dual, peers: [peer], network: both })
    const text = commandText(plan)
    assert.match(
      text,
      /^ip link add flannel-v6\.1 address 02:00:00:00:06:11 mtu 1430 type vxlan id 1 local 2001:db8::11 dev eth0/m,
    )
    assert.match(text, /^ip address add fc00:0:0:1::\/128 dev flannel-v6\.1$/m)
    assert.match(text, /^bridge fdb add 02:00:00:00:06:12 dev flannel-v6\.1 dst 2001:db8::12 self permanent$/m)
    assert.match(text, /^ip -6 route add fc00:0:0:2::\/64 via fc00:0:0:2:: dev flannel-v6\.1 proto 102 onlink$/m)
    assert.equal(plan.mtu, 1430)
  })

  describe('of two families', () => {
    const dual = lease('10.5.1.0/24 192.168.64.11 fc00:0:0:1::/64 2001:db8::11', vxlanPath(MACS.own, MACS.own6))
    const both = '10.5.2.0/24 192.168.64.12 fc00:0:0:2::/64 2001:db8::12'
    const [mac, mac6] = ['02:00:00:00:00:12', '02:00:00:00:06:12']
    const plan = (peers: readonly Lease[], change: Partial<PlanWorld> = {}) =>
      planOf({
        backend: vxlan,
        identity: new Map<Family, MacAddr>([...identity, [6, MACS.own6]]),
        own: dual,
        peers,
        network: network(4, 6),
        ...change,
      })
    const data = (v4: unknown, v6: unknown) => ({
      backend: 'vxlan',
      data: new Map([
        [4, v4],
        [6, v6],
      ] as [Family, unknown][]),
    })
    const good = { VNI: 1, VtepMAC: mac }
    const good6 = { VNI: 1, VtepMAC: mac6 }
    const cases: readonly [string, Lease, boolean, boolean, readonly string[]][] = [
      ['both', lease(both, data(good, good6)), true, true, []],
      ['IPv4 alone', lease('10.5.2.0/24 192.168.64.12', data(good, undefined)), true, false, []],
      ['IPv6 alone', lease('fc00:0:0:2::/64 2001:db8::12', data(undefined, good6)), false, true, []],
      ['no data for IPv6', lease(both, data(good, undefined)), true, false, ['invalid-vtep']],
      ['another VNI for IPv6', lease(both, data(good, { ...good6, VNI: 2 })), true, false, ['invalid-vtep']],
      ['broken data for IPv4', lease(both, data('x', good6)), false, true, ['invalid-vtep']],
      ['broken data', lease(both, data('x', 'y')), false, false, ['invalid-vtep', 'invalid-vtep']],
    ]
    for (const [name, peer, v4, v6, reasons] of cases) {
      it(`a peer with ${name}: ${[v4 ? 'IPv4' : '', v6 ? 'IPv6' : ''].join(' ').trim() || 'nothing'}`, () => {
        const { skipped, paths, ...made } = plan([peer])
        const text = commandText(made)
        for (const [dst, address, wanted] of [
          ['10.5.2.0/24', mac, v4],
          ['fc00:0:0:2::/64', mac6, v6],
        ] as const) {
          assert.equal(text.includes(`route add ${dst} via`), wanted, dst)
          assert.equal(text.includes(address), wanted, address)
        }
        assert.deepEqual(
          skipped.map(({ reason }) => reason),
          reasons,
        )
        assert.equal(paths.get(peer.id), v4 || v6 ? 'tunnel' : undefined)
      })
    }

    it('a MAC that is taken in one family leaves the other alone', () => {
      const [first, second] = [
        lease(both, data(good, good6)),
        lease(
          '10.5.3.0/24 192.168.64.13 fc00:0:0:3::/64 2001:db8::13',
          data(good, { ...good6, VtepMAC: '02:00:00:00:06:13' }),
        ),
      ]
      const { skipped, ...made } = plan([first, second])
      assert.deepEqual(
        skipped.map(({ id, reason }) => [id, reason]),
        [[second.id, 'duplicate']],
      )
      const text = commandText(made)
      assert.doesNotMatch(text, /10\.5\.3\.0/)
      assert.match(text, /route add fc00:0:0:3::\/64/)
    })

    const remedies: readonly [string, Partial<HostFacts['external']>, object, string][] = [
      ['a roomy uplink', {}, {}, ''],
      ['the smallest that will do', { mtu: 1350 }, {}, ''],
      ['one byte less', { mtu: 1349 }, {}, 'which gets 1279: make the MTU of eth0 at least 1350'],
      [
        'a small Backend.MTU',
        {},
        { MTU: 1329 },
        'which gets 1279: make Backend.MTU at least 1330 and the MTU of eth0 at least 1350',
      ],
    ]
    for (const [name, external, config, remedy] of remedies) {
      it(`names what the address of IPv6 lacks on ${name}`, () => {
        const roles = [...plan([], { config, facts: facts({}, external) }).objects.values()].flatMap(
          ({ kind, role }) => (kind === 'address' && role.class === 'required' ? [role] : []),
        )
        assert.deepEqual(
          roles.map(({ family }) => family),
          [4, 6],
        )
        assert.equal(roles[0]?.remedy, undefined)
        assert.equal((roles[1]?.remedy ?? '').replace(/^.* on flannel-v6\.1, /, ''), remedy)
      })
    }

    it('asks for IPv6 on its device, where new devices may be born without', () => {
      assert.match(commandText(plan([])), /^echo 0 > \/proc\/sys\/net\/ipv6\/conf\/flannel-v6\.1\/disable_ipv6$/m)
      assert.doesNotMatch(commandText(plan([])), /conf\/flannel\.1\/disable_ipv6/)
    })
  })

  it('sends from the interface when the public address is not on this host', () => {
    const foreign = facts({}, { publicIps: new Map<Family, IpAddr>([[4, '203.0.113.9' as IpAddr]]) })
    assert.match(commandText(planOf(world({ facts: foreign }))), /local 192\.168\.64\.11 /)
  })

  const bad: readonly [string, unknown, RegExp][] = [
    ['no MAC', { VNI: 1 }, /VtepMAC: must be a hardware address/],
    ['a multicast MAC', { VNI: 1, VtepMAC: '01:00:5e:00:00:01' }, /not a unicast address/],
    ['the zero MAC', { VNI: 1, VtepMAC: '00:00:00:00:00:00' }, /not a unicast address/],
    ['our own MAC', { VNI: 1, VtepMAC: MACS.own }, /is our own/],
    ['another VNI', { VNI: 2, VtepMAC: '02:00:00:00:00:12' }, /VNI 2 is not ours/],
    ['a string for data', 'hi', /must be a JSON object/],
    ['a VNI out of range', { VNI: -1, VtepMAC: '02:00:00:00:00:12' }, /VNI: must be an integer/],
  ]
  for (const [name, data, text] of bad) {
    it(`skips a peer with ${name} and carries on`, () => {
      const broken = lease('10.5.2.0/24 192.168.64.12', { backend: 'vxlan', data: new Map([[4, data]]) })
      const plan = planOf(world({ peers: [broken, far] }))
      assert.deepEqual(
        plan.skipped.map((peer) => peer.id),
        [broken.id],
      )
      assert.match(plan.skipped[0]?.text ?? '', text)
      assert.match(commandText(plan), /10\.5\.3\.0\/24/)
    })
  }

  it('tells a Windows node, whose VNI is another one on purpose, from one that is wrong', () => {
    for (const [vni, reason] of [
      [4096, 'other-vni'],
      [2, 'invalid-vtep'],
    ] as const) {
      const data = new Map([[4 as const, { VNI: vni, VtepMAC: '02:00:00:00:00:12' }]])
      const plan = planOf(world({ peers: [lease('10.5.2.0/24 192.168.64.12', { backend: 'vxlan', data })] }))
      assert.deepEqual(
        plan.skipped.map((peer) => peer.reason),
        [reason],
      )
    }
  })

  it('skips the later of two peers with one MAC and keeps nothing of it', () => {
    const twin = lease('10.5.4.0/24 192.168.64.14', vxlanPath('02:00:00:00:00:12'))
    const plan = planOf(world({ peers: [near, twin] }))
    assert.deepEqual(
      plan.skipped.map((peer) => [peer.id, peer.reason]),
      [[twin.id, 'duplicate']],
    )
    assert.doesNotMatch(commandText(plan), /10\.5\.4\.0/)
  })
})

describe('vxlan identity', () => {
  const driver = { type: 'vxlan', vni: 1, port: 8472, learning: false, gbp: false } as const
  const standing = (mac: string | undefined) =>
    new Map(mac === undefined ? [] : [['flannel.1', { driver, mac: mac as MacAddr }]])
  const prepare = (change: object, mac?: string) =>
    backend.prepare(backend.parseConfig({}, []), {
      network: network(4),
      facts: { ...facts(), devices: standing(mac) },
      devices: { names: new Map([[4 as const, 'flannel.1']]) },
      previous: undefined,
      randomBytes: (count: number) => new Uint8Array(count).fill(0xff),
      hasFou: async () => false,
      ...change,
    })

  it('keeps the MAC of a living device', async () => {
    const { identity: macs } = await prepare({ previous: vxlanPath('02:00:00:00:00:aa') }, '02:00:00:00:00:bb')
    assert.equal(macs.get(4), '02:00:00:00:00:bb')
  })

  it('takes the MAC of the lease when the device is gone', async () => {
    const { identity: macs, path } = await prepare({ previous: vxlanPath('02:00:00:00:00:aa') })
    assert.equal(macs.get(4), '02:00:00:00:00:aa')
    assert.deepEqual(path.data.get(4), { VNI: 1, VtepMAC: '02:00:00:00:00:aa' })
  })

  it('makes a random, locally administered unicast MAC for a new node', async () => {
    assert.equal((await prepare({})).identity.get(4), 'fe:ff:ff:ff:ff:ff')
  })
})

describe('vxlan configuration', () => {
  const cases: readonly [object, string, string][] = [
    [{ VNI: 0 }, 'Backend.VNI', 'must be an integer from 1 to 16777215'],
    [{ VNI: '1' }, 'Backend.VNI', 'must be an integer from 1 to 16777215'],
    [{ Port: 65536 }, 'Backend.Port', 'must be an integer from 0 to 65535'],
    [{ GBP: 1 }, 'Backend.GBP', 'must be true or false'],
    [{ MTU: 1.5 }, 'Backend.MTU', 'must be an integer from 0 to 65535'],
  ]
  for (const [raw, path, expected] of cases) {
    it(`refuses ${JSON.stringify(raw)}`, () => {
      assert.throws(
        () => backend.parseConfig(raw, []),
        (error) => error instanceof ConfigError && error.path === path && error.expected === expected,
      )
    })
  }

  it('reads keys without regard to case and names unknown ones', () => {
    const warnings: string[] = []
    const config = backend.parseConfig(
      { type: 'vxlan', vni: 3, Directrouting: true, Prot: 1, MacPrefix: '0E-2A' },
      warnings,
    )
    assert.deepEqual([config.vni, config.port, config.directRouting], [3, 8472, true])
    assert.deepEqual(warnings, ['Backend.Prot: unknown key; the nearest known key is Port'])
  })
})
