import assert from 'node:assert/strict'
import { checkFamilies, familyNotices } from '../../backends/families.ts'
import { ipip } from '../../backends/ipip.ts'
import type { AnyBackend } from '../../backends/registry.ts'
import { udp } from '../../backends/udp/backend.ts'
import { ConfigError } from '../../lib/errors.ts'
import { commandText, facts, lease, NO_DATA, network, planOf } from './world.ts'

const path = { backend: 'ipip', data: NO_DATA }
const own = lease('10.5.1.0/24 192.168.64.11', path)
const near = lease('10.5.2.0/24 192.168.64.12', path)
const far = lease('10.5.3.0/24 192.168.65.13', path)
const backend = ipip as AnyBackend

const DEVICE = [
  'ip link add flannel.ipip mtu 1480 type ipip local 192.168.64.11 ttl inherit nopmtudisc',
  'ip link set flannel.ipip up',
  'ip address add 10.5.1.0/32 dev flannel.ipip',
  'echo 2 > /proc/sys/net/ipv4/conf/flannel.ipip/rp_filter',
]

describe('ipip plan', () => {
  it('is one device, and a route via each peer', () => {
    const plan = planOf({ backend, own, peers: [near, far] })
    assert.deepEqual(commandText(plan).split('\n'), [
      ...DEVICE,
      'ip route add 10.5.2.0/24 via 192.168.64.12 dev flannel.ipip proto 102 onlink',
      'ip route add 10.5.3.0/24 via 192.168.65.13 dev flannel.ipip proto 102 onlink',
    ])
    assert.equal(plan.mtu, 1480)
    assert.deepEqual([...plan.paths.values()], ['tunnel', 'tunnel'])
  })

  it('takes the interface’s address where peers are told another', () => {
    const publicIps = new Map([[4, '203.0.113.9']]) as never
    assert.match(
      commandText(planOf({ backend, own, peers: [], facts: facts({}, { publicIps }) })),
      /local 192\.168\.64\.11/,
    )
  })

  const reaches = [
    ['has answered', { onLink: 'eth0', answered: true }, 'dev eth0', 'direct'],
    ['has not answered', { onLink: 'eth0', answered: false }, 'dev flannel.ipip', 'tunnel'],
    ['is behind a gateway', { onLink: undefined, answered: true }, 'dev flannel.ipip', 'tunnel'],
  ] as const
  for (const [what, reach, device, way] of reaches) {
    it(`DirectRouting: a peer that ${what} is reached ${device}`, () => {
      const config = { DirectRouting: true }
      const plan = planOf({ backend, own, peers: [near], config, facts: facts({ '192.168.64.12': reach }) })
      assert.equal(
        commandText(plan).split('\n').at(-1),
        `ip route add 10.5.2.0/24 via 192.168.64.12 ${device} proto 102 onlink`,
      )
      assert.deepEqual([...plan.paths.values()], [way])
    })
  }

  it('follows a peer that stops answering, and one that is planned for another backend in between', () => {
    const lines = (answered: boolean, other: AnyBackend = backend) =>
      commandText(
        planOf({
          backend: other,
          identity: { engine: 'kernel' },
          own,
          peers: [{ ...near, accepts: [] }, far],
          ...(other === backend ? { config: { DirectRouting: true } } : {}),
          facts: facts({ '192.168.65.13': { onLink: 'eth1', answered } }),
        }),
      ).match(/10\.5\.3\.0\/24 .* dev (\S+)/)?.[1]
    const peerOfUdp = { ...udp, wireType: 'ipip' } as AnyBackend
    assert.deepEqual(
      [lines(true), lines(false), lines(true), lines(true, peerOfUdp), lines(true)],
      ['eth1', 'flannel.ipip', 'eth1', 'flannel0', 'eth1'],
    )
  })

  it('without DirectRouting looks at no neighbour', () => {
    const reach = { '192.168.64.12': { onLink: 'eth0', answered: true } }
    assert.match(
      commandText(planOf({ backend, own, peers: [near], facts: facts(reach) })),
      /10\.5\.2\.0\/24 .* dev flannel\.ipip/,
    )
    assert.deepEqual([ipip.reach({ directRouting: false }), ipip.reach({ directRouting: true })], ['unused', 'probe'])
  })

  it('leaves IPv6 out', () => {
    const both = lease('10.5.1.0/24 192.168.64.11 fc00:0:0:1::/64 2001:db8::11', path)
    const peer = lease('10.5.2.0/24 192.168.64.12 fc00:0:0:2::/64 2001:db8::12', path)
    const plan = planOf({ backend, own: both, peers: [peer], network: network(4, 6) })
    assert.deepEqual(commandText(plan).split('\n'), [
      ...DEVICE,
      'ip route add 10.5.2.0/24 via 192.168.64.12 dev flannel.ipip proto 102 onlink',
    ])
  })

  it('says so, with the way out', () => {
    assert.deepEqual(familyNotices(ipip, network(4)), [])
    const [notice] = familyNotices(ipip, network(4, 6))
    assert.equal(notice?.code, 'ipv6-not-carried')
    assert.match(notice?.remedy ?? '', /vxlan, host-gw .*EnableIPv6 to false/)
  })

  it('skips a peer that has no IPv4 subnet', () => {
    const plan = planOf({ backend, own, peers: [lease('fc00:0:0:2::/64 2001:db8::12', path)] })
    assert.deepEqual(
      plan.skipped.map(({ reason }) => reason),
      ['missing-family'],
    )
  })

  it('skips peers of other backends', () => {
    const peer = lease('10.5.2.0/24 192.168.64.12', { backend: 'vxlan', data: NO_DATA })
    assert.doesNotMatch(commandText(planOf({ backend, own, peers: [peer] })), /ip route/)
  })

  it('is refused for a network of IPv6 only', () => {
    checkFamilies(ipip, network(4, 6))
    assert.throws(
      () => checkFamilies(ipip, network(6)),
      (cause) => cause instanceof ConfigError && /carries IPv4 only.*EnableIPv4/.test(cause.message),
    )
  })

  it('names unknown keys', () => {
    const warnings: string[] = []
    assert.deepEqual(ipip.parseConfig({ Type: 'ipip', Directrouting: true, MTU: 1 }, warnings), { directRouting: true })
    assert.equal(warnings.length, 1)
  })
})
