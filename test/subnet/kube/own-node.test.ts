import assert from 'node:assert/strict'
import type { Cidr, Family, IpAddr } from '../../../lib/address.ts'
import { annotationNames } from '../../../subnet/kube/annotations.ts'
import { readNode } from '../../../subnet/kube/node.ts'
import { nodeLease } from '../../../subnet/kube/node-lease.ts'
import { ownNode } from '../../../subnet/kube/own-node.ts'
import { parseNetworkConfig } from '../../../subnet/network-config.ts'
import type { LeaseAttrs } from '../../../subnet/types.ts'

const prefix = 'flannel.alpha.coreos.com/'
const names = annotationNames(prefix)
const config = (families: object) =>
  parseNetworkConfig(JSON.stringify({ ...families, Backend: { Type: 'vxlan' } }), 'test', 'assigned')
const v4 = config({ Network: '10.5.0.0/16' })
const dual = config({ Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' })
const v6 = config({ EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fc00::/48' })

function nodeWith(
  annotations: Record<string, string> = {},
  podCIDRs: readonly string[] = ['10.5.1.0/24', 'fc00::/64'],
) {
  const prefixed = Object.entries(annotations).map(([name, text]) => [prefix + name, text])
  const metadata = { name: 'n1', uid: 'u', creationTimestamp: '2026-01-01T00:00:00Z', resourceVersion: '7' }
  return readNode({ metadata: { ...metadata, annotations: Object.fromEntries(prefixed) }, spec: { podCIDRs } }, prefix)
}

function wanted(backend: string, data: Partial<Record<Family, unknown>>, families: readonly Family[]): LeaseAttrs {
  const addresses: Record<Family, string> = { 4: '192.168.64.1', 6: 'fd00::1' }
  return {
    node: 'id',
    primary: {
      backend,
      data: new Map(Object.entries(data).map(([family, value]) => [Number(family) as Family, value])),
    },
    accepts: [],
    publicIps: new Map(families.map((family) => [family, addresses[family] as IpAddr])),
    tunnelIps: new Map(),
  }
}

function patchOf(node: ReturnType<typeof nodeWith>, want: LeaseAttrs, network = v4) {
  const own = ownNode(node, want, { network, names, origin: 'net-conf.json', has: [] })
  if (own.at !== 'known') return assert.fail(own.wait.text)
  const patch = Object.fromEntries(Object.entries(own.patch).map(([name, text]) => [name.slice(prefix.length), text]))
  return { lease: own.lease, patch }
}

const common = { 'kube-subnet-manager': 'true', 'node-id': 'id' }
const vtep = { VNI: 1, VtepMAC: 'c6:d2:32:6f:8f:44' }
const vtepText = '{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}'
const ip = { 'public-ip': '192.168.64.1' }
const ip6 = { 'public-ipv6': 'fd00::1' }

describe('annotations of the own Node', () => {
  const forms: [string, LeaseAttrs, typeof v4, Record<string, string>][] = [
    ['vxlan', wanted('vxlan', { 4: vtep }, [4]), v4, { 'backend-data': vtepText, ...ip }],
    [
      'vxlan',
      wanted('vxlan', { 4: vtep, 6: vtep }, [4, 6]),
      dual,
      { 'backend-data': vtepText, ...ip, 'backend-v6-data': vtepText, ...ip6 },
    ],
    ['vxlan', wanted('vxlan', { 6: vtep }, [6]), v6, { 'backend-v6-data': vtepText, ...ip6 }],
    ['host-gw', wanted('host-gw', {}, [4]), v4, { 'backend-data': 'null', ...ip }],
    [
      'host-gw',
      wanted('host-gw', {}, [6]),
      v6,
      { 'backend-data': 'null', 'public-ip': '0.0.0.0', 'backend-v6-data': 'null', ...ip6 },
    ],
    ['ipip', wanted('ipip', {}, [4, 6]), dual, { 'backend-data': 'null', ...ip }],
    ['', wanted('', {}, [4]), v4, { 'backend-data': 'null', ...ip }],
    ['extension', wanted('extension', { 4: 'a<b' }, [4]), v4, { 'backend-data': '"a\\u003cb"', ...ip }],
    ['extension', wanted('extension', {}, [4]), v4, { 'backend-data': '', ...ip }],
  ]
  for (const [backend, want, network, expected] of forms) {
    it(`are flannel's: ${backend || 'udp'}, families ${[...want.publicIps.keys()]}`, () => {
      const { patch } = patchOf(nodeWith(), want, network)
      assert.deepEqual(patch, { 'backend-type': backend, ...common, ...expected })
      const stands = patch as Record<string, string>
      assert.deepEqual(patchOf(nodeWith(stands), want, network).patch, {})
    })
  }

  it('of what differs only are written, and what does not hold any more is removed', () => {
    const want = wanted('vxlan', { 4: vtep }, [4])
    const { patch } = patchOf(nodeWith(), want)
    const stands = {
      ...(patch as Record<string, string>),
      'public-ip': '192.168.64.9',
      accepts: '[]',
      sends: '[]',
      ...ip6,
      mine: 'x',
    }
    assert.deepEqual(patchOf(nodeWith(stands), want).patch, { ...ip, accepts: null, sends: null, 'public-ipv6': null })
  })

  it('advertise an address that an operator has put over it, and say where packets come from', () => {
    const want = wanted('vxlan', { 4: vtep }, [4])
    const { patch, lease } = patchOf(nodeWith({ 'public-ip-overwrite': '203.0.113.7' }), want)
    assert.deepEqual([patch['public-ip'], patch['tunnel-ip']], ['203.0.113.7', '192.168.64.1'])
    assert.equal(lease.families.get(4)?.publicIp, '203.0.113.7')
    const wrong = patchOf(nodeWith({ 'public-ip-overwrite': 'fd00::7' }), want)
    assert.deepEqual([wrong.patch['public-ip'], wrong.patch['tunnel-ip']], ['192.168.64.1', undefined])
  })

  it('are read by others as the lease that was wanted', () => {
    const accepts = [
      { backend: 'vxlan', data: new Map([[4 as Family, vtep]]) },
      { backend: 'host-gw', data: new Map() },
    ]
    const want = { ...wanted('vxlan', { 4: vtep, 6: vtep }, [4, 6]), accepts, sends: accepts.slice(1) }
    const { patch, lease } = patchOf(nodeWith(), want, dual)
    const read = nodeLease(nodeWith(patch as Record<string, string>), names)
    const plain = (value: unknown) =>
      JSON.parse(
        JSON.stringify(value, (_key, item) => (item instanceof Map ? { v4: item.get(4), v6: item.get(6) } : item)),
      )
    assert.deepEqual(plain(read), plain(lease))
  })

  it('wait for a podCIDR of each family', () => {
    const at = (podCIDRs: readonly string[]) =>
      ownNode(nodeWith({}, podCIDRs), wanted('vxlan', {}, [4, 6]), { network: dual, names, origin: 'f', has: [] })
    const texts = [[], ['10.5.1.0/24'], ['10.9.1.0/24', 'fc00::/64']].map((podCIDRs) => {
      const own = at(podCIDRs)
      return own.at === 'waiting' ? own.wait.text : ''
    })
    assert.deepEqual(texts, [
      'Node n1 has no podCIDR yet',
      'Node n1 has no IPv6 podCIDR yet',
      'podCIDR 10.9.1.0/24 of Node n1 does not lie inside Network 10.5.0.0/16 of f',
    ])
  })

  it('go on in the families that they had, with what the others lack', () => {
    const at = (podCIDRs: readonly string[]) =>
      ownNode(nodeWith({}, podCIDRs), wanted('vxlan', { 4: vtep, 6: vtep }, [4, 6]), {
        network: dual,
        names,
        origin: 'f',
        has: [4],
      })
    const [short, outside, whole] = [
      at(['10.5.1.0/24']),
      at(['10.5.1.0/24', 'fd00::/64']),
      at(['10.5.1.0/24', 'fc00:0:0:1::/64']),
    ].map((own) => (own.at === 'known' ? own : undefined))
    assert.match(short?.lacks?.text ?? '', /Node n1 has no IPv6 podCIDR yet/)
    assert.match(
      short?.lacks?.remedy ?? '',
      /cannot be changed: .* delete the Node and let the kubelet register it again/,
    )
    assert.deepEqual([...(short?.lease.families.keys() ?? [])], [4])
    assert.equal(short?.patch['public-ipv6'], undefined)
    assert.match(outside?.lacks?.text ?? '', /podCIDR fd00::\/64 of Node n1 does not lie inside IPv6Network/)
    assert.deepEqual([[...(whole?.lease.families.keys() ?? [])], whole?.lacks], [[4, 6], undefined])
    assert.equal(at(['10.9.1.0/24', 'fc00::/64']).at, 'waiting')
  })

  it('may have a podCIDR of any length inside Network', () => {
    const { lease } = patchOf(nodeWith({}, ['10.5.0.0/17']), wanted('vxlan', { 4: vtep }, [4]))
    assert.equal(lease.families.get(4)?.subnet, '10.5.0.0/17' as Cidr)
  })
})
