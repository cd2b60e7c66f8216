import assert from 'node:assert/strict'
import { openHost } from '../../flanneld/host/open-host.ts'
import { parseConfiguration } from '../../flanneld/node/configuration.ts'
import { LevelSet } from '../../flanneld/node/levels.ts'
import type { HostKernel } from '../../kernel/host.ts'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'
import { lease, NO_DATA } from '../backends/world.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { address, device } from './host-fixtures.ts'

const OURS = 'a'.repeat(32)
const [DHCP, FLOATING, SECOND] = ['192.168.64.11', '192.168.64.77', '192.168.64.78']

/** A host with an address of DHCP in use, and two that a first start would choose before it. */
async function chosen(leases: readonly Lease[], last: { subnet?: string; publicIp?: string } = {}): Promise<string> {
  const interfaces = [device('eth0', 2, [address(DHCP, { permanent: false }), FLOATING, SECOND])]
  const kernel = {
    listInterfaces: async () => interfaces,
    hasNexthops: async () => true,
    defaultRouteDevices: async () => ['eth0'],
    routesNear: async () => ({ routes: [], gateways: [] }),
  }
  const interfaceOptions = { iface: ['eth0'], ifaceRegex: [], ifaceCanReach: undefined, publicIpv6: undefined }
  const levels = new LevelSet()
  levels.set({
    configuration: parseConfiguration('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}', 'test'),
    leases: { revision: '1', leases: new Map(leases.map((each) => [each.id, each])), unreadable: [] },
  })
  const host = openHost(
    {
      kernel: kernel as unknown as HostKernel,
      clock: new VirtualClock(),
      levels,
      devices: () => new Set(['flannel.1']),
      overlay: () => undefined,
    },
    {
      interfaceOptions: { ...interfaceOptions, publicIp: last.publicIp as IpAddr | undefined },
      nodeId: OURS,
      previousSubnets: new Map(last.subnet === undefined ? [] : [[4 as Family, last.subnet as Cidr]]),
    },
  )
  await host.read()
  return host.external.addresses.get(4) ?? ''
}

describe('the address of the last run', () => {
  const PATH = { backend: 'vxlan', data: NO_DATA }
  const ours = { ...lease(`10.5.7.0/24 ${DHCP}`, PATH), node: OURS }
  const flannels = { ...ours, node: '' }
  const saying = (part: object): Lease => ({
    ...ours,
    families: new Map([...ours.families].map(([family, known]) => [family, { ...known, ...part }])),
  })

  const cases: [what: string, leases: Lease[], last: Parameters<typeof chosen>[1], wanted: string | undefined][] = [
    ['without a lease is none', [], {}, FLOATING],
    ['is that of our lease', [ours], {}, DHCP],
    ['is that of flannel’s lease for the subnet in subnet.env', [flannels], { subnet: '10.5.7.0/24' }, DHCP],
    ['is not that of flannel’s lease for another subnet', [flannels], { subnet: '10.5.8.0/24' }, FLOATING],
    ['is not that of another node’s lease', [{ ...ours, node: 'b' }], { subnet: '10.5.7.0/24' }, FLOATING],
    ['is not one that this host no longer has', [saying({ publicIp: '192.168.64.99' })], {}, FLOATING],
    ['is the tunnel address', [saying({ publicIp: '203.0.113.1', tunnelIp: DHCP })], { publicIp: '203.0.113.1' }, DHCP],
    ['is not the public one that was given', [saying({ publicIp: SECOND })], { publicIp: SECOND }, FLOATING],
  ]
  for (const [what, leases, last, wanted] of cases) {
    it(what, async () => assert.equal(await chosen(leases, last), wanted))
  }
})
