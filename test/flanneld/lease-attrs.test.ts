import assert from 'node:assert/strict'
import type { HostFacts } from '../../backends/backend.ts'
import { leaseAttrs } from '../../flanneld/leases/lease-attrs.ts'
import type { IpAddr } from '../../lib/address.ts'

const address = '192.168.64.11' as IpAddr
const path = { backend: 'vxlan', data: new Map() }

function facts(publicIp: string, owned: readonly IpAddr[]): HostFacts {
  return {
    external: {
      name: 'eth0',
      index: 2,
      mtu: 1500,
      addresses: new Map([[4, address]]),
      publicIps: new Map([[4, publicIp as IpAddr]]),
      reason: 'test',
    },
    ownAddresses: new Set(owned),
    reach: new Map(),
    strictReversePath: false,
    nexthops: false,
    devices: new Map(),
  }
}

describe('what a node publishes', () => {
  it('names every way in which it can receive, if there is more than one', () => {
    const second = { backend: 'host-gw', data: new Map() }
    const one = leaseAttrs('me', { accepts: [{ path }] }, facts(address, [address]))
    const both = leaseAttrs('me', { accepts: [{ path }, { path: second }] }, facts(address, [address]))
    assert.deepEqual([one.primary, one.accepts], [path, []])
    assert.deepEqual([both.primary, both.accepts], [path, [path, second]])
  })

  const cases: readonly [string, string, readonly IpAddr[], IpAddr | undefined][] = [
    ['nothing more where the host owns its public address', address, [address], undefined],
    ['the address of its packets where the public one is another host’s', '203.0.113.5', [address], address],
    ['nothing more where both are the same and the interface is away', address, [], undefined],
    [
      'nothing more where a second address of the host is the public one',
      '203.0.113.5',
      [address, '203.0.113.5' as IpAddr],
      undefined,
    ],
  ]
  for (const [what, publicIp, owned, tunnelIp] of cases) {
    it(`is ${what}`, () => {
      const attrs = leaseAttrs('me', { accepts: [{ path }] }, facts(publicIp, owned))
      assert.equal(attrs.tunnelIps.get(4), tunnelIp)
      assert.equal(attrs.publicIps.get(4), publicIp)
    })
  }
})
