import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { trafficObjects } from '../../flanneld/node/traffic-rules.ts'
import { leaseConditions } from '../../flanneld/status/lease-conditions.ts'
import { kernelConditions } from '../../flanneld/status/node-conditions.ts'
import { remedyFor } from '../../flanneld/status/remedies.ts'
import type { Failure } from '../../kernel/desired.ts'
import { APPLY_ORDER } from '../../kernel/kinds/order.ts'
import { type KernelObject, keyOf } from '../../kernel/objects.ts'
import { parseNetworkConfig } from '../../subnet/network-config.ts'
import { lease, NO_DATA } from '../backends/world.ts'
import { guardChains, guardPeer, guardSets } from '../conformance/guard.ts'
import * as the from '../kernel/fixtures.ts'
import { sourceFiles } from '../source-files.ts'

const own = lease('10.5.1.0/24 192.168.64.11', { backend: 'vxlan', data: NO_DATA })
const network = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}', 'test')
const traffic = { masquerade: true, forward: true, randomFully: true, exempt: [], world: 'nft', instance: '' } as const

const objects: readonly KernelObject[] = [
  the.vxlan(),
  the.vxlan('flannel.1', { mtu: 20 }),
  the.ipip(),
  the.tun(),
  the.bridge('br0'),
  the.fouPort(8285),
  the.address('10.64.1.0/32'),
  the.address('fc00:0:0:1::/128'),
  the.peerRoute('10.64.2.0/24'),
  the.nexthop('10.64.2.0'),
  the.probeRoute('10.64.2.0/24'),
  the.probeRule('10.64.1.0'),
  the.probeRule('10.64.1.0', 'unreachable'),
  the.neighbour('10.64.2.0', the.mac(2)),
  the.fdb(the.mac(2), '192.0.2.2'),
  the.sysctl('net/ipv4/ip_forward', '1'),
  the.file('FLANNEL_MTU=1450\n'),
  { kind: 'udp-peer', device: 'flannel0', subnet: the.cidr('10.64.2.0/24'), publicIp: the.ip('192.0.2.2') },
  { kind: 'udp-proxy', device: 'flannel0', local: the.ip('192.0.2.1'), port: 8285, own: the.ip('10.64.1.0') },
  ...trafficObjects(network, own, { ...traffic, tool: 'iptables' }),
  ...trafficObjects(network, own, { ...traffic, tool: 'nftables' }),
  guardSets,
  guardPeer,
  guardChains,
]

function failure(object: KernelObject, more: Partial<Failure> = {}): Failure {
  return { key: keyOf(object), object: the.required(object), cause: 'refused', text: 'no', ...more }
}

describe('a remedy', () => {
  it('is there for every object, cause and error of the kernel', () => {
    assert.deepEqual([...new Set(objects.map(({ kind }) => kind))].sort(), [...APPLY_ORDER].sort())
    const whys: readonly Partial<Failure>[] = [
      {},
      { cause: 'foreign' },
      { cause: 'fought' },
      { waitsFor: 'link flannel.1' },
      ...['EBADMSG', 'ESTALE', 'E524', 'ENOTSUPP', ...Object.keys(constants.errno)].map((code) => ({ code })),
    ]
    for (const object of objects) {
      for (const why of whys) {
        const one = failure(object, why)
        const [condition] = kernelConditions({ failures: new Map([[one.key, one]]), unreadable: new Map() })
        assert.match(condition?.remedy ?? '', /^[a-zI/].{20,}$/, `${one.key} ${JSON.stringify(why)}`)
        assert.doesNotMatch(condition?.remedy ?? '', /undefined|\n/, `${one.key} ${JSON.stringify(why)}`)
      }
    }
  })

  const cases: readonly [KernelObject, Partial<Failure>, RegExp][] = [
    [the.vxlan(), { code: 'EEXIST' }, /delete the device in the way .* another Backend\.VNI or Backend\.Port/],
    [the.vxlan(), { code: 'EADDRINUSE' }, /another Backend\.Port/],
    [the.vxlan(), { code: 'EOPNOTSUPP' }, /modprobe vxlan/],
    [the.vxlan(), { code: 'ENODEV' }, /bring eth0 back/],
    [the.vxlan(), { code: 'ENETDOWN' }, /ip link set eth0 up/],
    [the.vxlan('flannel.1', { mtu: 20 }), { code: 'EINVAL' }, /48 bytes larger: .* below 68/],
    [the.vxlan(), { code: 'EINVAL' }, /^try by hand what is refused: ip link add flannel\.1 /],
    [the.vxlan(), { cause: 'foreign' }, /another Backend\.VNI/],
    [the.tun(), { code: 'EBUSY' }, /stop the program that holds flannel0/],
    [the.ipip(), { code: 'EPERM' }, /CAP_NET_ADMIN/],
    [the.file(''), { code: 'EISDIR' }, /rmdir.*--subnet-file/],
    [the.file(''), { code: 'ENOSPC' }, /free space on the file system of \/run\/flannel\/subnet\.env/],
    [{ ...the.file(''), option: '--cni-conf-file' }, { code: 'EROFS' }, /another place by --cni-conf-file/],
    [the.file(''), { waitsFor: 'link flannel.1' }, /mend link flannel\.1 first/],
    [the.fouPort(8285), { code: 'EADDRINUSE' }, /another Backend\.Port/],
    [the.address('10.64.1.0/32'), { code: 'EADDRNOTAVAIL' }, /ip address/],
    [
      the.address('fc00:0:0:1::/128', 'flannel-v6.1'),
      { code: 'EINVAL' },
      /MTU of 1280 on flannel-v6\.1: .*Backend\.MTU/,
    ],
    [the.address('fc00:0:0:1::/128', 'flannel-v6.1'), { code: 'EACCES' }, /sysctl -w net\.ipv6\.conf\.flannel-v6\.1\./],
    [guardSets, { code: 'ENOSYS' }, /install the package nftables/],
  ]
  for (const [object, why, says] of cases) {
    it(`for ${keyOf(object)} with ${JSON.stringify(why)} says ${says.source}`, () => {
      assert.match(remedyFor(failure(object, why)), says)
    })
  }

  it('is there while a lease is waited for', () => {
    const [condition] = leaseConditions({ at: 'acquiring', waitingFor: 'all subnets are taken' })
    assert.match(condition?.remedy ?? '', /delete leases of hosts that are gone/)
  })

  it('is nowhere written as an empty text', () => {
    const empty = sourceFiles(['flanneld', 'backends', 'kernel', 'subnet'])
      .map(({ path }) => path)
      .filter((path) =>
        /remedy(:|\s*=|.*\?\?)\s*(''|""|``)/.test(readFileSync(join(import.meta.dirname, '../..', path), 'utf8')),
      )
    assert.deepEqual(empty, [])
  })
})
