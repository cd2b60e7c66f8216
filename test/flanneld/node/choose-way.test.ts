import assert from 'node:assert/strict'
import { alloc } from '../../../backends/alloc.ts'
import { hostGw } from '../../../backends/host-gw.ts'
import { ipip } from '../../../backends/ipip.ts'
import type { AnyBackend } from '../../../backends/registry.ts'
import { udp } from '../../../backends/udp/backend.ts'
import { vxlan } from '../../../backends/vxlan/backend.ts'
import type { Way } from '../../../backends/way.ts'
import { acceptedBy, chooseWays, mayBeDirect, reachOf, sendsBy } from '../../../flanneld/node/choose-way.ts'
import type { Family } from '../../../lib/address.ts'
import type { Lease, PeerPath } from '../../../subnet/types.ts'
import { lease, NO_DATA, vxlanPath, wayOf } from '../../backends/world.ts'

const MAC = '02:00:00:00:00:12'
const OTHERS = { 'host-gw': hostGw, ipip, udp, alloc }
const ways: Readonly<Record<string, Way>> = {
  'vxlan 1': wayOf(vxlan as AnyBackend),
  'vxlan 2': wayOf(vxlan as AnyBackend, { config: { VNI: 2 } }),
  ...Object.fromEntries(Object.entries(OTHERS).map(([name, backend]) => [name, wayOf(backend as AnyBackend)])),
}
const typed = (backend: string): PeerPath => ({ backend, data: NO_DATA })
const paths: Readonly<Record<string, PeerPath>> = {
  'vxlan 1': vxlanPath(MAC, undefined, 1),
  'vxlan 2': vxlanPath(MAC, undefined, 2),
  'vxlan 3': vxlanPath(MAC, undefined, 3),
  'vxlan 0': vxlanPath(MAC, undefined, 0),
  'vxlan x': { backend: 'vxlan', data: new Map([[4, 'x']]) },
  'host-gw': typed('host-gw'),
  ipip: typed('ipip'),
  udp: typed('udp'),
  empty: typed(''),
}

function waysOf(names: string): readonly Way[] {
  return names.split(', ').map((name) => ways[name] as Way)
}

/** Whose lease says `primary` and, after a colon, what it accepts beside. */
function peerOf(text: string): Lease {
  const [primary = '', accepts = ''] = text.split(': ')
  const made = lease('10.5.2.0/24 192.168.64.12', paths[primary] as PeerPath)
  return accepts === '' ? made : { ...made, accepts: accepts.split(', ').map((name) => paths[name] as PeerPath) }
}

function nameOf(way: Way): string | undefined {
  return Object.keys(ways).find((name) => ways[name] === way)
}

function chosen(peer: Lease, names: string, current?: string): string {
  const now = current === undefined ? undefined : new Map([[4 as Family, ways[current] as Way]])
  const choices = chooseWays(peer, { families: [4], ways: waysOf(names) }, now)
  return 'reason' in choices ? `${choices.reason}: ${choices.text}` : choices.map(({ way }) => nameOf(way)).join()
}

