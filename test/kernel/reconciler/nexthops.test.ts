import assert from 'node:assert/strict'
import type { DesiredObject } from '../../../kernel/objects.ts'
import { settleTasks } from '../../fakes/clock.ts'
import * as the from '../fixtures.ts'

const ROLE = { class: 'peer', peer: 'p' } as const
const HOP: DesiredObject = { ...the.nexthop('10.64.2.0'), role: ROLE }
const HOP6: DesiredObject = { ...the.nexthop('fc00:0:0:2::'), role: ROLE }
const ROUTE = the.throughNexthop(the.peerRoute('10.64.2.0/24'))
const ROUTE6 = the.throughNexthop(the.peerRoute('fc00:0:0:2::/64'))
const DIRECT = the.route('10.64.2.0/24', { via: the.ip('192.0.2.2'), device: 'eth0' })
const peer = (object: typeof ROUTE): DesiredObject => ({ ...object, role: ROLE })
const WANTED = the.desiredOf([...the.local(), HOP, HOP6, peer(ROUTE), peer(ROUTE6)])
/** Reached without the tunnel by now. */
const MOVED = the.desiredOf([...the.local(), peer(DIRECT), HOP6, peer(ROUTE6)])

describe('routes through nexthop objects', () => {
  let rig: the.Rig

  beforeEach(async () => {
    rig = the.rig()
    await rig.want(WANTED)
    await rig.clock.advance(1_000)
    rig.assertInPlace(WANTED)
  })
  afterEach(() => rig.reconciler.stop())

  const healed = async () => {
    await rig.clock.advance(900)
    rig.assertInPlace(WANTED)
  }
  const changes = (from: number) =>
    rig.kernel.calls.slice(from).flatMap(({ verb, kind }) => (verb === 'dump' ? [] : [`${verb} ${kind}`]))

  it('are back when a nexthop object was deleted, which takes a route of IPv4 along without an event', async () => {
    for (const { via } of [ROUTE, ROUTE6]) {
      rig.kernel.delete(`nexthop flannel.1 ${via}`)
      await settleTasks()
      await healed()
    }
  })

  it('are back when all of it went with the device', async () => {
    rig.kernel.changeDevice('flannel.1', { up: false })
    await settleTasks()
    await healed()
    rig.kernel.delete('link flannel.1')
    await settleTasks()
    await healed()
  })

  it('take the place of a route with a gateway of its own, and of one through another’s nexthop object', async () => {
    const { nexthop: _nexthop, ...inline } = ROUTE
    for (const other of [inline, { ...inline, protocol: the.BOOT_PROTOCOL }, { ...ROUTE, nexthop: 'other' } as const]) {
      rig.kernel.put(other)
      await settleTasks()
      await healed()
    }
  })

  it('move before their nexthop object goes, and after the new one has come', async () => {
    const before = rig.kernel.calls.length
    await rig.want(MOVED)
    await rig.want(WANTED)
    rig.assertInPlace(WANTED)
    assert.deepEqual(changes(before), ['update route', 'remove nexthop', 'create nexthop', 'update route'])
  })

  it('keep their nexthop object until they could be moved', async () => {
    rig.kernel.fault = ({ kind, verb }) => (kind === 'route' && verb === 'update' ? { code: 'ENOMEM' } : undefined)
    const generation = await rig.want(MOVED)
    await rig.clock.advance(900)
    rig.assertInPlace(WANTED)
    const { failures } = await rig.reconciler.settled(generation, AbortSignal.timeout(1_000))
    assert.deepEqual(
      [...failures].map(([key, { waitsFor }]) => [key, waitsFor]),
      [
        ['route 10.64.2.0/24 metric 0', undefined],
        ['nexthop flannel.1 10.64.2.0', 'route 10.64.2.0/24 metric 0'],
      ],
    )
    rig.kernel.fault = () => undefined
    await rig.clock.advance(5_000)
    rig.assertInPlace(MOVED)
    assert.equal(rig.kernel.get('nexthop flannel.1 10.64.2.0'), undefined)
    assert.deepEqual([...rig.reconciler.failures()], [])
  })

  it('leave nexthop objects of devices alone that are not ours', async () => {
    const foreign = the.nexthop('10.64.2.0', 'flannel.7')
    rig.kernel.addDevice('flannel.7')
    rig.kernel.put(foreign)
    await rig.want(MOVED)
    await rig.clock.advance(200_000)
    assert.ok(rig.kernel.get('nexthop flannel.7 10.64.2.0'))
  })
})
