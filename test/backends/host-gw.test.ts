import assert from 'node:assert/strict'
import { alloc } from '../../backends/alloc.ts'
import { hostGw } from '../../backends/host-gw.ts'
import { type AnyBackend, backendFor } from '../../backends/registry.ts'
import type { Family, IpAddr } from '../../lib/address.ts'
import { ConfigError } from '../../lib/errors.ts'
import { commandText, facts, lease, NO_DATA, network, planOf } from './world.ts'

const path = { backend: 'host-gw', data: NO_DATA }
const own = lease('10.5.1.0/24 192.168.64.11', path)
const near = lease('10.5.2.0/24 192.168.64.12', path)
const far = lease('10.5.3.0/24 192.168.65.13', path)
const reach = { '192.168.64.12': { onLink: 'eth0', answered: false } }

describe('host-gw plan', () => {
  it('routes on-link peers via themselves and skips the others with the reason', () => {
    const plan = planOf({ backend: hostGw as AnyBackend, own, peers: [near, far], facts: facts(reach) })
    assert.equal(commandText(plan), 'ip route add 10.5.2.0/24 via 192.168.64.12 dev eth0 proto 102')
    assert.equal(plan.mtu, 1500)
    assert.deepEqual(
      plan.skipped.map((peer) => [peer.id, peer.reason]),
      [[far.id, 'not-on-link']],
    )
  })

  it('routes both families', () => {
    const peer = lease('10.5.2.0/24 192.168.64.12 fc00:0:0:2::/64 2001:db8::12', path)
    const both = facts({ ...reach, '2001:db8::12': { onLink: 'eth0', answered: true } })
    const plan = planOf({ backend: hostGw as AnyBackend, own, peers: [peer], network: network(4, 6), facts: both })
    assert.match(commandText(plan), /^ip -6 route add fc00:0:0:2::\/64 via 2001:db8::12 dev eth0 proto 102$/m)
  })

  it('a peer that one family does not reach, or that has but one, is routed in the other', () => {
    const halfway = lease('10.5.3.0/24 192.168.65.13 fc00:0:0:3::/64 2001:db8::13', path)
    const single = lease('fc00:0:0:4::/64 2001:db8::14', path)
    const seen = { onLink: 'eth0', answered: true }
    const both = facts({ ...reach, '2001:db8::13': seen, '2001:db8::14': seen })
    const peers = [near, halfway, single]
    const plan = planOf({ backend: hostGw as AnyBackend, own, peers, network: network(4, 6), facts: both })
    assert.deepEqual(commandText(plan).split('\n'), [
      'ip route add 10.5.2.0/24 via 192.168.64.12 dev eth0 proto 102',
      'ip -6 route add fc00:0:0:3::/64 via 2001:db8::13 dev eth0 proto 102',
      'ip -6 route add fc00:0:0:4::/64 via 2001:db8::14 dev eth0 proto 102',
    ])
    assert.deepEqual(
      plan.skipped.map(({ id, reason }) => [id, reason]),
      [[halfway.id, 'not-on-link']],
    )
  })

  it('refuses a public address that is not on this host', async () => {
    const foreign = facts({}, { publicIps: new Map<Family, IpAddr>([[4, '203.0.113.9' as IpAddr]]) })
    const noise = { randomBytes: () => new Uint8Array(6), hasFou: async () => false }
    const context = {
      network: network(4),
      facts: foreign,
      previous: undefined,
      devices: { names: new Map() },
      ...noise,
    }
    await assert.rejects(hostGw.prepare(null, context), ConfigError)
  })
})

describe('alloc plan', () => {
  it('makes nothing', () => {
    const plan = planOf({ backend: alloc as AnyBackend, own, peers: [near], facts: facts() })
    assert.deepEqual([plan.objects.size, plan.mtu], [0, 1500])
  })
})

describe('backend registry', () => {
  const cases: readonly [string, RegExp][] = [
    ['wireguard', /Backend\.Type: is not available yet; use one of vxlan, host-gw, ipip, udp, alloc, got "wireguard"/],
    ['ipsec', /exists only in flannel/],
    ['vxlam', /must be one of vxlan, host-gw, ipip, udp, alloc, got "vxlam"/],
  ]
  for (const [type, text] of cases) it(`refuses ${type}`, () => assert.throws(() => backendFor(type), text))
})
