import assert from 'node:assert/strict'
import fc from 'fast-check'
import { annotationNames } from '../../../subnet/kube/annotations.ts'
import { readNode, versionOf } from '../../../subnet/kube/node.ts'
import { nodeLease } from '../../../subnet/kube/node-lease.ts'
import { NodeMirror } from '../../../subnet/kube/node-mirror.ts'
import { bareNode, flannelNode, type SimulatedNode } from './api-simulator.ts'

const prefix = 'flannel.alpha.coreos.com/'
const names = annotationNames(prefix)
let version = 0
const stored = (node: SimulatedNode) => {
  version += 1
  return { ...node, metadata: { uid: 'u', ...node.metadata, resourceVersion: String(version) } }
}
const read = (node: SimulatedNode) => nodeLease(readNode(stored(node), prefix), names)

describe('a Node as a lease', () => {
  it('is what flannel writes', () => {
    const lease = read(flannelNode(7))
    assert.ok(lease !== undefined && 'primary' in lease)
    assert.deepEqual(
      [lease.id, lease.node, lease.primary.backend, lease.families.get(4)],
      ['n7', '', 'vxlan', { subnet: '10.5.7.0/24', publicIp: '192.168.64.7' }],
    )
  })

  it('is none while nobody manages its network, or a Node has no annotation at all', () => {
    assert.equal(read(bareNode(1)), undefined)
    assert.equal(read(flannelNode(1, { [`${prefix}kube-subnet-manager`]: 'false' })), undefined)
  })

  const refused: [string, SimulatedNode, RegExp][] = [
    ['without a podCIDR', { ...flannelNode(1), spec: {} }, /no podCIDR/],
    [
      'without a public address',
      flannelNode(1, { [`${prefix}public-ip`]: '0.0.0.0' }),
      /no annotation with its public/,
    ],
    [
      'with a wrong address',
      flannelNode(1, { [`${prefix}public-ip`]: '../../etc' }),
      /PublicIP: must be an IPv4 address/,
    ],
    ['with an address of the other family', flannelNode(1, { [`${prefix}public-ip`]: 'fd00::1' }), /PublicIP/],
    ['with data that are no JSON', flannelNode(1, { [`${prefix}backend-data`]: '$(reboot)\n' }), /is no JSON/],
    ['with a megabyte', flannelNode(1, { [`${prefix}node-id`]: 'x'.repeat(1 << 20) }), /more than 16384/],
    ['with deep data', flannelNode(1, { [`${prefix}backend-data`]: '['.repeat(99) + ']'.repeat(99) }), /deeper/],
    ['with __proto__', flannelNode(1, { [`${prefix}backend-data`]: '{"__proto__":{}}' }), /__proto__/],
    ['with a list that is none', flannelNode(1, { [`${prefix}accepts`]: '{}' }), /Accepts: must be an array/],
  ]
  for (const [what, node, why] of refused) {
    it(`is rejected ${what}`, () => {
      const found = read(node)
      assert.ok(found !== undefined && 'reason' in found)
      assert.match(found.text, why)
    })
  }

  it('of flannel on a Node that was ours is flannel’s, whatever we have left there', () => {
    const path = (mac: string) => ({ BackendType: 'vxlan', BackendData: { VNI: 1, VtepMAC: mac } })
    const left = {
      [`${prefix}node-id`]: 'of-ours',
      [`${prefix}accepts`]: JSON.stringify([path('02:00:00:00:00:01'), { BackendType: 'host-gw' }]),
      [`${prefix}sends`]: JSON.stringify([{ BackendType: 'host-gw' }]),
    }
    const said = (mac: string) => {
      const data = { [`${prefix}backend-data`]: JSON.stringify({ VNI: 1, VtepMAC: mac }) }
      const lease = read(flannelNode(2, { ...left, ...data }))
      return lease === undefined || 'reason' in lease
        ? assert.fail()
        : [lease.node, lease.accepts.length, lease.sends?.length]
    }
    assert.deepEqual(said('02:00:00:00:00:99'), ['', 0, undefined])
    assert.deepEqual(said('02:00:00:00:00:01'), ['of-ours', 2, 1])
  })

  it('never makes the reader throw', () => {
    const annotation = fc.oneof(fc.json(), fc.string(), fc.constantFrom('true', 'vxlan', '10.0.0.1', 'null'))
    const keys = [
      'kube-subnet-manager',
      'backend-type',
      'backend-data',
      'backend-v6-data',
      'public-ip',
      'accepts',
      'sends',
      'tunnel-ip',
    ]
    const annotations = fc.record(Object.fromEntries(keys.map((key) => [prefix + key, annotation])), {
      requiredKeys: [],
    })
    const node = fc.record({
      metadata: fc.record({ name: fc.string(), annotations: fc.oneof(annotations, fc.anything()) }),
      spec: fc.oneof(
        fc.record({ podCIDRs: fc.array(fc.oneof(fc.string(), fc.constant('10.5.1.0/24'))) }),
        fc.anything(),
      ),
      status: fc.anything(),
    })
    const mirror = new NodeMirror({ names, own: { name: 'n1', nodeId: 'id' } })
    fc.assert(
      fc.property(node, (value) => {
        mirror.put(stored(value as unknown as SimulatedNode))
        mirror.snapshot()
      }),
    )
  })
})

