import assert from 'node:assert/strict'
import { RouteEvents } from '../../flanneld/host/route-events.ts'
import type { KernelEvent } from '../../kernel/table.ts'
import type { Cidr, IpAddr } from '../../lib/address.ts'
import { lease, NO_DATA } from '../backends/world.ts'
import * as the from '../kernel/fixtures.ts'

const peer = lease('10.5.1.0/24 192.168.65.11', { backend: 'host-gw', data: NO_DATA })
const interests = {
  networks: ['10.5.0.0/16', 'fc00::/48'] as Cidr[],
  leases: new Map([[peer.id, peer]]),
  target: '203.0.113.9' as IpAddr,
}
const event = (dst: string, via?: string): KernelEvent => {
  const object = the.route(dst, { protocol: 186, device: 'eth0', ...(via === undefined ? {} : { via: the.ip(via) }) })
  return { type: 'object', present: true, object }
}

describe('routes that come and go beside us', () => {
  const cases: readonly [concerns: boolean, what: string, event: KernelEvent][] = [
    [true, 'a default route', event('0.0.0.0/0', '192.168.64.1')],
    [true, 'a default route of IPv6', event('::/0', 'fe80::1')],
    [true, 'the way to a peer', event('192.168.65.0/24', '192.168.64.1')],
    [true, 'a host route to a peer', event('192.168.65.11/32', '192.168.64.1')],
    [true, 'the way to the address that the interface is chosen by', event('203.0.113.0/24')],
    [true, 'a part of our network', event('10.5.7.0/25')],
    [true, 'what holds our network', event('10.0.0.0/8')],
    [true, 'a part of our network of IPv6', event('fc00:0:0:9::/64')],
    [true, 'a gateway inside our network', event('172.16.0.0/12', '10.5.1.1')],
    [true, 'what is no route', { type: 'device', name: 'eth0' }],
    [false, 'a prefix of the world', event('198.51.100.0/24', '192.168.64.1')],
    [false, 'a neighbour of a peer', event('192.168.65.12/32')],
    [false, 'a prefix of the IPv6 world whose number is that of ours', event('::10.5.0.0/112')],
    [false, 'a prefix of the IPv6 world', event('2001:db8::/32', 'fe80::1')],
  ]
  for (const [concerns, what, one] of cases) {
    it(`${concerns ? 'concern' : 'do not concern'} the host: ${what}`, () => {
      assert.equal(new RouteEvents().concerning([one], interests).length, concerns ? 1 : 0)
    })
  }

  it('are judged by the peers that are known now', () => {
    const routes = new RouteEvents()
    const one = event('192.168.66.0/24')
    assert.equal(routes.concerning([one], interests).length, 0)
    const other = lease('10.5.2.0/24 192.168.66.12', { backend: 'host-gw', data: NO_DATA })
    assert.equal(routes.concerning([one], { ...interests, leases: new Map([[other.id, other]]) }).length, 1)
    assert.equal(routes.concerning([one], interests).length, 0)
  })
})
