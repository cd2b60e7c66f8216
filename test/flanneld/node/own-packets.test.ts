import assert from 'node:assert/strict'
import type { Ingress } from '../../../backends/backend.ts'
import { ownPackets } from '../../../flanneld/node/own-packets.ts'
import type { Family, IpAddr } from '../../../lib/address.ts'
import { facts, lease, network, vxlanPath } from '../../backends/world.ts'

const own = lease('10.5.1.0/24 10.5.200.11 fc00:0:0:1::/64 2001:db8::11', vxlanPath('02:00:00:00:00:01'))
const ingress: Ingress = { tunnels: new Map([[4, 'flannel.1']]), outer: [] }

/** A host with these IPv4 addresses on its uplink and as what peers are told, of which it has `owned`. */
function sources(
  address: string,
  publicIp = address,
  owned: readonly string[] = [address, publicIp],
): readonly string[] {
  const at = (text: string) => new Map<Family, IpAddr>([[4, text as IpAddr]])
  const host = facts({}, { addresses: at(address), publicIps: at(publicIp) })
  const input = { network: network(4, 6), own, facts: { ...host, ownAddresses: new Set(owned as IpAddr[]) } }
  return ownPackets(input, [ingress], [4, 6]).get(4)?.sources ?? []
}

describe('own packets that look like a container’s', () => {
  const cases: readonly [string, Parameters<typeof sources>, readonly string[]][] = [
    ['a host outside the network has none', ['192.168.64.11'], []],
    ['a host inside has those of its uplink', ['10.5.200.11'], ['10.5.200.11']],
    ['a public address of its own counts', ['192.168.64.11', '10.5.200.11'], ['10.5.200.11']],
    ['one that a router translates is no source', ['192.168.64.11', '10.5.200.11', ['192.168.64.11']], []],
    ['what lies in the own subnet is the overlay’s', ['10.5.1.7'], []],
  ]
  for (const [name, given, expected] of cases) it(name, () => assert.deepEqual(sources(...given), expected))

  it('where somebody else carries the packets nothing is known', () => {
    const host = facts({}, { addresses: new Map([[4, '10.5.200.11' as IpAddr]]) })
    const input = { network: network(4), own, facts: { ...host, ownAddresses: new Set(['10.5.200.11' as IpAddr]) } }
    assert.equal(ownPackets(input, [], [4]).size, 0)
    assert.deepEqual(ownPackets(input, [ingress, ingress], [4]).get(4)?.tunnels, ['flannel.1'])
    assert.equal(ownPackets(input, [ingress], [6]).size, 0)
  })
})