describe('the way to a peer', () => {
  const cases: readonly [peer: string, ways: string, current: string | undefined, expected: string][] = [
    ['vxlan 1', 'vxlan 1', undefined, 'vxlan 1'],
    ['vxlan 1', 'vxlan 2, vxlan 1', undefined, 'vxlan 1'],
    ['vxlan 2', 'vxlan 1, vxlan 2', undefined, 'vxlan 2'],
    // An old flannel says no VNI.
    ['vxlan 0', 'vxlan 2, vxlan 1', undefined, 'vxlan 2'],
    // Data that fit none: the backend of the first one knows what is wrong.
    ['vxlan 3', 'host-gw, vxlan 2, vxlan 1', undefined, 'vxlan 2'],
    ['vxlan x', 'vxlan 1, vxlan 2', undefined, 'vxlan 1'],
    ['host-gw', 'vxlan 1, host-gw', undefined, 'host-gw'],
    ['ipip', 'vxlan 1, ipip', undefined, 'ipip'],
    ['udp', 'vxlan 1, udp', undefined, 'udp'],
    ['empty', 'vxlan 1, udp', undefined, 'udp'],
    ['empty', 'alloc, udp', undefined, 'alloc'],
    // `accepts` says all, and the primary one is among them or not.
    ['vxlan 1: vxlan 1, vxlan 2', 'vxlan 2, vxlan 1', undefined, 'vxlan 2'],
    ['vxlan 1: vxlan 2', 'vxlan 1, vxlan 2', undefined, 'vxlan 2'],
    ['vxlan 1: vxlan 1, vxlan 2', 'vxlan 2', undefined, 'vxlan 2'],
    // What the kernel does now stays as long as it works.
    ['vxlan 1: vxlan 1, vxlan 2', 'vxlan 2, vxlan 1', 'vxlan 1', 'vxlan 1'],
    ['vxlan 1: vxlan 1, host-gw', 'host-gw, vxlan 1', 'vxlan 1', 'vxlan 1'],
    ['vxlan 1: vxlan 2', 'vxlan 2, vxlan 1', 'vxlan 1', 'vxlan 2'],
    ['vxlan 1', 'vxlan 1', 'vxlan 2', 'vxlan 1'],
    ['host-gw', 'vxlan 1, ipip', undefined, 'other-backend: the node uses host-gw, this one vxlan, ipip'],
    [
      'vxlan 1: vxlan 1, host-gw',
      'udp',
      undefined,
      'other-backend: the node uses vxlan, host-gw, this one udp or alloc',
    ],
    ['empty', 'vxlan 1, vxlan 2', undefined, 'other-backend: the node uses udp or alloc, this one vxlan'],
  ]
  for (const [peer, names, current, expected] of cases) {
    const now = current === undefined ? '' : `, now ${current}`
    it(`of ${peer}, among ${names}${now}: ${expected}`, () => {
      assert.equal(chosen(peerOf(peer), names, current), expected)
    })
  }

  it('is said to be waited for where nobody holds the subnet yet', () => {
    assert.equal(
      chosen({ ...peerOf('empty'), reserved: true }, 'vxlan 1'),
      'reserved: the subnet is reserved, nobody holds it yet',
    )
  })

  it('is one for each family, which need not be the same', () => {
    const data = new Map([
      [4, { VNI: 1, VtepMAC: MAC }],
      [6, { VNI: 2, VtepMAC: MAC }],
    ] as const)
    const both = lease('10.5.2.0/24 192.168.64.12 fc00:0:0:2::/64 2001:db8::12', { backend: 'vxlan', data })
    const choices = chooseWays(both, { families: [4, 6], ways: waysOf('vxlan 2, vxlan 1') })
    assert('length' in choices)
    assert.deepEqual(
      choices.map(({ family, way }) => [family, nameOf(way)]),
      [
        [4, 'vxlan 1'],
        [6, 'vxlan 2'],
      ],
    )
  })

  it('is none in a family that the way of the lease’s type does not carry', () => {
    const both = lease('10.5.2.0/24 192.168.64.12 fc00:0:0:2::/64 2001:db8::12', typed('ipip'))
    const single = lease('fc00:0:0:2::/64 2001:db8::12', typed('ipip'))
    const node = { families: [4, 6] as const, ways: waysOf('vxlan 1, ipip') }
    const choices = chooseWays(both, node)
    assert('length' in choices)
    assert.deepEqual(
      choices.map(({ family }) => family),
      [4],
    )
    assert.deepEqual(chooseWays(single, node), { reason: 'missing-family', text: 'the lease has no IPv4 subnet' })
  })

  describe('of two that differ in their port alone', () => {
    const data = new Map([[4 as const, { VNI: 1, VtepMAC: MAC }]])
    const onPort = (Port?: number) => {
      const way = wayOf(vxlan as AnyBackend, { config: { Port: Port ?? 8472 } })
      return { ...way, path: { ...way.path, ...(Port && { port: Port }) } }
    }
    const [usual, other] = [onPort(), onPort(4789)]
    const peer = (...accepts: readonly (number | undefined)[]): Lease => {
      const paths = accepts.map((port) => ({ backend: 'vxlan', data, ...(port && { port }) }))
      return { ...lease('10.5.2.0/24 192.168.64.12', { backend: 'vxlan', data }), accepts: paths }
    }
    const found = (from: Lease, ways: readonly Way[]) =>
      ways.map((way) => acceptedBy(from, way, 4, ways) !== undefined && sendsBy(from, way, ways))

    it('is the one of the port that the lease says', () => {
      assert.deepEqual(found(peer(4789), [usual, other]), [false, true])
      assert.deepEqual(found(peer(4789, undefined), [usual, other]), [true, true])
    })

    it('is the usual one for a lease in flannel’s words alone, whichever is the older', () => {
      assert.deepEqual(found(peer(), [usual, other]), [true, false])
      assert.deepEqual(found(peer(), [other, usual]), [false, true])
      const chosen = chooseWays(peer(), { families: [4], ways: [usual, other] }, new Map([[4, other]]))
      assert.ok(!('reason' in chosen))
      assert.equal(chosen[0]?.way, usual)
    })

    it('is the only one for a lease of an earlier version, which says no port', () => {
      assert.deepEqual(found(peer(), [other]), [true])
      // In the middle of a change to host-gw.
      const changing = { ...peer(), accepts: [{ backend: 'host-gw', data: NO_DATA }, ...peer(undefined).accepts] }
      assert.deepEqual(found(changing, [other]), [true])
    })

    it('is the one of its VNI for such a lease, whatever port another one has', () => {
      const otherVni = wayOf(vxlan as AnyBackend, { config: { VNI: 2 } })
      assert.deepEqual(found(peer(), [other, otherVni]), [true, false])
    })

    it('is the older one for a host of flannel, which says none either', () => {
      const flannel = { ...peer(), node: '' }
      assert.deepEqual(found(flannel, [other, usual]), [true, false])
      assert.deepEqual(found(flannel, [usual, other]), [true, false])
      assert.deepEqual(found(flannel, [other]), [true])
    })

    it('is none for another port, and says so', () => {
      assert.deepEqual(chooseWays(peer(4789), { families: [4], ways: [usual] }), {
        reason: 'other-backend',
        text: 'the node uses vxlan on port 4789, this one vxlan',
      })
    })
  })

  describe('of two that differ in direct paths alone', () => {
    const data = new Map([[4 as const, { VNI: 1, VtepMAC: MAC }]])
    const tunnel = wayOf(vxlan as AnyBackend)
    const made = wayOf(vxlan as AnyBackend, { config: { DirectRouting: true } })
    const direct = { ...made, path: { ...made.path, direct: true as const } }
    const path = (isDirect: boolean): PeerPath => ({
      backend: 'vxlan',
      data,
      ...(isDirect && { direct: true as const }),
    })
    const peer = (...accepts: readonly boolean[]): Lease => ({
      ...lease('10.5.2.0/24 192.168.64.12', path(false)),
      accepts: accepts.map(path),
    })
    const found = (from: Lease, ways: readonly Way[]) =>
      ways.map((way) => [acceptedBy(from, way, 4, ways) !== undefined, sendsBy(from, way, ways)])

    it('is the one that the lease says, or both', () => {
      const [yes, no] = [
        [true, true],
        [false, false],
      ]
      assert.deepEqual(found(peer(), [tunnel, direct]), [yes, no])
      assert.deepEqual(found(peer(true), [direct, tunnel]), [yes, no])
      assert.deepEqual(found(peer(false, true), [tunnel, direct]), [yes, yes])
      const receives = { ...peer(false, true), sends: [path(false)] }
      assert.deepEqual(found(receives, [tunnel, direct]), [yes, [true, false]])
    })

    it('is the only one for every lease, and for a host that does not take direct packets it is the tunnel', () => {
      for (const way of [tunnel, direct])
        for (const from of [peer(), peer(true)]) assert.deepEqual(found(from, [way]), [[true, true]])
      assert.deepEqual(
        [peer(), peer(true), { ...peer(), node: '' }].map((from) =>
          mayBeDirect(from, direct, from.accepts[0] ?? from.primary),
        ),
        [false, true, true],
      )
    })

    it('stays direct at rest while the other node still takes that beside the tunnel', () => {
      for (const from of [peer(false, true), peer(true, false)])
        for (const way of [tunnel, direct]) {
          const chosen = chooseWays(from, { families: [4], ways: [way] })
          assert.ok(!('reason' in chosen))
          assert.equal(chosen[0]?.path.direct, way.path.direct)
          assert.equal(acceptedBy(from, way, 4, [way])?.direct, way.path.direct)
        }
    })

    it('is either for a host of flannel, of which nobody knows by which it sends', () => {
      const flannel = { ...peer(), node: '' }
      for (const ways of [
        [tunnel, direct],
        [direct, tunnel],
      ])
        assert.deepEqual(found(flannel, ways), [
          [true, false],
          [true, false],
        ])
      const chosen = chooseWays(flannel, { families: [4], ways: [tunnel, direct] }, new Map([[4, direct]]))
      assert.ok(!('reason' in chosen))
      assert.equal(chosen[0]?.way, direct)
    })
  })

  it('decides what must be looked up of peers: what the most curious of all ways needs', () => {
    const direct = wayOf(vxlan as AnyBackend, { config: { DirectRouting: true } })
    assert.equal(reachOf(waysOf('vxlan 1, udp')), 'unused')
    assert.equal(reachOf([...waysOf('vxlan 1, udp'), direct]), 'probe')
    assert.equal(reachOf(waysOf('vxlan 1, host-gw')), 'probe')
  })
})