describe('the mirror of Nodes', () => {
  const open = () => new NodeMirror({ names, own: { name: 'n1', nodeId: 'id' } })

  it('gives the own lease the NodeID whatever stands there, and takes it from a Node that has a copy of it', () => {
    const mirror = open()
    mirror.put(stored(flannelNode(1)))
    mirror.put(stored(flannelNode(2, { [`${prefix}node-id`]: 'id' })))
    mirror.put(stored(flannelNode(3, { [`${prefix}node-id`]: 'other' })))
    const { leases } = mirror.snapshot()
    assert.deepEqual(
      ['n1', 'n2', 'n3'].map((id) => leases.get(id)?.node),
      ['id', '', 'other'],
    )
  })

  it('keeps the same lease while a Node says the same, over a list, too', () => {
    const mirror = open()
    mirror.put(stored(flannelNode(2)))
    const before = mirror.snapshot().leases.get('n2')
    assert.ok(before)
    assert.equal(mirror.put(stored({ ...flannelNode(2), status: { beat: 1 } })), false)
    assert.equal(mirror.snapshot().leases.get('n2'), before)
    const list = mirror.beginList()
    list.add(stored(flannelNode(2)))
    list.commit('99999')
    assert.equal(mirror.snapshot().leases.get('n2'), before)
  })

  it('is as new as what the watch has told, whatever the API has answered to a write, and tells when it has come that far', () => {
    const mirror = open()
    const [listed, before, own] = [stored(flannelNode(2)), stored(flannelNode(3)), stored(flannelNode(1))]
    mirror.put(listed)
    assert.equal(mirror.putAnswered(own), true)
    assert.equal(mirror.own?.version, versionOf(own))
    assert.equal(mirror.snapshot().revision, versionOf(listed))
    mirror.put(before)
    assert.equal(mirror.snapshot().revision, versionOf(before))
    assert.equal(mirror.put(own), true)
    assert.equal(mirror.snapshot().revision, versionOf(own))
    assert.equal(mirror.put(own), false)
  })

  it('tells of the own Node when something of it matters, a heartbeat does not', () => {
    const mirror = open()
    const network = (status: string) => ({ conditions: [{ type: 'NetworkUnavailable', status }] })
    assert.equal(mirror.put(stored({ ...bareNode(1), status: network('True') })), true)
    assert.equal(mirror.put(stored({ ...bareNode(1), status: { ...network('True'), beat: 1 } })), false)
    assert.equal(mirror.put(stored({ ...bareNode(1), status: network('False') })), true)
    assert.equal(mirror.put(stored({ ...bareNode(1, '10.5.9.0/24'), status: network('False') })), true)
  })

  it('forgets what a list does not have', () => {
    const mirror = open()
    for (const n of [1, 2]) mirror.put(stored(flannelNode(n)))
    mirror.put(stored({ ...flannelNode(3), spec: {} }))
    assert.equal(mirror.snapshot().unreadable.length, 1)
    mirror.beginList().commit('1')
    assert.deepEqual(
      [mirror.own, mirror.snapshot().leases.size, mirror.snapshot().unreadable.length],
      [undefined, 0, 0],
    )
  })
})
