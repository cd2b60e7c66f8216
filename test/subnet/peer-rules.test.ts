import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Cidr, contains, overlaps } from '../../lib/address.ts'
import { acceptPeers, PeerJudge, type PeerRuleInput } from '../../subnet/peer-rules.ts'
import type { Lease } from '../../subnet/types.ts'
import { type LeaseSketch, lease, networkOf, snapshot } from './leases.ts'

const network = networkOf({ Network: '10.5.0.0/16' })
const dual = networkOf({ Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' })
const own = lease('10.5.1.0/24', { ip: '192.168.64.1', node: 'me', mac: '02:00:00:00:00:01', tunnelIp: '192.168.70.1' })

function judge(leases: readonly Lease[], more: Partial<PeerRuleInput> = {}) {
  const input = {
    snapshot: snapshot([own, ...leases]),
    own,
    network,
    hostRanges: ['192.168.64.0/24' as Cidr, '10.5.200.7/32' as Cidr, '0.0.0.0/0' as Cidr],
    protectedRanges: ['169.254.0.0/16' as Cidr, '10.5.96.0/20' as Cidr],
    exactSubnets: true,
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
    ['the network itself', '10.5.0.0/16', {}, 'wrong-length'],
    ['a wider subnet', '10.5.2.0/23', {}, 'wrong-length'],
    ['a narrower subnet', '10.5.2.0/25', {}, 'wrong-length'],
    ['the first subnet', '10.5.0.0/24', {}, 'first-subnet'],
    ['an address of this host', '10.5.200.0/24', {}, 'host-range'],
    ['a protected range', '10.5.97.0/24', {}, 'protected-range'],
    ['no address', '10.5.2.0/24', { ip: '0.0.0.0' }, 'bad-public-address'],
    ['a loopback address', '10.5.2.0/24', { ip: '127.0.0.1' }, 'bad-public-address'],
    ['a link-local address', '10.5.2.0/24', { ip: '169.254.1.1' }, 'bad-public-address'],
    ['a multicast address', '10.5.2.0/24', { ip: '224.0.0.1' }, 'bad-public-address'],
    ['the broadcast address', '10.5.2.0/24', { ip: '255.255.255.255' }, 'bad-public-address'],
    ['our public address', '10.5.2.0/24', { ip: '192.168.64.1' }, 'own-public-address'],
    ['our tunnel address', '10.5.2.0/24', { ip: '192.168.70.1' }, 'own-public-address'],
    ['an address inside the network', '10.5.2.0/24', { ip: '10.5.7.7' }, 'public-address-inside'],
    ['a loopback tunnel address', '10.5.2.0/24', { tunnelIp: '127.0.0.1' }, 'bad-tunnel-address'],
    ['a tunnel address inside the network', '10.5.2.0/24', { tunnelIp: '10.5.7.7' }, 'tunnel-address-inside'],
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

  it('rejects a lease that overlaps ours, even where lengths are free', () => {
    assert.deepEqual(reasons([lease('10.5.1.128/25')], { exactSubnets: false }), ['10.5.1.128-25 own-subnet'])
    assert.deepEqual(reasons([lease('10.5.0.0/23')], { exactSubnets: false }), ['10.5.0.0-23 own-subnet'])
  })

  it('accepts the first subnet where SubnetMin names it', () => {
    assert.deepEqual(
      reasons([lease('10.5.0.0/24')], { network: networkOf({ Network: '10.5.0.0/16', SubnetMin: '10.5.0.0' }) }),
      [],
    )
  })

  it('accepts in Kubernetes any length and the first subnet, inside the network', () => {
    const inside = [lease('10.5.0.0/24', { ip: '10.0.0.1' }), lease('10.5.2.0/25', { ip: '10.0.0.2' })]
    assert.deepEqual(reasons(inside, { exactSubnets: false }), [])
    assert.deepEqual(reasons([lease('10.6.0.0/24')], { exactSubnets: false }), ['10.6.0.0-24 outside-network'])
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
      { exactSubnets: false },
    ],
    [
      'smaller subnet',
      lease('10.5.2.0/23', { age: 5, ip: '10.0.0.1' }),
      lease('10.5.3.0/24', { age: 4, ip: '10.0.0.2' }),
      'overlap',
      { exactSubnets: false },
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
    const both = lease('10.5.2.0/24 fc00:0:0:5::/64', { ip6: 'fe80::1' })
    assert.deepEqual(reasons([both]), [])
    assert.deepEqual(reasons([both], { network: dual }), ['10.5.2.0-24&fc00:0:0:5::-64 bad-public-address'])
    assert.deepEqual(reasons([lease('10.5.2.0/24 fc00:0:0:5::/63')], { network: dual }), [
      '10.5.2.0-24&fc00:0:0:5::-63 wrong-length',
    ])
    assert.deepEqual(reasons([lease('10.5.2.0/24')], { network: dual }), [])
  })

  it('shows what the store could not read', () => {
    const unreadable = [{ id: 'notes', reason: 'foreign-key', text: 'x' }]
    assert.deepEqual(acceptPeers({ ...base, snapshot: snapshot([], unreadable) }).rejected, unreadable)
  })

  const anyLease = fc
    .record({
      at: fc.integer({ min: 0, max: 12 }),
      length: fc.constantFrom(22, 23, 24, 25),
      ip: fc.integer({ min: 1, max: 6 }),
      mac: fc.integer({ min: 1, max: 6 }),
      age: fc.integer({ min: 1, max: 5 }),
    })
    .map(({ at, length, ip, mac, age }) => {
      const start = ((at * 128) >> (32 - length)) << (32 - length)
      return lease(`10.5.${start >> 8}.${start & 255}/${length}`, {
        ip: `10.0.0.${ip}`,
        mac: `02:00:00:00:00:1${mac}`,
        age,
      })
    })

  it('never depends on the order, and never accepts an overlap or a route outside the network', () => {
    const many = fc.uniqueArray(
      anyLease.filter(({ id }) => id !== own.id),
      { maxLength: 12, selector: ({ id }) => id },
    )
    fc.assert(
      fc.property(many, fc.boolean(), (leases, exactSubnets) => {
        const verdicts = judge(leases, { exactSubnets })
        assert.deepEqual(judge([...leases].reverse(), { exactSubnets }), verdicts)
        assert.equal(verdicts.accepted.size + verdicts.rejected.length, leases.length)
        const subnets = [own, ...verdicts.accepted.values()].map((one) => one.families.get(4)?.subnet as Cidr)
        for (const [index, a] of subnets.entries()) {
          assert.ok(contains('10.5.0.0/16' as Cidr, a))
          for (const b of subnets.slice(index + 1)) assert.ok(!overlaps(a, b), `${a} ${b}`)
        }
      }),
    )
  })

  it('gives the verdicts of a new judge after any sequence of snapshots', () => {
    const histories = fc.array(
      fc.oneof(
        anyLease.map((one) => (held: readonly Lease[]) => [...held.filter(({ id }) => id !== one.id), one]),
        fc.nat({ max: 11 }).map((at) => (held: readonly Lease[]) => held.filter((_one, index) => index !== at)),
      ),
      { maxLength: 30 },
    )
    fc.assert(
      fc.property(histories, (steps) => {
        const judge = new PeerJudge()
        let held: readonly Lease[] = []
        for (const [at, step] of steps.entries()) {
          held = step(held)
          const hostRanges = at % 7 < 6 ? [] : ['10.5.0.128/25' as Cidr]
          const input = { ...base, hostRanges, snapshot: snapshot(held) }
          const [verdicts, anew] = [judge.judge(input), acceptPeers(input)]
          assert.deepEqual(verdicts.rejected, anew.rejected)
          assert.deepEqual(new Map(verdicts.accepted), new Map(anew.accepted))
        }
      }),
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

  const base: PeerRuleInput = {
    snapshot: snapshot([]),
    own,
    network,
    hostRanges: [],
    protectedRanges: [],
    exactSubnets: true,
  }
})
