import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Cidr, type Family, type IpAddr, overlaps } from '../../lib/address.ts'
import { decideLease, type LeaseDecision, type LeaseQuestion } from '../../subnet/allocator.ts'
import { decodeLeaseKey, encodeLeaseKey } from '../../subnet/lease-codec.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { AcquireHints, Lease, RejectedLease } from '../../subnet/types.ts'
import { lease, networkOf, snapshot } from './leases.ts'

const v4 = networkOf({ Network: '10.5.0.0/16' })
const dual = networkOf({ Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' })
const v6 = networkOf({ EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fc00::/48' })
const me = '192.168.64.1'

function ask(
  leases: readonly Lease[],
  more: Partial<LeaseQuestion> & {
    network?: NetworkConfig
    hint?: Partial<AcquireHints>
    bad?: readonly RejectedLease[]
  } = {},
) {
  const { network = v4, hint, bad, ...question } = more
  const publicIps = new Map<Family, IpAddr>([
    [4, me as IpAddr],
    [6, 'fd00::1' as IpAddr],
  ])
  for (const family of [4, 6] as const) if (!network.families.has(family)) publicIps.delete(family)
  return decideLease({
    snapshot: snapshot(leases, bad),
    want: { node: 'me', primary: { backend: 'vxlan', data: new Map() }, accepts: [], publicIps, tunnelIps: new Map() },
    hints: { network, previous: new Map(), ...hint },
    mayHave: () => false,
    window: 100,
    random: () => 0,
    ...question,
  })
}

/** A decision as one line. */
function line(decision: LeaseDecision): string {
  switch (decision.type) {
    case 'create':
    case 'recreate':
      return `${decision.type} ${decision.id}`
    case 'conflict':
      return `conflict ${decision.conflict.type}`
    case 'claim-reservation':
      return `reservation ${decision.lease.id}`
    case 'change-families':
      return `families of ${decision.lease.id}`
    case 'claim':
      return `claim ${decision.lease.id}`
    default:
      return `${decision.type} ${decision.lease.id} ${decision.why}`
  }
}

const cidrs = (...list: string[]) => new Map(list.map((c) => [c.includes(':') ? 6 : 4, c as Cidr] as [Family, Cidr]))

describe('decideLease', () => {
  const everybody = () => true
  const cases: readonly [string, LeaseDecision | (() => LeaseDecision), string][] = [
    ['nothing yet', ask([]), 'create 10.5.1.0-24'],
    ['our NodeID', ask([lease('10.5.3.0/24', { node: 'me', ip: me })]), 'take-over 10.5.3.0-24 same-node'],
    [
      'our NodeID at an earlier address',
      ask([lease('10.5.3.0/24', { node: 'me', ip: '10.0.0.1' })]),
      'take-over 10.5.3.0-24 same-node',
    ],
    [
      'our NodeID before our address',
      ask([lease('10.5.3.0/24', { ip: me, age: 1 }), lease('10.5.4.0/24', { node: 'me', ip: '10.0.0.1', age: 2 })]),
      'delete 10.5.3.0-24 second-lease',
    ],
    [
      'flannel\u2019s lease of our address',
      ask([lease('10.5.3.0/24', { ip: me })]),
      'take-over 10.5.3.0-24 same-address',
    ],
    [
      'a reservation of our address',
      ask([lease('10.5.3.0/24', { ip: me, reserved: true })]),
      'reservation 10.5.3.0-24',
    ],
    [
      'a reservation that has our NodeID already',
      ask([lease('10.5.3.0/24', { node: 'me', ip: me, reserved: true })]),
      'take-over 10.5.3.0-24 same-node',
    ],
    ['another NodeID at our address', ask([lease('10.5.3.0/24', { node: 'x', ip: me })]), 'claim 10.5.3.0-24'],
    [
      'another NodeID at our address that does not object',
      ask([lease('10.5.3.0/24', { node: 'x', ip: me })], { mayHave: everybody }),
      'take-over 10.5.3.0-24 claimed',
    ],
    [
      'another NodeID at our address that has refused us',
      ask([{ ...lease('10.5.3.0/24', { node: 'x', ip: me }), refused: ['me'] }]),
      'conflict public-address-taken',
    ],
    [
      'another NodeID at our address that has refused another node',
      ask([{ ...lease('10.5.3.0/24', { node: 'x', ip: me }), refused: ['you'] }]),
      'claim 10.5.3.0-24',
    ],
    ...([1, 2] as const).map((age): (typeof cases)[number] => [
      `after a loss, there again, and another at our address since ${age === 1 ? 'before' : 'later'}`,
      ask(
        [lease('10.5.9.0/24', { node: 'me', ip: me, age: 3 - age }), lease('10.5.4.0/24', { node: 'x', ip: me, age })],
        { hint: { only: cidrs('10.5.9.0/24') } },
      ),
      age === 1 ? 'claim 10.5.4.0-24' : 'take-over 10.5.9.0-24 same-node',
    ]),
    [
      'two NodeIDs at our address, one of which does not object',
      ask([lease('10.5.3.0/24', { node: 'x', ip: me, age: 1 }), lease('10.5.4.0/24', { node: 'y', ip: me, age: 2 })], {
        mayHave: ({ node }) => node === 'x',
      }),
      'claim 10.5.4.0-24',
    ],
    [
      'another NodeID at our address that would not fit: asked all the same',
      ask([lease('10.5.3.0/25', { node: 'x', ip: me })]),
      'claim 10.5.3.0-25',
    ],
    ...([1, 2] as const).map((age): (typeof cases)[number] => [
      `our NodeID at our address, and another there since ${age === 1 ? 'before' : 'later'}`,
      ask([
        lease('10.5.3.0/24', { node: 'me', ip: me, age: 3 - age }),
        lease('10.5.4.0/24', { node: 'x', ip: me, age }),
      ]),
      age === 1 ? 'claim 10.5.4.0-24' : 'take-over 10.5.3.0-24 same-node',
    ]),
    [
      'our NodeID at our address, that would not fit, and another there since later',
      ask([lease('10.5.3.0/25', { node: 'me', ip: me, age: 1 }), lease('10.5.4.0/24', { node: 'x', ip: me, age: 2 })]),
      'delete 10.5.3.0-25 does-not-fit',
    ],
    [
      'our NodeID, and another at our new address',
      ask([
        lease('10.5.3.0/24', { node: 'me', ip: '10.0.0.1', age: 2 }),
        lease('10.5.4.0/24', { node: 'x', ip: me, age: 1 }),
      ]),
      'claim 10.5.4.0-24',
    ],
    [
      'our NodeID, and another at our new address that does not object',
      ask(
        [
          lease('10.5.3.0/24', { node: 'me', ip: '10.0.0.1', age: 2 }),
          lease('10.5.4.0/24', { node: 'x', ip: me, age: 1 }),
        ],
        { mayHave: everybody },
      ),
      'delete 10.5.4.0-24 claimed',
    ],
    [
      'own lease of another length',
      ask([lease('10.5.3.0/25', { node: 'me', ip: me })]),
      'delete 10.5.3.0-25 does-not-fit',
    ],
    ['own lease before SubnetMin', ask([lease('10.5.0.0/24', { ip: me })]), 'delete 10.5.0.0-24 does-not-fit'],
    [
      'own lease after SubnetMax',
      ask([lease('10.5.9.0/24', { ip: me })], {
        network: networkOf({ Network: '10.5.0.0/16', SubnetMax: '10.5.8.0' }),
      }),
      'delete 10.5.9.0-24 does-not-fit',
    ],
    [
      'own lease outside SubnetMin and SubnetMax, whose addresses containers have',
      ask([lease('10.5.9.0/24', { node: 'me', ip: me })], {
        network: networkOf({ Network: '10.5.0.0/16', SubnetMax: '10.5.8.0' }),
        hint: { occupied: ['172.17.0.1' as IpAddr, '10.5.9.1' as IpAddr] },
      }),
      'take-over 10.5.9.0-24 same-node',
    ],
    [
      'own lease of another length, whatever containers have',
      ask([lease('10.5.3.0/25', { node: 'me', ip: me })], { hint: { occupied: ['10.5.3.1' as IpAddr] } }),
      'delete 10.5.3.0-25 does-not-fit',
    ],
    ['own lease of another network', ask([lease('10.6.3.0/24', { ip: me })]), 'delete 10.6.3.0-24 does-not-fit'],
    [
      'own lease without the second family',
      ask([lease('10.5.3.0/24', { ip: me })], { network: dual }),
      'families of 10.5.3.0-24',
    ],
    [
      'own lease with a family that the network has no more',
      ask([lease('10.5.3.0/24 fc00:0:0:1::/64', { node: 'me', ip: me })]),
      'families of 10.5.3.0-24&fc00:0:0:1::-64',
    ],
    [
      'own lease without the second family, outside of the network',
      ask([lease('10.6.3.0/24', { ip: me })], { network: dual }),
      'delete 10.6.3.0-24 does-not-fit',
    ],
    [
      'own lease of no family that the network has',
      ask([lease('10.5.3.0/24', { node: 'me', ip: me })], { network: v6 }),
      'delete 10.5.3.0-24 does-not-fit',
    ],
    [
      'two own leases, the older kept',
      ask([lease('10.5.3.0/24', { ip: me, age: 2 }), lease('10.5.4.0/24', { ip: me, age: 1 })]),
      'delete 10.5.3.0-24 second-lease',
    ],
    [
      'a fitting reservation beside the own lease, left alone',
      ask([lease('10.5.3.0/24', { node: 'me', ip: me }), lease('10.5.4.0/24', { ip: me, reserved: true })]),
      'take-over 10.5.3.0-24 same-node',
    ],
    ['others only', ask([lease('10.5.1.0/24'), lease('10.5.2.0/24', { ip: '10.0.0.2' })]), 'create 10.5.3.0-24'],
    ['the subnet of the last run', ask([], { hint: { previous: cidrs('10.5.72.0/24') } }), 'create 10.5.72.0-24'],
    [
      'the subnet of the last run, taken',
      ask([lease('10.5.72.0/24')], { hint: { previous: cidrs('10.5.72.0/24') } }),
      'create 10.5.1.0-24',
    ],
    [
      'the subnet of the last run, of another length',
      ask([], { hint: { previous: cidrs('10.5.72.0/25') } }),
      'create 10.5.1.0-24',
    ],
    [
      'the subnet of the last run, of another network',
      ask([], { hint: { previous: cidrs('10.6.72.0/24') } }),
      'create 10.5.1.0-24',
    ],
    ['the first subnet in the last run', ask([], { hint: { previous: cidrs('10.5.0.0/24') } }), 'create 10.5.1.0-24'],
    ['the last free one, by the random number', ask([], { random: () => 0.999 }), 'create 10.5.100.0-24'],
    ['a wider choice after lost races', ask([], { random: () => 0.999, window: 200 }), 'create 10.5.200.0-24'],
    ['a larger lease in the way', ask([lease('10.5.0.0/22')]), 'create 10.5.4.0-24'],
    ['a smaller lease in the way', ask([lease('10.5.1.128/25')]), 'create 10.5.2.0-24'],
    [
      'an unreadable lease in the way',
      ask([], { bad: [{ id: '10.5.1.0-24', reason: 'unreadable', text: '' }] }),
      'create 10.5.2.0-24',
    ],
    [
      'a foreign key',
      ask([], {
        bad: [
          { id: 'notes', reason: 'foreign-key', text: '' },
          { id: '10.5.1.3-24', reason: 'unreadable', text: '' },
        ],
      }),
      'create 10.5.1.0-24',
    ],
    [
      'no subnet left',
      ask([lease('10.5.0.0/17'), lease('10.5.128.0/17', { ip: '10.0.0.3' })]),
      'conflict pool-exhausted',
    ],
    [
      'dual stack',
      ask([lease('10.5.1.0/24'), lease('10.5.2.0/24 fc00:0:0:1::/64')], { network: dual }),
      'create 10.5.3.0-24&fc00:0:0:2::-64',
    ],
    [
      'dual stack, half of the last run',
      ask([], { network: dual, hint: { previous: cidrs('10.5.72.0/24') } }),
      'create 10.5.72.0-24&fc00:0:0:1::-64',
    ],
    [
      'dual stack with one family exhausted',
      ask([lease('fc00::/49'), lease('fc00:0:0:8000::/49')], { network: dual }),
      'conflict pool-exhausted',
    ],
    ['IPv6 alone', ask([lease('fc00:0:0:1::/64')], { network: v6 }), 'create 0.0.0.0-0&fc00:0:0:2::-64'],
    [
      'IPv6 alone, our address',
      ask([lease('fc00:0:0:1::/64', { ip6: 'fd00::1' })], { network: v6 }),
      'take-over fc00:0:0:1::-64 same-address',
    ],
    ['after a loss, free', ask([], { hint: { only: cidrs('10.5.9.0/24') } }), 'recreate 10.5.9.0-24'],
    [
      'after a loss, ours again',
      ask([lease('10.5.9.0/24', { node: 'me', ip: me })], { hint: { only: cidrs('10.5.9.0/24') } }),
      'take-over 10.5.9.0-24 same-node',
    ],
    [
      'after a loss, free, with our address on a lease of another NodeID',
      ask([lease('10.5.8.0/24', { node: 'x', ip: me })], { hint: { only: cidrs('10.5.9.0/24') } }),
      'conflict public-address-taken',
    ],
    [
      'after a loss, ours again, with our address on a lease of another NodeID',
      ask([lease('10.5.8.0/24', { node: 'x', ip: me }), lease('10.5.9.0/24', { node: 'me', ip: me })], {
        hint: { only: cidrs('10.5.9.0/24') },
      }),
      'claim 10.5.8.0-24',
    ],
    [
      'after a loss, in the hands of who got our address',
      ask([lease('10.5.9.0/24', { node: 'x', ip: me })], { hint: { only: cidrs('10.5.9.0/24') } }),
      'conflict subnet-taken',
    ],
    [
      'after a loss, written by flannel on this host',
      ask([lease('10.5.9.0/24', { ip: me })], { hint: { only: cidrs('10.5.9.0/24') } }),
      'take-over 10.5.9.0-24 same-address',
    ],
    [
      'after a loss, another node\u2019s',
      ask([lease('10.5.9.0/24', { node: 'x' })], { hint: { only: cidrs('10.5.9.0/24') } }),
      'conflict subnet-taken',
    ],
    [
      'after a loss, another flannel\u2019s',
      ask([lease('10.5.9.0/24')], { hint: { only: cidrs('10.5.9.0/24') } }),
      'conflict subnet-taken',
    ],
    [
      'after a loss, overlapped',
      ask([lease('10.5.8.0/23')], { hint: { only: cidrs('10.5.9.0/24') } }),
      'conflict subnet-taken',
    ],
    [
      'after a loss, our NodeID at another address',
      ask([lease('10.5.9.0/24', { node: 'me' })], { hint: { only: cidrs('10.5.9.0/24') } }),
      'conflict identity-shared',
    ],
  ]
  for (const [what, decision, expected] of cases) {
    it(`with ${what}: ${expected}`, () => assert.equal(line(decision as LeaseDecision), expected))
  }

  for (const [wide, network] of [
    ['10.5.0.0/16', v4],
    ['10.0.0.0/8', v4],
    ['10.5.0.0/16 fc00::/48', dual],
    ['fc00::/40', v6],
  ] as const) {
    it(`finds the pool as full as without a key as wide as the network: ${wide}`, () => {
      const stranger = lease(wide)
      const unreadable = { id: encodeLeaseKey(cidrs(...wide.split(' '))), reason: 'unreadable', text: '' }
      const expected = line(ask([], { network }))
      assert.match(expected, /^create /)
      assert.equal(line(ask([stranger], { network })), expected)
      assert.equal(line(ask([], { network, bad: [unreadable] })), expected)
      const again = { network, hint: { only: new Map(decodeLeaseKey(expected.slice('create '.length))) } }
      assert.equal(line(ask([stranger], again)), expected.replace('create', 'recreate'))
    })
  }

  it('chooses a free subnet inside the limits, whatever is taken', () => {
    const network = networkOf({ Network: '10.5.0.0/20', SubnetLen: 25, SubnetMin: '10.5.2.0', SubnetMax: '10.5.9.128' })
    const anyCidr = fc.tuple(fc.integer({ min: 0, max: 31 }), fc.integer({ min: 21, max: 26 })).map(([at, length]) => {
      const start = ((at * 128) >> (32 - length)) << (32 - length)
      return `10.5.${start >> 8}.${start & 255}/${length}`
    })
    fc.assert(
      fc.property(
        fc.array(anyCidr, { maxLength: 12 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (taken, random) => {
          const decision = ask(
            taken.map((c) => lease(c)),
            { network, random: () => random },
          )
          const free = Array.from(
            { length: 16 },
            (_unused, n) => `10.5.${2 + (n >> 1)}.${(n & 1) * 128}/25` as Cidr,
          ).filter((c) => !taken.some((other) => overlaps(c, other as Cidr)))
          if (decision.type !== 'create') return assert.equal(free.length, 0)
          const subnet = decodeLeaseKey(decision.id)?.get(4) as Cidr
          assert.equal(subnet, free[Math.floor(random * free.length)])
        },
      ),
    )
  })
})
