import assert from 'node:assert/strict'
import { occupiedBy } from '../../flanneld/host/occupied.ts'
import type { HostInterface } from '../../kernel/host.ts'

describe('addresses by which a host reaches containers', () => {
  const device = (index: number, kind: string, address: string, master = 0) => {
    const [plain = '', length = ''] = address.split('/')
    const addresses = plain === '' ? [] : [{ address: plain, length: Number(length) }]
    return { index, name: `d${index}`, kind, master, addresses } as unknown as HostInterface
  }
  const CASES: readonly [what: string, interfaces: readonly HostInterface[], found: readonly string[]][] = [
    ['a bridge with a port', [device(2, 'bridge', '10.5.1.1/24'), device(3, 'veth', '', 2)], ['10.5.1.1']],
    ['a bridge without one', [device(2, 'bridge', '10.5.1.1/24')], []],
    ['two pairs of ptp', [device(2, 'veth', '10.5.1.1/32'), device(3, 'veth', '10.5.1.1/32')], ['10.5.1.1']],
    ['a pair of ptp in IPv6', [device(2, 'veth', 'fc00:0:0:1::1/128')], ['fc00:0:0:1::1']],
    ['an uplink that is a pair', [device(2, 'veth', '192.168.64.11/24')], []],
    ['another device with an address of its own', [device(2, 'dummy', '10.5.1.1/32')], []],
  ]
  for (const [what, interfaces, found] of CASES) it(`of ${what}`, () => assert.deepEqual(occupiedBy(interfaces), found))
})
