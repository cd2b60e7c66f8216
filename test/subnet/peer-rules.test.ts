import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Cidr, contains, type IpAddr, overlaps } from '../../lib/address.ts'
import { PersistentMap } from '../../lib/persistent-map.ts'
import type { PeerRuleInput } from '../../subnet/lease-verdict.ts'
import { acceptPeers, PeerJudge, type PeerVerdicts } from '../../subnet/peer-rules.ts'
import { emptySurroundings, type Surroundings } from '../../subnet/surroundings.ts'
import type { Lease } from '../../subnet/types.ts'
import { type LeaseSketch, lease, networkOf, snapshot } from './leases.ts'
import { surroundingsOf } from './surroundings.ts'

const network = networkOf({ Network: '10.5.0.0/16' })
const dual = networkOf({ Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' })
const own = lease('10.5.1.0/24', { ip: '192.168.64.1', node: 'me', mac: '02:00:00:00:00:01', tunnelIp: '192.168.70.1' })

const surroundings = surroundingsOf({
  addresses: ['10.5.200.7 dev eth1', '192.168.64.1 dev eth0'],
  gateways: ['10.5.201.254'],
  store: ['10.5.202.9'],
  routes: [
    '192.168.64.0/24 dev eth0',
    '10.0.0.0/8 dev tun0',
    '10.5.203.0/24 dev eth0 metric 50',
    'blackhole 10.5.204.0/24',
    'unreachable 10.5.205.0/24 metric 7',
    '10.5.206.0/24 via 192.168.64.9 boot',
    '10.5.207.64/26 dev eth1',
  ],
})

function judge(leases: readonly Lease[], more: Partial<PeerRuleInput> = {}) {
  const input = {
    snapshot: snapshot([own, ...leases]),
    own,
    network,
    surroundings,
    protectedRanges: ['169.254.0.0/16' as Cidr, '10.5.96.0/20' as Cidr],
    ...more,
  }
  return acceptPeers(input)
}

const reasons = (leases: readonly Lease[], more: Partial<PeerRuleInput> = {}) =>
  judge(leases, more).rejected.map(({ id, reason }) => `${id} ${reason}`)

describe('acceptPeers', () => {
  const bad: readonly [string, string, LeaseSketch, string][] = [
    ['the host\u2019s network', '192.168.64.0/24', {}, 'outside-network'],
    ['everything', '128.0.0.0/1', {}, 'outside-network'],
    ['the network itself', '10.5.0.0/16', {}, 'own-subnet'],
    ['a part of ours', '10.5.1.128/25', {}, 'own-subnet'],
    ['an address of this host', '10.5.200.0/24', {}, 'host-range'],
    ['an address of this host in a wider subnet', '10.5.200.0/23', { tunnelIp: '10.0.0.1' }, 'host-range'],
    ['a gateway of this host', '10.5.201.0/24', {}, 'host-range'],
    ['an endpoint of the store', '10.5.202.0/24', {}, 'host-range'],
    ['the destination of a connected route at another metric', '10.5.203.0/24', {}, 'host-range'],
    ['the destination of a blackhole route', '10.5.204.0/24', {}, 'host-range'],
    ['the destination of an unreachable route', '10.5.205.0/24', {}, 'host-range'],
    ['a protected range', '10.5.97.0/24', {}, 'protected-range'],
    ['no address', '10.5.2.0/24', { ip: '0.0.0.0' }, 'bad-public-address'],
    ['a loopback address', '10.5.2.0/24', { ip: '127.0.0.1' }, 'bad-public-address'],
    ['a multicast address', '10.5.2.0/24', { ip: '224.0.0.1' }, 'bad-public-address'],
    ['the broadcast address', '10.5.2.0/24', { ip: '255.255.255.255' }, 'bad-public-address'],
    ['our public address', '10.5.2.0/24', { ip: '192.168.64.1' }, 'own-public-address'],
    ['our tunnel address', '10.5.2.0/24', { ip: '192.168.70.1' }, 'own-public-address'],
    ['another address of this host', '10.5.2.0/24', { ip: '10.5.200.7' }, 'own-public-address'],
    ['an address inside our subnet', '10.5.2.0/24', { ip: '10.5.1.7' }, 'public-address-inside'],
    ['an address inside its own subnet', '10.5.2.0/24', { ip: '10.5.2.7' }, 'public-address-inside'],
    ['a loopback tunnel address', '10.5.2.0/24', { tunnelIp: '127.0.0.1' }, 'bad-tunnel-address'],
    ['a tunnel address inside the network', '10.5.2.0/24', { tunnelIp: '10.5.2.7' }, 'tunnel-address-inside'],
    ['our NodeID', '10.5.2.0/24', { node: 'me' }, 'own-identity'],
    ['our MAC in capitals', '10.5.2.0/24', { mac: '02:00:00:00:00:01'.toUpperCase() }, 'duplicate-mac'],
    ['nobody behind a reservation', '10.5.2.0/24', { reserved: true, backend: '' }, 'unclaimed-reservation'],
    ['no enabled family', 'fc00:0:0:1::/64', {}, 'no-family'],
  ]
  for (const [what, subnets, sketch, reason] of bad) {
    it(`rejects a lease with ${what}: ${reason}`, () => {
      const one = lease(subnets, sketch)
      const good = lease('10.5.3.0/24', { ip: '192.168.64.33' })
      const verdicts = judge([one, good])
      assert.deepEqual([...verdicts.accepted.keys()], [good.id])
      assert.deepEqual(
        verdicts.rejected.map((r) => [r.id, r.reason]),
        [[one.id, reason]],
      )
    })
  }

  const good: readonly [string, string, LeaseSketch][] = [
    ['of another length, longer', '10.5.2.0/26', {}],
    ['of another length, shorter', '10.5.2.0/23', {}],
    ['with the first subnet of the network', '10.5.0.0/24', {}],
    ['with a link-local address', '10.5.2.0/24', { ip: '169.254.1.1' }],
    ['with an address inside the network and no subnet', '10.5.2.0/24', { ip: '10.5.77.7' }],
    ['with a tunnel address inside the network', '10.5.2.0/24', { tunnelIp: '10.5.77.7' }],
    ['with an address beside ours in the LAN', '10.5.2.0/24', { ip: '192.168.64.77' }],
    ['with an address of class E', '10.5.2.0/24', { ip: '240.0.0.1' }],
    ['that flannel has routed already', '10.5.206.0/24', {}],
    ['around a longer route of this host', '10.5.207.0/24', {}],
    ['inside a wider route of this host', '10.5.208.0/24', {}],
  ]
  for (const [what, subnets, sketch] of good) {
    it(`accepts a lease ${what}`, () => assert.deepEqual(reasons([lease(subnets, sketch)]), []))
  }

  it('names routes of the host beside accepted subnets, and only those', () => {
    const leases = ['10.5.207.0/24', '10.5.208.0/24', '10.5.203.0/24'].map((subnet, n) =>
      lease(subnet, { ip: `10.9.0.${n + 1}`, age: n }),
    )
    const named = judge(leases).overlaps.map(({ route, subnets, count }) => [route.text, subnets, count])
    assert.deepEqual(named, [
      ['10.0.0.0/8 dev tun0', ['10.5.207.0/24', '10.5.208.0/24'], 2],
      ['10.5.207.64/26 dev eth1', ['10.5.207.0/24'], 1],
    ])
  })

  it('names them still where one lease loses a subnet to another one', () => {
    const around = { network: dual, surroundings: surroundingsOf({ routes: ['10.5.0.0/17 dev tun0'] }) }
    const younger = lease('10.5.2.0/24', { ip: '10.0.0.1', age: 2 })
    const older = lease('10.5.2.0/24 fc00:0:0:5::/64', { ip: '10.0.0.2', ip6: 'fe80::2', age: 1 })
    const judged = new PeerJudge()
    for (const leases of [[younger], [younger, older]]) {
      const { overlaps } = judged.judge({ ...base, ...around, snapshot: snapshot(leases) })
      assert.deepEqual(
        overlaps.map(({ subnets }) => subnets),
        [['10.5.2.0/24']],
      )
    }
  })

  it('finds nothing wrong with a subnet because of the bridge of the own one', () => {
    const docker = surroundingsOf({
      addresses: ['10.5.1.1 dev docker0', '10.5.9.1 dev docker0'],
      bridges: ['docker0 10.5.1.1/24'],
    })
    assert.deepEqual(reasons([lease('10.5.9.0/24')], { surroundings: docker }), [])
    assert.deepEqual(judge([], { surroundings: docker }).own, [])
  })

  it('says what is wrong with the own subnet', () => {
    for (const around of [
      { addresses: ['10.5.1.9 dev eth0'] },
      { gateways: ['10.5.1.254'] },
      { store: ['10.5.1.7'] },
      { routes: ['10.5.1.0/24 dev eth3'] },
    ]) {
      const { own: harms } = judge([], { surroundings: surroundingsOf(around) })
      assert.equal(harms.length, 1, JSON.stringify(around))
    }
    const blackhole = surroundingsOf({ routes: ['blackhole 10.5.1.0/24 boot'] })
    assert.deepEqual(judge([], { surroundings: blackhole }).own, [])
  })

  const containing = lease('10.5.2.0/24', { ip: '10.9.0.1' })
  for (const [what, sketch] of [
    ['public', { ip: '10.5.2.9' }],
    ['tunnel', { ip: '10.9.0.2', tunnelIp: '10.5.2.9' }],
  ] as const) {
    const lan = { surroundings: surroundingsOf({ routes: ['10.5.2.0/23 dev eth0'] }) }
    const far = {}
    const outcomes: readonly [string, number, typeof lan | typeof far, 'containing' | 'inside'][] = [
      ['older', 0, far, 'containing'],
      ['older, on a network of this host', 0, lan, 'containing'],
      ['younger, on a network of this host', 2, lan, 'containing'],
      ['younger, with no route to it in particular', 2, far, 'inside'],
    ]
    for (const [who, age, around, loser] of outcomes) {
      it(`lets of a subnet and the ${what} address of a lease that is ${who}, the ${loser} one go, in any order`, () => {
        const inside = lease('10.5.3.0/24', { ...sketch, age })
        const [lost, kept, reason] =
          loser === 'containing'
            ? [containing, inside, 'peer-address']
            : [inside, containing, what === 'public' ? 'public-address-inside' : 'tunnel-address-inside']
        for (const order of [
          [containing, inside],
          [inside, containing],
        ]) {
          assert.deepEqual(reasons(order, around), [`${lost.id} ${reason}`])
          const judge = new PeerJudge()
          judge.judge({ ...base, ...around, snapshot: snapshot(order.slice(0, 1)) })
          const { accepted } = judge.judge({ ...base, ...around, snapshot: snapshot(order) })
          assert.deepEqual([...accepted.keys()], [kept.id])
          const alone = judge.judge({ ...base, ...around, snapshot: snapshot([lost]) })
          assert.deepEqual([...alone.accepted.keys()], [lost.id])
        }
      })
    }
  }

  it('lets a subnet that contains the addresses of several nodes lose to them, however young they are', () => {
    const two = [lease('10.5.3.0/24', { ip: '10.5.2.9', age: 2 }), lease('10.5.4.0/24', { ip: '10.5.2.10', age: 3 })]
    assert.deepEqual(reasons([containing, ...two]), [`${containing.id} peer-address`])
  })

  it('lets no lease that is none take another’s subnet away by its address', () => {
    const stranger = lease('10.6.0.0/24', { ip: '10.5.2.9' })
    assert.deepEqual(reasons([containing, stranger]), ['10.6.0.0-24 outside-network'])
  })

  it('counts our own addresses, too, where a subnet contains them', () => {
    const nat = lease('10.5.1.0/24', { ip: '10.5.2.77', node: 'me' })
    assert.deepEqual(reasons([containing], { own: nat, snapshot: snapshot([nat, containing]) }), [
      `${containing.id} peer-address`,
    ])
  })

  const pairs: readonly [string, Lease, Lease, string, Partial<PeerRuleInput>][] = [
    [
      'public address',
      lease('10.5.2.0/24', { age: 5 }),
      lease('10.5.3.0/24', { age: 4 }),
      'duplicate-public-address',
      {},
    ],
    [
      'MAC',
      lease('10.5.2.0/24', { age: 5, ip: '10.0.0.1', mac: '02:00:00:00:00:07' }),
      lease('10.5.3.0/24', { age: 4, ip: '10.0.0.2', mac: '02:00:00:00:00:07' }),
      'duplicate-mac',
      {},
    ],
    [
      'larger subnet',
      lease('10.5.2.0/24', { age: 5, ip: '10.0.0.1' }),
      lease('10.5.2.0/23', { age: 4, ip: '10.0.0.2' }),
      'overlap',
      {},
    ],
    [
      'smaller subnet',
      lease('10.5.2.0/23', { age: 5, ip: '10.0.0.1' }),
      lease('10.5.3.0/24', { age: 4, ip: '10.0.0.2' }),
      'overlap',
      {},
    ],
  ]
  for (const [what, younger, older, reason, more] of pairs) {
    it(`lets the older of two with one ${what} win and names both`, () => {
      for (const order of [
        [younger, older],
        [older, younger],
      ]) {
        const verdicts = judge(order, more)
        assert.deepEqual([...verdicts.accepted.values()], [older])
        assert.deepEqual(
          verdicts.rejected.map((r) => [r.id, r.reason]),
          [[younger.id, reason]],
        )
        assert.ok(verdicts.rejected[0]?.text.includes(older.id))
      }
    })
  }

  it('judges each enabled family and no other', () => {
    const both = lease('10.5.2.0/24 fc00:0:0:5::/64', { ip6: 'ff02::1' })
    assert.deepEqual(reasons([both]), [])
    assert.deepEqual(reasons([both], { network: dual }), ['10.5.2.0-24&fc00:0:0:5::-64 bad-public-address'])
    assert.deepEqual(reasons([lease('10.5.2.0/24 fc00:0:0:5::/63', { ip6: 'fe80::1' })], { network: dual }), [])
    assert.deepEqual(
      reasons([lease('fc00:0:0:5::/64')], {
        network: dual,
        surroundings: surroundingsOf({ addresses: ['fc00:0:0:5::7 dev eth0'], routes: ['fc00::/32 dev eth0'] }),
      }),
      ['fc00:0:0:5::-64 host-range'],
    )
    assert.deepEqual(reasons([lease('10.5.2.0/24')], { network: dual }), [])
  })

  it('leaves a lease the family that nothing of this host lies in the way of', () => {
    const both = lease('10.5.97.0/24 fc00:0:0:5::/64', { ip: '10.0.0.1', ip6: 'fe80::1', age: 1 })
    const younger = lease('10.5.97.0/25 fc00:0:0:6::/64', { ip: '10.0.0.1', ip6: 'fe80::1', age: 2 })
    for (const [ranges, families, faults] of [
      [['10.5.96.0/20'], [6], ['protected-range']],
      [['fc00:0:0:5::/64'], [4], ['protected-range']],
      [['10.5.96.0/20', 'fc00:0:0:5::/64'], [], ['protected-range', 'protected-range']],
    ] as const) {
      const protectedRanges = ranges as readonly unknown[] as readonly Cidr[]
      const { accepted, rejected } = judge([both], { network: dual, protectedRanges })
      assert.deepEqual([...(accepted.get(both.id)?.families.keys() ?? [])], families)
      assert.deepEqual(
        rejected.map(({ reason }) => reason),
        faults,
      )
    }
    // In the family that is left it excludes others as ever.
    const protectedRanges = ['10.5.96.0/20' as Cidr]
    assert.deepEqual(reasons([both, younger], { network: dual, protectedRanges }), [
      `${both.id} protected-range`,
      `${younger.id} protected-range`,
      `${younger.id} duplicate-public-address`,
    ])
    const peers = new PeerJudge()
    const input = { ...base, network: dual, protectedRanges }
    peers.judge({ ...input, snapshot: snapshot([both]) })
    assert.deepEqual([...peers.judge({ ...input, snapshot: snapshot([]) }).accepted.keys()], [])
  })

  it('leaves a lease one family where its subnet of the other one is ours', () => {
    const part = { subnet: 'fc00:0:0:5::/64' as Cidr, publicIp: 'fe80::9' as IpAddr }
    const mine = { ...own, families: new Map([...own.families, [6 as const, part] as const]) }
    const both = lease('10.5.2.0/24 fc00:0:0:5::/64', { ip6: 'fe80::1' })
    const { accepted, rejected } = judge([both], { network: dual, own: mine })
    assert.deepEqual([...(accepted.get(both.id)?.families.keys() ?? [])], [4])
    assert.deepEqual(
      rejected.map(({ reason }) => reason),
      ['own-subnet'],
    )
  })

  describe('of two leases of both families', () => {
    const v6 = 'fc00:0:0:5::/64'
    const older = lease(`10.5.2.0/24 ${v6}`, { ip: '10.0.0.1', ip6: 'fe80::1', age: 1 })
    const whatIsLeft = (other: Lease, third?: Lease) => {
      const leases = [other, older, ...(third === undefined ? [] : [third])]
      const { accepted, rejected } = judge(leases, { network: dual })
      const families = leases.map(({ id }) => [...(accepted.get(id)?.families.keys() ?? [])].join())
      return [families, rejected.map(({ reason }) => reason)]
    }

    it('leaves the younger one the family in which it takes nothing from the older one', () => {
      const younger = lease(`10.5.3.0/24 ${v6}`, { ip: '10.0.0.2', ip6: 'fe80::2', age: 2 })
      assert.deepEqual(whatIsLeft(younger), [['4', '4,6'], ['overlap']])
      const inIpv4 = lease('10.5.2.0/25 fc00:0:0:6::/64', { ip: '10.0.0.2', ip6: 'fe80::2', age: 2 })
      assert.deepEqual(whatIsLeft(inIpv4), [['6', '4,6'], ['overlap']])
      const inBoth = lease(`10.5.2.0/25 ${v6}`, { ip: '10.0.0.2', ip6: 'fe80::2', age: 2 })
      assert.deepEqual(whatIsLeft(inBoth), [
        ['', '4,6'],
        ['overlap', 'overlap'],
      ])
    })

    it('leaves a lease the family in which its subnet contains no address of others', () => {
      const around = lease('10.5.3.0/24 fd00:1::/64', { ip: '10.0.0.2', ip6: 'fe80::2', age: 2 })
      const wide = networkOf({ Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fd00:1::/48' })
      const inside = lease('10.5.4.0/24 fd00:1:0:7::/64', { ip: '10.0.0.3', ip6: 'fd00:1::9', age: 1 })
      const { accepted, rejected } = judge([around, inside], { network: wide })
      assert.deepEqual([...(accepted.get(around.id)?.families.keys() ?? [])], [4])
      assert.deepEqual(
        rejected.map(({ reason }) => reason),
        ['peer-address'],
      )
    })

    it('rejects as a whole what names the address of another node', () => {
      for (const [sketch, reason] of [
        [{ ip: '10.0.0.1', ip6: 'fe80::2' }, 'duplicate-public-address'],
        [{ ip: '10.0.0.2', ip6: 'fe80::1' }, 'duplicate-public-address'],
      ] as const) {
        const younger = lease('10.5.3.0/24 fc00:0:0:6::/64', { ...sketch, age: 2 })
        assert.deepEqual(whatIsLeft(younger), [['', '4,6'], [reason]])
      }
      // What stands in the family that it loses says nothing against the other one.
      const younger = lease(`10.5.3.0/24 ${v6}`, { ip: '10.0.0.2', ip6: 'fe80::1', age: 2 })
      assert.deepEqual(whatIsLeft(younger), [['4', '4,6'], ['overlap']])
      const inside = lease('10.5.3.0/24 fc00:0:0:6::/64', { ip: '10.5.2.7', ip6: 'fe80::2', age: 2 })
      assert.deepEqual(whatIsLeft(inside), [['6', '4,6'], ['public-address-inside']])
    })

    it('says of each fault which family it takes, and of one that takes all of it none', () => {
      const inBoth = lease(`10.5.2.0/25 ${v6}`, { ip: '10.0.0.2', ip6: 'fe80::2', age: 2 })
      const inOne = lease('10.5.2.0/26', { ip: '10.0.0.3', age: 3 })
      const { rejected } = judge([older, inBoth, inOne], { network: dual })
      assert.deepEqual(
        rejected.map(({ id, family }) => [id, family]),
        [
          [inBoth.id, 4],
          [inBoth.id, 6],
          [inOne.id, undefined],
        ],
      )
    })

    it('lets nobody lose a subnet to a family that another lease has lost itself', () => {
      const second = lease('10.5.3.0/24 fc00:0:0:4::/63', { ip: '10.0.0.2', ip6: 'fe80::2', age: 2 })
      const third = lease('10.5.4.0/24 fc00:0:0:4::/64', { ip: '10.0.0.3', ip6: 'fe80::3', age: 3 })
      assert.deepEqual(whatIsLeft(second, third), [['4', '4,6', '4,6'], ['overlap']])
      // The older one goes, and its loser has both again, which the third one then loses.
      const judged = new PeerJudge()
      const input = { ...base, network: dual }
      judged.judge({ ...input, snapshot: snapshot([older, second, third]) })
      const { accepted } = judged.judge({ ...input, snapshot: snapshot([second, third]) })
      assert.deepEqual(
        [second, third].map(({ id }) => [...(accepted.get(id)?.families.keys() ?? [])].join()),
        ['4,6', '4'],
      )
    })

    it('gives the same lease for what is left of it while that stays so', () => {
      const younger = lease(`10.5.3.0/24 ${v6}`, { ip: '10.0.0.2', ip6: 'fe80::2', age: 2 })
      const judged = new PeerJudge()
      const input = { ...base, network: dual }
      const before = judged.judge({ ...input, snapshot: snapshot([older, younger]) }).accepted.get(younger.id)
      const third = lease('10.5.9.0/24 fc00:0:0:4::/63', { ip: '10.0.0.9', ip6: 'fe80::9', age: 3 })
      const after = judged.judge({ ...input, snapshot: snapshot([older, younger, third]) }).accepted.get(younger.id)
      assert.ok(before !== undefined && before === after)
    })
  })

  it('shows what the store could not read', () => {
    const unreadable = [{ id: 'notes', reason: 'foreign-key', text: 'x' }]
    assert.deepEqual(acceptPeers({ ...base, snapshot: snapshot([], unreadable) }).rejected, unreadable)
  })

  const anyLease = fc
    .record({
      at: fc.integer({ min: 0, max: 12 }),
      length: fc.constantFrom(22, 23, 24, 25),
      // Some inside subnets that others may have.
      ip: fc.oneof(
        fc.integer({ min: 1, max: 6 }).map((n) => `10.0.0.${n}`),
        fc.integer({ min: 0, max: 12 }).map((n) => `10.5.${n >> 1}.${n}`),
      ),
      tunnelIp: fc.option(
        fc.integer({ min: 0, max: 12 }).map((n) => `10.5.${n >> 1}.${100 + n}`),
        { freq: 5, nil: undefined },
      ),
      mac: fc.integer({ min: 1, max: 6 }),
      age: fc.integer({ min: 1, max: 5 }),
      v6: fc.option(
        fc.record({
          at: fc.integer({ min: 1, max: 4 }),
          isWide: fc.boolean(),
          ip6: fc.constantFrom('fe80::1', 'fe80::2', 'fe80::3', 'fc00:0:0:1::9', 'fc00:0:0:3::9', 'fc00:0:0:9::9'),
        }),
        { nil: undefined },
      ),
    })
    .map(({ at, length, ip, tunnelIp, mac, age, v6 }) => {
      const start = ((at * 128) >> (32 - length)) << (32 - length)
      const subnet = `10.5.${start >> 8}.${start & 255}/${length}`
      const sketch = { ip, mac: `02:00:00:00:00:1${mac}`, age }
      if (v6 === undefined) return lease(subnet, tunnelIp === undefined ? sketch : { ...sketch, tunnelIp })
      const subnet6 = v6.isWide ? `fc00:0:0:${v6.at & ~1}::/63` : `fc00:0:0:${v6.at}::/64`
      return lease(`${subnet} ${subnet6.replace('fc00:0:0:0::', 'fc00::')}`, { ...sketch, ip6: v6.ip6 })
    })

  const anySurroundings = fc.constantFrom(
    surroundings,
    emptySurroundings,
    surroundingsOf({ routes: ['10.5.2.0/24 dev eth1', '10.5.0.0/22 dev eth1', '10.5.5.16/28 dev eth2'] }),
    surroundingsOf({ addresses: ['10.5.3.1 dev eth0', '10.5.1.1 dev cni0'], bridges: ['cni0 10.5.1.1/24'] }),
    surroundingsOf({ gateways: ['10.5.4.129'], store: ['10.5.2.200'] }),
  )

  it('never depends on the order, and never accepts an overlap or a route outside the network', () => {
    const many = fc.uniqueArray(
      anyLease.filter(({ id }) => id !== own.id),
      { maxLength: 12, selector: ({ id }) => id },
    )
    fc.assert(
      fc.property(many, anySurroundings, (leases, around) => {
        const input = { network: dual, surroundings: around }
        const verdicts = judge(leases, input)
        assert.deepEqual(judge([...leases].reverse(), input), verdicts)
        const whole = leases.filter(({ id, families }) => verdicts.accepted.get(id)?.families.size === families.size)
        const rejected = new Set(verdicts.rejected.map(({ id }) => id))
        assert.equal(whole.length + rejected.size, leases.length)
        const inIpv6 = [...verdicts.accepted.values()].flatMap((one) => one.families.get(6) ?? [])
        for (const [index, { subnet }] of inIpv6.entries()) {
          for (const b of inIpv6.slice(index + 1)) assert.ok(!overlaps(subnet, b.subnet), `${subnet} ${b.subnet}`)
          for (const { publicIp } of inIpv6) assert.ok(!contains(subnet, publicIp), `${subnet} ${publicIp}`)
        }
        const parts = [own, ...verdicts.accepted.values()].flatMap((one) => one.families.get(4) ?? [])
        for (const [index, { subnet }] of parts.entries()) {
          assert.ok(contains('10.5.0.0/16' as Cidr, subnet))
          for (const b of parts.slice(index + 1)) assert.ok(!overlaps(subnet, b.subnet), `${subnet} ${b.subnet}`)
          for (const { publicIp, tunnelIp } of parts) {
            assert.ok(!contains(subnet, publicIp) && !(tunnelIp && contains(subnet, tunnelIp)), `${subnet} ${publicIp}`)
          }
          if (index === 0) continue
          for (const { address } of around.addresses) assert.ok(!contains(subnet, address), `${subnet} ${address}`)
          for (const { dst, adoptable } of around.routes) assert.ok(adoptable || dst !== subnet, dst)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('gives the verdicts of a new judge after any sequence of snapshots and of the host’s changes', () => {
    type Step = { readonly leases: (held: readonly Lease[]) => readonly Lease[]; readonly around?: Surroundings }
    const histories = fc.array(
      fc.oneof(
        anyLease.map((one): Step => ({ leases: (held) => [...held.filter(({ id }) => id !== one.id), one] })),
        // Mostly leases that have nothing against each other, so that the judge can go on where it was.
        fc.nat({ max: 20 }).map((n): Step => {
          const one = lease(`10.5.${100 + n}.0/24`, { ip: `10.1.0.${n}`, mac: `02:00:00:00:01:${10 + n}` })
          return { leases: (held) => [...held.filter(({ id }) => id !== one.id), one] }
        }),
        fc.nat({ max: 11 }).map((at): Step => ({ leases: (held) => held.filter((_one, index) => index !== at) })),
        anySurroundings.map((around): Step => ({ leases: (held) => held, around })),
      ),
      { maxLength: 30 },
    )
    const overlapsOf = ({ overlaps }: PeerVerdicts) =>
      overlaps.map(({ route, count }) => `${route.text} ${count}`).sort()
    fc.assert(
      fc.property(histories, (steps) => {
        const judge = new PeerJudge()
        let held: readonly Lease[] = []
        let around = emptySurroundings
        for (const step of steps) {
          held = step.leases(held)
          around = step.around ?? around
          const input = { ...base, network: dual, surroundings: around, snapshot: snapshot(held) }
          const [verdicts, anew] = [judge.judge(input), acceptPeers(input)]
          assert.deepEqual(verdicts.rejected, anew.rejected)
          assert.deepEqual(new Map(verdicts.accepted), new Map(anew.accepted))
          assert.deepEqual(overlapsOf(verdicts), overlapsOf(anew))
          assert.deepEqual(verdicts.own, anew.own)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('judges 5,000 leases as it judges one', () => {
    const wide = networkOf({ Network: '10.0.0.0/8' })
    const leases = Array.from({ length: 5000 }, (_unused, n) =>
      lease(`10.${1 + (n >> 8)}.${n & 255}.0/24`, {
        ip: `172.16.${n >> 8}.${n & 255}`,
        age: n + 1,
        node: `n${n}`,
        mac: `02:00:00:00:${(n >> 8).toString(16).padStart(2, '0')}:${(n & 255).toString(16).padStart(2, '0')}`,
      }),
    )
    const input = {
      ...base,
      network: wide,
      own: lease('10.200.0.0/24', { node: 'me', ip: '172.31.0.1' }),
      snapshot: snapshot(leases),
    }
    assert.equal(acceptPeers(input).accepted.size, 5000)
  })

  it('looks at no other lease when one changes that has nothing to do with those that exclude each other', () => {
    const seen = new Set<string>()
    const watched = (one: Lease): Lease =>
      new Proxy(one, {
        get(target, name) {
          seen.add(target.id)
          return Reflect.get(target, name)
        },
      })
    const peers = Array.from({ length: 200 }, (_unused, n) =>
      lease(`10.5.${n + 2}.0/24`, { ip: `10.1.0.${n}`, mac: `02:00:00:00:02:${n}`, age: n + 1 }),
    )
    const loser = lease('10.5.210.0/24', { ip: '10.1.0.7', mac: '02:00:00:00:03:01', age: 500 })
    const changed = lease('10.5.50.0/24', { ip: '10.1.1.50', mac: '02:00:00:00:04:01', age: 48 })
    const judge = new PeerJudge()
    const before = PersistentMap.from([...peers, loser].map((one) => [one.id, watched(one)] as const))
    const input = { ...base, snapshot: { ...snapshot([]), leases: before } }
    assert.deepEqual(
      judge.judge(input).rejected.map(({ id }) => id),
      [loser.id],
    )
    seen.clear()
    const leases = before.patched([], [[changed.id, changed]])
    const { accepted } = judge.judge({ ...input, snapshot: { ...input.snapshot, leases } })
    assert.equal(accepted.get(changed.id), changed)
    // The loser is named anew, and what was there before the change is taken back.
    assert.deepEqual([...seen].sort(), [loser.id, changed.id].sort())
  })

  it('lets a loser in when the winner leaves, and says so of nobody else', () => {
    const pair = [1, 2].map((n) => lease(`10.5.${n + 1}.0/24`, { ip: '10.1.0.7', mac: `02:00:00:00:03:0${n}`, age: n }))
    const judge = new PeerJudge()
    const first = judge.judge({ ...base, snapshot: snapshot(pair) })
    assert.deepEqual([...first.accepted.keys()], [pair[0]?.id])
    const second = judge.judge({ ...base, snapshot: snapshot(pair.slice(1)) })
    assert.deepEqual([...second.accepted.keys(), ...second.rejected], [pair[1]?.id])
  })

  const base: PeerRuleInput = {
    snapshot: snapshot([]),
    own,
    network,
    surroundings: emptySurroundings,
    protectedRanges: [],
  }
})
