import assert from 'node:assert/strict'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import { decideLease, type LeaseQuestion } from '../../subnet/allocator.ts'
import { type LeaseSketch, lease, networkOf, snapshot } from './leases.ts'
import { type SurroundingsSketch, surroundingsOf } from './surroundings.ts'

interface Question {
  readonly around?: SurroundingsSketch
  readonly leases?: readonly (readonly [string, LeaseSketch])[]
  readonly previous?: string
  readonly publicIp?: string
  readonly tunnelIp?: string
  readonly protectedRanges?: readonly string[]
  readonly limits?: object
}

/** What a node without a lease does first; of several free subnets it takes the first. */
function choose(question: Question): string {
  const {
    around = {},
    leases = [],
    previous,
    publicIp = '192.168.64.1',
    tunnelIp,
    protectedRanges = [],
    limits,
  } = question
  const tunnelIps = tunnelIp === undefined ? [] : [[4, tunnelIp as IpAddr] as const]
  const asked: LeaseQuestion = {
    snapshot: snapshot(leases.map(([subnet, sketch]) => lease(subnet, { node: 'x', ...sketch }))),
    want: {
      node: 'me',
      primary: { backend: 'vxlan', data: new Map() },
      accepts: [],
      publicIps: new Map<Family, IpAddr>([[4, publicIp as IpAddr]]),
      tunnelIps: new Map(tunnelIps),
    },
    hints: {
      network: networkOf({ Network: '10.5.0.0/16', SubnetLen: 24, ...limits }),
      previous: new Map<Family, Cidr>(previous === undefined ? [] : [[4, previous as Cidr]]),
      surroundings: () => surroundingsOf(around),
      protectedRanges: protectedRanges as Cidr[],
    },
    mayHave: () => false,
    window: 100,
    random: () => 0,
  }
  const decision = decideLease(asked)
  return decision.type === 'create' ? decision.id : decision.type === 'conflict' ? decision.text : decision.type
}

describe('the choice of the own subnet', () => {
  // 10.5.1.0/24 is the first that could be taken.
  const cases: readonly [string, Question, string][] = [
    ['nothing in the way', {}, '10.5.1.0-24'],
    ['an address of this host', { around: { addresses: ['10.5.1.9 dev eth0'] } }, '10.5.2.0-24'],
    ['the gateway', { around: { gateways: ['10.5.1.254'] } }, '10.5.2.0-24'],
    ['an endpoint of the store', { around: { store: ['10.5.1.9'] } }, '10.5.2.0-24'],
    ['a route to the same destination', { around: { routes: ['10.5.1.0/24 dev eth1 metric 9'] } }, '10.5.2.0-24'],
    ['an unreachable route there', { around: { routes: ['unreachable 10.5.1.0/24'] } }, '10.5.2.0-24'],
    ['flannel\u2019s blackhole route', { around: { routes: ['blackhole 10.5.1.0/24 boot'] } }, '10.5.1.0-24'],
    [
      'flannel\u2019s route to a node that had it',
      { around: { routes: ['10.5.1.0/24 via 10.9.9.9 boot'] } },
      '10.5.1.0-24',
    ],
    ['a wider route of the host', { around: { routes: ['10.0.0.0/8 dev eth0'] } }, '10.5.1.0-24'],
    ['a longer route of the host', { around: { routes: ['10.5.1.64/26 dev eth1'] } }, '10.5.1.0-24'],
    ['the public address of another node', { leases: [['10.5.7.0/24', { ip: '10.5.1.9' }]] }, '10.5.2.0-24'],
    ['the tunnel address of another node', { leases: [['10.5.7.0/24', { tunnelIp: '10.5.1.9' }]] }, '10.5.2.0-24'],
    ['the own public address', { publicIp: '10.5.1.9' }, '10.5.2.0-24'],
    ['the own tunnel address', { tunnelIp: '10.5.1.9' }, '10.5.2.0-24'],
    ['a protected range', { protectedRanges: ['10.5.0.0/22'] }, '10.5.4.0-24'],
    [
      'the bridge of the last run',
      {
        previous: '10.5.9.0/24',
        around: { addresses: ['10.5.9.1 dev cni0'], bridges: ['cni0 10.5.9.1/24'], routes: ['10.5.9.0/24 dev cni0'] },
      },
      '10.5.9.0-24',
    ],
    [
      'a bridge with its address elsewhere in the subnet',
      { previous: '10.5.9.0/24', around: { addresses: ['10.5.9.254 dev cni0'], bridges: ['cni0 10.5.9.254/24'] } },
      '10.5.9.0-24',
    ],
    [
      'the bridge of the last run, and a LAN beside it',
      {
        previous: '10.5.9.0/24',
        around: { addresses: ['10.5.9.1 dev cni0', '10.5.9.77 dev eth1'], bridges: ['cni0 10.5.9.1/24'] },
      },
      '10.5.1.0-24',
    ],
    [
      'the last run\u2019s subnet, in which the gateway is now',
      { previous: '10.5.9.0/24', around: { gateways: ['10.5.9.254'] } },
      '10.5.1.0-24',
    ],
    [
      'Docker\u2019s own bridge, which is wider',
      {
        limits: { Network: '172.17.0.0/20', SubnetMin: '172.17.0.0' },
        around: {
          addresses: ['172.17.0.9 dev docker0'],
          bridges: ['docker0 172.17.0.9/16'],
          routes: ['172.17.0.0/16 dev docker0'],
        },
      },
      '172.17.1.0-24',
    ],
  ]
  for (const [what, question, expected] of cases) {
    it(`with ${what}: ${expected}`, () => assert.equal(choose(question), expected))
  }

  it('waits where every subnet holds something, and says what', () => {
    const limits = { SubnetMin: '10.5.1.0', SubnetMax: '10.5.2.0' }
    const around = { addresses: ['10.5.1.9 dev eth0'], gateways: ['10.5.2.254'] }
    assert.equal(
      choose({ limits, around }),
      'no free subnet is left between 10.5.1.0 and 10.5.2.0 (/24) whose addresses nobody needs: 10.5.1.0/24 contains 10.5.1.9, an address of eth0',
    )
  })
})
