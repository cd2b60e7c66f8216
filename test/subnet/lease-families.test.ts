import assert from 'node:assert/strict'
import type { Cidr } from '../../lib/address.ts'
import { subnetAtPlaceOf } from '../../subnet/free-subnets.ts'
import { familySubnets } from '../../subnet/lease-families.ts'
import { parseNetworkConfig } from '../../subnet/network-config.ts'
import { attrs } from '../conformance/lease-store.ts'
import { lease } from './leases.ts'

const network = parseNetworkConfig(
  JSON.stringify({ Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' }),
  'test',
)
const [v4, v6] = [network.families.get(4), network.families.get(6)]

describe('a subnet of another family', () => {
  const gained = (own: string, ...others: readonly string[]) => {
    const leases = [own, ...others].map((text) => lease(text))
    const snapshot = { revision: '1', leases: new Map(leases.map((each) => [each.id, each])), unreadable: [] }
    const question = { snapshot, want: attrs('n1', '192.168.64.1'), hints: { network }, window: 100, random: () => 0 }
    return familySubnets(lease(own), question).subnets.get(6)
  }

  it('is the one at the same place, so that no two nodes choose one at once', () => {
    assert.equal(gained('10.5.3.0/24', '10.5.4.0/24'), 'fc00:0:0:3::/64')
    assert.equal(gained('10.5.255.0/24'), 'fc00:0:0:ff::/64')
  })

  it('is another one where that is taken', () => {
    assert.equal(gained('10.5.3.0/24', '10.5.4.0/24 fc00:0:0:3::/64'), 'fc00:0:0:1::/64')
  })

  it('has no place where the network has fewer subnets', () => {
    assert.ok(v4 && v6)
    const small = { ...v6, network: 'fc00::/60' as Cidr, subnetMax: 'fc00:0:0:f::' as typeof v6.subnetMax }
    assert.equal(subnetAtPlaceOf('10.5.3.0/24' as Cidr, v4, small), 'fc00:0:0:3::/64')
    assert.equal(subnetAtPlaceOf('10.5.16.0/24' as Cidr, v4, small), undefined)
  })
})
