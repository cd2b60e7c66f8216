import assert from 'node:assert/strict'
import { endsWith } from '../../../flanneld/config/ended-connections.ts'
import type { IpAddr } from '../../../lib/address.ts'
import * as the from '../../kernel/fixtures.ts'

const ip = (text: string) => text as IpAddr
const addresses = new Map([
  ['flannel.1', new Set([ip('10.64.1.0'), ip('fc00:1::')])],
  ['eth0', new Set([ip('192.0.2.11'), ip('192.0.2.12')])],
  ['flannel0', new Set<IpAddr>()],
])

describe('connections that end when routes leave their device', () => {
  const cases: readonly (readonly [says: string, to: string, as: string, device: string, ends: boolean])[] = [
    ['of the device', '10.64.9.2', '10.64.1.0', 'flannel.1', true],
    ['of another subnet', '10.64.8.2', '10.64.1.0', 'flannel.1', false],
    ['translated to an address of another device', '10.64.9.2', '192.0.2.11', 'flannel.1', false],
    ['with the second address of the device', '10.64.9.2', '192.0.2.12', 'eth0', true],
    ['by a device without an address, which takes that of another one', '10.64.9.2', '192.0.2.11', 'flannel0', true],
    ['by a device that is gone', '10.64.9.2', '192.0.2.11', 'flannel.7', true],
    ['of IPv6', 'fc00:9::2', 'fc00:1::', 'flannel.1', true],
    ['of IPv6, translated to another address', 'fc00:9::2', 'fc00:2::', 'flannel.1', false],
    ['of IPv6 by a device with an IPv4 address only', 'fc00:9::2', 'fc00:2::', 'eth0', true],
  ]
  for (const [says, to, as, device, ends] of cases) {
    it(`${ends ? 'are' : 'are not'} those ${says}`, () => {
      const routes = ['10.64.9.0/24', 'fc00:9::/64'].map((dst) => ({ dst: the.cidr(dst), device }))
      assert.equal(endsWith(routes, addresses)({ to: ip(to), as: ip(as) }), ends)
    })
  }

  it('are none where no route leaves', () => {
    assert.equal(endsWith([], addresses)({ to: ip('10.64.9.2'), as: ip('10.64.1.0') }), false)
  })
})
