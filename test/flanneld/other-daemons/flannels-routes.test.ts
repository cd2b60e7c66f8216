import assert from 'node:assert/strict'
import { FlannelsRoutes } from '../../../flanneld/other-daemons/flannels-routes.ts'
import { ROUTE_PROTOCOL } from '../../../kernel/kinds/route/numbers.ts'
import type { Route } from '../../../kernel/objects.ts'
import type { KernelEvent } from '../../../kernel/table.ts'
import type { Cidr, IpAddr } from '../../../lib/address.ts'
import type { Lease } from '../../../subnet/types.ts'

const leases = new Map([
  ['10.5.7.0-24', { families: new Map([[4, { subnet: '10.5.7.0/24', publicIp: '192.168.0.7' }]]) } as unknown as Lease],
])
const vxlan: Route = {
  kind: 'route',
  family: 4,
  dst: '10.5.7.0/24' as Cidr,
  metric: 0,
  type: 'unicast',
  device: 'flannel.1',
  via: '10.5.7.0' as IpAddr,
  onLink: true,
  protocol: 3,
}
const { onLink: _, ...inline } = vxlan
const hostGw: Route = { ...inline, device: 'eth0', via: '192.168.0.7' as IpAddr }

function isFound(route: Route, present = true): boolean {
  const events: KernelEvent[] = [{ type: 'overrun' }, { type: 'object', present, object: route }]
  return new FlannelsRoutes().lastOf(events, ['10.5.0.0/16' as Cidr], leases) === route
}

describe("flannel's routes, among what happens in the kernel", () => {
  it('are those of vxlan, whether the lease is known yet or not', () => {
    assert.ok(isFound(vxlan))
    assert.ok(isFound({ ...vxlan, dst: '10.5.9.0/24' as Cidr, via: '10.5.9.0' as IpAddr }))
  })

  it('are those by way of the address of a peer', () => assert.ok(isFound(hostGw)))

  const others: readonly (readonly [string, Route])[] = [
    ['ours', { ...vxlan, protocol: ROUTE_PROTOCOL }],
    ['through a nexthop object', { ...vxlan, nexthop: 'other' }],
    ['by another gateway', { ...hostGw, via: '192.168.0.1' as IpAddr }],
    ['of another network', { ...vxlan, dst: '10.6.7.0/24' as Cidr, via: '10.6.7.0' as IpAddr }],
    ['of a whole network', { ...vxlan, dst: '10.5.0.0/16' as Cidr, via: '10.5.0.0' as IpAddr }],
  ]
  for (const [what, route] of others) it(`are not routes ${what}`, () => assert.ok(!isFound(route)))

  it('are not those that went', () => assert.ok(!isFound(vxlan, false)))
})
