import assert from 'node:assert/strict'
import { adoptedByFlannel, bearsFlannelsName } from '../../flanneld/adopted-by-flannel.ts'
import { type TrafficOptions, trafficObjects } from '../../flanneld/node/traffic-rules.ts'
import { type KernelObject, keyOf } from '../../kernel/objects.ts'
import { parseNetworkConfig } from '../../subnet/network-config.ts'
import { lease, NO_DATA } from '../backends/world.ts'
import * as the from '../kernel/fixtures.ts'

const boot = { protocol: the.BOOT_PROTOCOL }
const stays = (objects: readonly KernelObject[]) => adoptedByFlannel(objects)

describe('what flannel takes over', () => {
  it('is a vxlan device with all that is on it, its routes with its own mark', () => {
    const six = the.vxlan('flannel-v6.1')
    const held = [
      the.vxlan(),
      six,
      the.address('10.64.1.0/32'),
      the.address('fc00:0:0:1::/128', 'flannel-v6.1'),
      the.neighbour('10.64.2.0', the.mac(2)),
      the.fdb(the.mac(2), '192.0.2.2'),
      the.peerRoute('10.64.2.0/24'),
      the.peerRoute('fc00:0:0:2::/64', { device: 'flannel-v6.1' }),
    ]
    assert.deepEqual(
      stays(held),
      held.map((object) => (object.kind === 'route' ? { ...object, ...boot } : object)),
    )
  })

  it('is a route with a gateway of its own where ours goes through a nexthop object, which flannel does not know', () => {
    const route = the.peerRoute('10.64.2.0/24')
    const held = [the.vxlan(), the.nexthop('10.64.2.0'), the.throughNexthop(route)]
    assert.deepEqual(stays(held), [the.vxlan(), { ...route, ...boot }])
  })

  it('is a device of ipip', () => {
    const held = [the.ipip(), the.address('10.64.1.0/32', 'flannel.ipip')]
    assert.deepEqual(stays(held), held)
  })

  it('is no device under a second name: beside it flannel could not make its own', () => {
    for (const made of [the.vxlan('flannel-1'), the.vxlan('flannel-v6-1'), the.ipip('flannel-ipip')]) {
      const route = the.peerRoute('10.64.2.0/24', { device: made.name })
      assert.deepEqual(stays([made, the.address('10.64.1.0/32', made.name), route]), [])
    }
  })

  it('is a route over the uplink, as host-gw and DirectRouting make it', () => {
    const direct = the.route('10.64.2.0/24', { via: the.ip('192.0.2.2'), device: 'eth0' })
    assert.deepEqual(stays([direct]), [{ ...direct, ...boot }])
    // What flannel itself wrote before we came.
    assert.deepEqual(stays([{ ...direct, ...boot }]), [{ ...direct, ...boot }])
  })

  it('is nothing of udp, whatever engine carried it', () => {
    const route = the.route('10.64.0.0/10', { device: 'flannel0', scope: 'link' })
    const address = the.address('10.64.1.0/32', 'flannel0')
    assert.deepEqual(stays([the.tun(), address, route]), [])
    const kernel = the.ipip('flannel0', { ttl: 64, encapsulation: { sourcePort: 8285, port: 8285 } })
    const toPeer = the.route('10.64.2.0/24', { via: the.ip('192.0.2.2'), device: 'flannel0', onLink: true })
    assert.deepEqual(stays([kernel, address, toPeer, the.fouPort(8285)]), [])
  })

  it('is no blackhole of ours and no ingress guard', () => {
    const blackhole = the.route('10.64.1.0/24', { type: 'blackhole', metric: 4294967294 })
    const sets = { kind: 'guard-sets', table: 'flanneld-guard' } as unknown as KernelObject
    assert.deepEqual(stays([blackhole, sets]), [])
  })

  const network = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}', 'test')
  const own = lease('10.5.1.0/24 192.168.64.11', { backend: 'vxlan', data: NO_DATA })
  const rules = (options: Partial<TrafficOptions>) =>
    trafficObjects(network, own, {
      masquerade: true,
      forward: true,
      randomFully: true,
      exempt: [],
      tool: 'iptables',
      world: 'nft',
      instance: '',
      ...options,
    })

  it('are the rules under its own names, without what only our flags make', () => {
    const plain = stays(rules({}))
    assert.deepEqual(plain.map(keyOf), [
      'iptables-chain iptables-nft nat FLANNEL-POSTRTG',
      'iptables-chain iptables-nft filter FLANNEL-FWD',
    ])
    const [masquerade, forward] = plain
    assert(masquerade?.kind === 'iptables-chain' && forward?.kind === 'iptables-chain')
    assert.equal(masquerade.rules.length, 6)
    assert.deepEqual(
      forward.jumps.map(({ from }) => from),
      ['FORWARD'],
    )
    assert.deepEqual(stays(rules({ exempt: [the.cidr('10.96.0.0/12')] })), plain)
  })

  it('are its tables of nftables, without the way through Docker that comes with them', () => {
    assert.deepEqual(stays(rules({ tool: 'nftables' })).map(keyOf), [
      'nft-table ip flannel-ipv4',
      'nft-table ip6 flannel-ipv6',
    ])
  })

  it('bears its names, whoever made it', () => {
    const all = [...rules({}), ...rules({ tool: 'nftables' }), the.vxlan(), the.peerRoute('10.64.2.0/24')]
    assert.deepEqual(
      all.filter(bearsFlannelsName).map(({ kind }) => kind),
      [
        'iptables-chain',
        'iptables-chain',
        'nft-table',
        // The way through Docker.
        'iptables-chain',
        'nft-table',
      ],
    )
    assert.deepEqual(rules({ instance: '0123abcd' }).filter(bearsFlannelsName), [])
  })

  it('are no rules of an instance with a name', () => {
    assert.deepEqual(stays(rules({ instance: '0123abcd' })), [])
    assert.deepEqual(stays(rules({ instance: '0123abcd', tool: 'nftables' })), [])
  })
})
