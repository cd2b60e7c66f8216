import assert from 'node:assert/strict'
import type { OuterForm } from '../../../backends/backend.ts'
import { packetPaths } from '../../../flanneld/node/packet-paths.ts'
import { nameOfPath } from '../../../kernel/obstacles/packet-path.ts'
import { FAMILIES, type Family, type IpAddr } from '../../../lib/address.ts'
import { facts, lease, network, vxlanPath } from '../../backends/world.ts'

const own = lease('10.5.72.0/24 192.168.64.11 fc00:0:0:1::/64 2001:db8::11', vxlanPath('02:00:00:00:00:01'))
const vxlan: readonly OuterForm[] = [{ type: 'vxlan', port: 8472, vni: 1 }]
const BOTH = { forward: true, masquerade: true }

describe('packets of which is asked who drops them', () => {
  const names = (
    options: typeof BOTH,
    families: readonly Family[] = [4],
    outer: readonly OuterForm[] = vxlan,
    addresses: ReadonlyMap<Family, IpAddr> = facts().external.addresses,
  ) => {
    const ingresses = [{ tunnels: new Map(), outer }]
    const sources = { network: network(...families), own, facts: facts({}, { addresses }), ingresses }
    return packetPaths(sources, options).map(nameOfPath)
  }
  const [FORWARD, INPUT, POSTROUTING] = [
    'clear-path IPv4 forward 10.5.0.0/16',
    'clear-path IPv4 input 8472/udp',
    'clear-path IPv4 postrouting 10.5.0.0/16',
  ] as const

  it('are those that our rules let through or masquerade, and those that a tunnel brings', () => {
    assert.deepEqual(names(BOTH), [FORWARD, INPUT, POSTROUTING])
    assert.deepEqual(names({ ...BOTH, masquerade: false }), [FORWARD, INPUT])
    assert.deepEqual(names({ ...BOTH, forward: false }), [INPUT, POSTROUTING])
    assert.deepEqual(names({ forward: false, masquerade: false }), [INPUT])
  })

  it('are those of every family, each at its own address', () => {
    assert.deepEqual(names(BOTH, FAMILIES), [
      FORWARD,
      INPUT,
      POSTROUTING,
      'clear-path IPv6 forward fc00::/48',
      'clear-path IPv6 input 8472/udp',
      'clear-path IPv6 postrouting fc00::/48',
    ])
    assert.deepEqual(names({ forward: false, masquerade: false }, FAMILIES, vxlan, new Map()), [])
  })

  it('are no containers’ of a family of which this node has no subnet', () => {
    const own = lease('10.5.72.0/24 192.168.64.11', vxlanPath('02:00:00:00:00:01'))
    const sources = { network: network(4, 6), own, facts: facts(), ingresses: [] }
    assert.deepEqual(packetPaths(sources, BOTH).map(nameOfPath), [FORWARD, POSTROUTING])
  })

  it('are those of every form in which a tunnel brings them, of none where it brings none', () => {
    assert.deepEqual(names({ forward: false, masquerade: false }, [4], [...vxlan, { type: 'ipip' }]), [
      INPUT,
      'clear-path IPv4 input ipip (IP protocol 4)',
    ])
    assert.deepEqual(names(BOTH, [4], []), [FORWARD, POSTROUTING])
  })

  it('are asked for once where two ways bring the same', () => {
    const both = [...vxlan, { type: 'vxlan', port: 8472, vni: 2 } as const]
    assert.deepEqual(names({ forward: false, masquerade: false }, [4], both), [INPUT])
  })
})
