import assert from 'node:assert/strict'
import sinon from 'sinon'
import { PeerView } from '../../flanneld/leases/peer-view.ts'
import { createLogger } from '../../lib/log.ts'
import { emptySurroundings } from '../../subnet/surroundings.ts'
import type { Lease, RejectedLease } from '../../subnet/types.ts'
import { lease, NO_DATA, network } from '../backends/world.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { lease as dualLease, networkOf, snapshot } from '../subnet/leases.ts'
import { surroundingsOf } from '../subnet/surroundings.ts'

const path = { backend: 'host-gw', data: NO_DATA }
const own = lease('10.5.1.0/24 192.168.64.11', path)
const peers = Array.from({ length: 8 }, (_unused, index) =>
  lease(`10.5.${index + 2}.0/24 192.168.64.${index + 12}`, path),
)
const HOUR = 3_600_000

function start(holdMs = HOUR) {
  const clock = new VirtualClock()
  const sink = sinon.fake()
  const view = new PeerView({ clock, log: createLogger(sink) }, { protectedRanges: [], holdMs })
  const around = { now: emptySurroundings }
  const unreadable: RejectedLease[] = []
  const judge = (...leases: readonly Lease[]) => {
    const snapshot = { revision: '1', leases: new Map(leases.map((each) => [each.id, each])), unreadable }
    return view.judge({ snapshot, own, network: network(4), surroundings: around.now })
  }
  return { clock, sink, view, judge, around, unreadable }
}

describe('the view of the peers', () => {
  it('says why a lease is rejected once, and again when the reason changes', () => {
    const { sink, judge } = start()
    const overlapping = { ...lease('10.5.1.0/24 192.168.64.99', path), id: '10.5.1.0-25' }
    judge(overlapping)
    judge(overlapping)
    sinon.assert.calledOnceWithMatch(sink, 'warn', 'lease rejected', { id: overlapping.id })
    judge(lease('10.6.0.0/24 192.168.64.99', path), { ...overlapping, id: overlapping.id })
    judge()
    judge(overlapping)
    assert.equal(sink.args.filter(([, , fields]) => fields.id === overlapping.id).length, 2)
  })

  it('says of a skipped peer each reason once, though each family has one', () => {
    const { sink, view } = start()
    const rows = ['invalid-vtep', 'duplicate', 'invalid-vtep'].map((reason) => ({ id: 'a', reason, text: '' }))
    view.skipped(rows)
    view.skipped(rows)
    assert.deepEqual(
      sink.args.map(([, , { reason }]) => reason),
      ['invalid-vtep', 'duplicate'],
    )
  })

  it('lets a few peers go at once', () => {
    const { judge } = start()
    judge(...peers)
    const { planned, held } = judge(...peers.slice(3))
    assert.deepEqual([planned.size, held.size], [5, 0])
  })

  it('holds those that vanish together, and lets them go when their time is over', async () => {
    const { clock, view, judge } = start()
    judge(...peers)
    const { planned, held } = judge(...peers.slice(6))
    assert.deepEqual([planned.size, held.size], [8, 6])
    assert.equal(view.nextRelease(), HOUR)
    await clock.advance(HOUR)
    assert.deepEqual([judge(...peers.slice(6)).planned.size, view.nextRelease()], [2, undefined])
  })

  it('lets a held peer go when its subnet is leased to another', () => {
    const { judge } = start()
    judge(...peers)
    const heir = { ...lease('10.5.2.0/24 192.168.64.77', path), node: 'heir' }
    const { planned, held } = judge(heir)
    assert.equal(held.has(peers[0]?.id ?? ''), false)
    assert.deepEqual(
      [...planned.values()].filter(({ families }) => families.get(4)?.subnet === '10.5.2.0/24').map(({ node }) => node),
      ['heir'],
    )
  })

  it('holds nobody whom a change of this host rejects: they are judged anew, and named', () => {
    const { judge, around } = start()
    judge(...peers)
    around.now = surroundingsOf({ routes: peers.map((_peer, index) => `10.5.${index + 2}.0/24 dev tun0`) })
    const { planned, held, rejected } = judge(...peers)
    assert.deepEqual([planned.size, held.size], [0, 0])
    assert.deepEqual(new Set(rejected.map(({ reason }) => reason)), new Set(['host-range']))
    around.now = emptySurroundings
    assert.equal(judge(...peers).planned.size, peers.length)
  })

  it('holds nobody whose entry is there and has become garbage', () => {
    const { judge, unreadable } = start()
    judge(...peers)
    unreadable.push(...peers.map(({ id }) => ({ id, reason: 'unreadable', text: 'x' })))
    const { planned, held, rejected } = judge()
    assert.deepEqual([planned.size, held.size, rejected.length], [0, 0, peers.length])
  })

  it('lets a held peer go, and names it, when this host needs what its subnet contains', () => {
    const { judge, around } = start()
    judge(...peers)
    assert.equal(judge().held.size, peers.length)
    around.now = surroundingsOf({ gateways: ['10.5.2.254'] })
    const { planned, held, rejected } = judge()
    assert.deepEqual([planned.size, held.size], [peers.length - 1, peers.length - 1])
    assert.deepEqual(
      rejected.map(({ id, reason }) => [id, reason]),
      [[peers[0]?.id, 'host-range']],
    )
  })

  const dual = networkOf({ Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' })
  const both = (n: number) =>
    dualLease(`10.5.${n}.0/24 fc00:0:0:${n}::/64`, { ip: `192.168.64.${n}`, ip6: `fd00::${n}`, node: `n${n}`, age: n })

  it('leaves a held peer the family that this host is not in the way of', () => {
    const { view } = start()
    const own = both(1)
    const many = [2, 3, 4, 5, 6].map(both)
    const judge = (leases: readonly Lease[], surroundings = emptySurroundings) =>
      view.judge({ snapshot: snapshot(leases), own, network: dual, surroundings })
    judge([own, ...many])
    const kept = judge([own])
    const { planned, held, rejected } = judge([own], surroundingsOf({ routes: ['10.5.3.0/24 dev wg0'] }))
    assert.deepEqual([held.size, rejected.map(({ family, reason }) => [family, reason])], [5, [[4, 'host-range']]])
    for (const { id } of many) {
      const families = [...(planned.get(id)?.families.keys() ?? [])]
      assert.deepEqual(families, id === both(3).id ? [6] : [4, 6])
      if (families.length === 2) assert.equal(planned.get(id), kept.planned.get(id))
    }
  })

  it('says why a lease is rejected in each family', () => {
    const { sink, view } = start()
    const [own, older] = [both(1), both(2)]
    const younger = dualLease('10.5.3.0/24 fc00:0:0:2::/64', {
      ip: '192.168.64.9',
      ip6: 'fd00::99',
      node: 'n9',
      age: 9,
    })
    const later = { ...younger, families: both(2).families }
    for (const leases of [
      [own, older, younger],
      [own, older, later],
      [own, older, later],
    ]) {
      view.judge({ snapshot: snapshot(leases), own, network: dual, surroundings: emptySurroundings })
    }
    const said = sink.args.filter(([, text]) => text === 'lease rejected').map(([, , { why }]) => String(why))
    assert.equal(said.length, 2)
    assert.match(said[0] ?? '', /fc00/)
    assert.match(said[1] ?? '', /10\.5\.2/)
  })

  it('holds nobody when told so', () => {
    const { judge } = start(0)
    judge(...peers)
    assert.equal(judge().planned.size, 0)
  })
})
