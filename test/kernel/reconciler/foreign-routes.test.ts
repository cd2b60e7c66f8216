import assert from 'node:assert/strict'
import { keyOf, type Route } from '../../../kernel/objects.ts'
import { invalidatedBy } from '../../../kernel/reconciler/events.ts'
import { KindMirror } from '../../../kernel/reconciler/mirror.ts'
import { FakeKernel } from '../../fakes/kernel.ts'
import * as the from '../fixtures.ts'

const BGP = 186
const WANTED = the.desiredOf([...the.local(), ...the.peer(2), ...the.peer(3)])
const never = new AbortController().signal

/** Routes of a routing daemon: half of them outside our network, half inside it. */
function bgpRoutes(count: number): Route[] {
  return Array.from({ length: count }, (_, n) => {
    const first = n % 2 === 0 ? '172.16' : '10.127'
    const dst = `${first}.${(n >> 9) & 255}.${(n >> 1) & 255}/32`
    return the.route(dst, { protocol: BGP, via: the.ip('192.0.2.9'), device: 'eth0' })
  })
}

describe("other people's routes", () => {
  it('are held by the mirror where one of ours is wanted, and nowhere else', async () => {
    const kernel = new FakeKernel()
    kernel.addDevice('eth0')
    kernel.addDevice('flannel.1')
    kernel.put(the.address('192.0.2.1/16', 'eth0'))
    const inTheWay = the.route('10.64.2.0/24', { protocol: BGP, via: the.ip('192.0.2.9'), device: 'eth0' })
    const ours = the.peerRoute('10.64.77.0/24')
    const blackhole = the.route('10.64.1.0/24', { protocol: the.BOOT_PROTOCOL, type: 'blackhole' })
    for (const object of [...bgpRoutes(4_000), inTheWay, ours, blackhole]) kernel.put(object)
    const table = kernel.tables.find(({ kind }) => kind === 'route')
    assert(table !== undefined)
    const mirror = new KindMirror(table)
    for (const [key, object] of WANTED.objects) if (object.kind === 'route') mirror.wanted.set(key, object)
    await mirror.refresh({ now: () => 0 } as never, WANTED, () => assert.fail())
    assert.deepEqual([...mirror.held.front.keys()].sort(), [inTheWay, ours, blackhole].map(keyOf).sort())

    // Nor do events bring them in; what replaces one of ours takes it out.
    const known = { mirrors: new Map([['route', mirror] as const]), desired: WANTED, devices: new Set<string>() }
    for (const object of bgpRoutes(1_000)) {
      for (const present of [true, false, true]) {
        assert.equal(invalidatedBy({ type: 'object', present, object }, known), undefined)
      }
    }
    assert.equal(mirror.held.front.size, 3)
    const over = { ...ours, protocol: BGP }
    assert.equal(invalidatedBy({ type: 'object', present: true, object: over }, known), undefined)
    assert.equal(mirror.held.front.size, 2)
  })

  it('are found where one of ours is wanted later, and left alone', async () => {
    const rig = the.rig()
    const foreign = the.route('10.64.4.0/24', { protocol: BGP, via: the.ip('192.0.2.9'), device: 'eth0' })
    for (const object of [...bgpRoutes(100), foreign]) rig.kernel.put(object)
    await rig.want(WANTED)
    const more = the.desiredOf([...WANTED.objects.values(), ...the.peer(4), ...the.peer(5)])
    await rig.reconciler.settled(await rig.want(more), never)
    assert.deepEqual(rig.kernel.get(keyOf(foreign)), foreign)
    assert.equal(rig.reconciler.failures().get(keyOf(foreign))?.cause, 'foreign')
    assert.equal(rig.reconciler.failures().size, 1)
    rig.kernel.delete(keyOf(foreign))
    await rig.clock.advance(100)
    rig.assertInPlace(more)
    await rig.reconciler.stop()
  })

  it('that come and go cost no reading', async () => {
    const rig = the.rig()
    await rig.want(WANTED)
    await rig.clock.advance(1_000)
    const before = rig.kernel.calls.length
    for (const object of bgpRoutes(1_000)) rig.kernel.put(object)
    await rig.clock.advance(1_000)
    for (const object of bgpRoutes(1_000)) rig.kernel.delete(keyOf(object))
    await rig.clock.advance(1_000)
    assert.equal(rig.kernel.calls.length, before)
    await rig.reconciler.stop()
  })

  for (const [what, goes] of [
    ['is set down', (kernel: FakeKernel) => kernel.changeDevice('vpn0', { up: false })],
    ['is deleted', (kernel: FakeKernel) => kernel.delete('link vpn0')],
    ['loses its last address', (kernel: FakeKernel) => kernel.delete(keyOf(the.address('10.8.0.5/24', 'vpn0')))],
  ] as const) {
    it(`that are in the way go without an event when a device of others ${what}, and ours takes the place`, async () => {
      const rig = the.rig()
      rig.kernel.addDevice('vpn0')
      rig.kernel.put(the.address('10.8.0.5/24', 'vpn0'))
      const inTheWay = the.route('10.64.2.0/24', { protocol: BGP, via: the.ip('10.8.0.9'), device: 'vpn0' })
      rig.kernel.put(inTheWay)
      await rig.want(WANTED)
      await rig.clock.advance(1_000)
      assert.equal(rig.reconciler.failures().get(keyOf(inTheWay))?.cause, 'foreign')
      goes(rig.kernel)
      await rig.clock.advance(1_000)
      rig.assertInPlace(WANTED)
      await rig.reconciler.stop()
    })
  }

  it('that are in the way cost no reading when devices come and go that they are not on', async () => {
    const rig = the.rig()
    rig.kernel.put(the.route('10.64.2.0/24', { protocol: BGP, via: the.ip('192.0.2.9'), device: 'eth0' }))
    await rig.want(WANTED)
    await rig.clock.advance(1_000)
    const before = rig.kernel.calls.length
    for (let number = 0; number < 1_000; number += 1) {
      const name = `veth${number}`
      rig.kernel.addDevice(name)
      rig.kernel.put(the.address('10.99.0.1/32', name))
      rig.kernel.changeDevice(name, { up: false })
      rig.kernel.delete(`link ${name}`)
    }
    await rig.clock.advance(1_000)
    assert.equal(rig.kernel.calls.length, before)
    await rig.reconciler.stop()
  })

  it('are read again when a network becomes ours in which some of them lie', async () => {
    const rig = the.rig()
    const leftover = the.route('10.200.7.0/24', {
      protocol: the.BOOT_PROTOCOL,
      via: the.ip('192.0.2.9'),
      device: 'eth0',
    })
    rig.kernel.put(leftover)
    await rig.want(WANTED)
    await rig.clock.advance(1_000)
    assert.deepEqual(rig.kernel.get(keyOf(leftover)), leftover)
    const networks = [...WANTED.scope.networks, { network: the.cidr('10.200.0.0/16'), subnetLen: 24 }]
    await rig.want({ ...WANTED, scope: { ...WANTED.scope, networks } })
    await rig.clock.advance(100)
    assert.equal(rig.kernel.get(keyOf(leftover)), undefined)
    await rig.reconciler.stop()
  })
})
