import assert from 'node:assert/strict'
import sinon from 'sinon'
import { type DesiredObject, keyOf } from '../../../kernel/objects.ts'
import { PersistentMap } from '../../../lib/persistent-map.ts'
import { settleTasks } from '../../fakes/clock.ts'
import * as the from '../fixtures.ts'

const WANTED = the.desiredOf([...the.local(), ...the.peer(2), ...the.peer(3)])
const never = new AbortController().signal

describe('reconciler', () => {
  let rig: the.Rig

  beforeEach(() => {
    rig = the.rig()
  })
  afterEach(async () => {
    sinon.restore()
    await rig.reconciler.stop()
  })

  it('makes an empty host as wanted, in one pass, and says so', async () => {
    const generation = await rig.want(WANTED)
    rig.assertInPlace(WANTED)
    const settlement = await rig.reconciler.settled(generation, never)
    assert.deepEqual([...settlement.failures], [])
    assert.equal(rig.reconciler.status.current?.generation, generation)
  })

  it('writes nothing when the kernel is as wanted', async () => {
    await rig.want(WANTED)
    await rig.clock.advance(100_000)
    const before = rig.kernel.calls.filter(({ verb }) => verb !== 'dump').length
    assert.equal(before, WANTED.objects.size)
    const again = the.rig()
    for (const object of WANTED.objects.values()) again.kernel.put(object)
    await again.want(WANTED)
    assert.deepEqual(
      again.kernel.calls.filter(({ verb }) => verb !== 'dump'),
      [],
    )
    await again.reconciler.stop()
  })

  it('neither reads nor writes for an equal state', async () => {
    await rig.want(WANTED)
    await rig.clock.advance(1_000)
    const before = rig.kernel.calls.length
    const equal = the.desiredOf([...the.local(), ...the.peer(2), ...the.peer(3)])
    const generation = await rig.want(equal)
    assert.equal((await rig.reconciler.settled(generation, never)).generation, generation)
    assert.equal(rig.kernel.calls.length, before)
  })

  it('reads nothing for a further peer', async () => {
    await rig.want(WANTED)
    await rig.clock.advance(1_000)
    const before = rig.kernel.calls.length
    await rig.want(the.desiredOf([...WANTED.objects.values(), ...the.peer(4)]))
    await rig.clock.advance(1_000)
    assert.deepEqual(
      rig.kernel.calls.slice(before).map(({ kind, verb }) => `${verb} ${kind}`),
      ['create neighbour', 'create fdb', 'create route'],
    )
  })

  it('looks at no other peer for a peer that changed, came or left', async () => {
    let looks = 0
    const counted = (object: DesiredObject) =>
      new Proxy(object, {
        get(of, field) {
          looks += 1
          return Reflect.get(of, field)
        },
      })
    const peers = Array.from({ length: 1_000 }, (_, n) => the.peer(n + 2).map(counted)).flat()
    const all = PersistentMap.from([...the.local(), ...peers].map((object) => [keyOf(object), object]))
    await rig.want({ ...WANTED, objects: all })
    await rig.clock.advance(1_000)
    const neighbour = the.peer(7).find(({ kind }) => kind === 'neighbour')
    assert(neighbour?.kind === 'neighbour')
    const moved = all.patched([], [[keyOf(neighbour), { ...neighbour, mac: the.mac(9_999) }]])
    const left = moved.patched(the.peer(8).map(keyOf), [])
    const come = left.patched(
      [],
      the.peer(5_000).map((object) => [keyOf(object), object]),
    )
    const asked = sinon.spy(PersistentMap.prototype, 'get')
    for (const objects of [moved, left, come]) {
      looks = 0
      asked.resetHistory()
      await rig.want({ ...WANTED, objects })
      await rig.clock.advance(1_000)
      assert(looks < 300, `${looks} looks at objects of peers`)
      assert(asked.callCount < 300, `${asked.callCount} questions what is wanted`)
    }
    rig.assertInPlace({ ...WANTED, objects: come })
    for (const object of the.peer(8)) assert.equal(rig.kernel.get(keyOf(object)), undefined)
  })

  it('merges what arrives during an apply into the next', async () => {
    const first = rig.reconciler.setDesired(WANTED)
    for (let number = 4; number < 9; number += 1) {
      rig.reconciler.setDesired(the.desiredOf([...WANTED.objects.values(), ...the.peer(number)]))
    }
    await settleTasks()
    assert.equal((await rig.reconciler.settled(first + 5, never)).generation, first + 5)
    assert.equal(rig.kernel.get('route 10.64.4.0/24 metric 0'), undefined)
    assert.notEqual(rig.kernel.get('route 10.64.8.0/24 metric 0'), undefined)
  })

  it('removes nothing before the state is complete, then what is ours', async () => {
    for (const object of the.peer(9)) rig.kernel.put(object)
    await rig.want({ ...WANTED, complete: false })
    assert.notEqual(rig.kernel.get('route 10.64.9.0/24 metric 0'), undefined)
    await rig.want(WANTED)
    for (const object of the.peer(9))
      assert.equal(rig.kernel.get(the.desiredOf([object]).objects.keys().next().value ?? ''), undefined)
    rig.assertInPlace(WANTED)
  })

  it('takes its device away when it is not wanted any more, and all on it in one go', async () => {
    await rig.want(WANTED)
    await rig.clock.advance(1_000)
    const before = rig.kernel.calls.length
    await rig.want(the.desiredOf([]))
    assert.deepEqual(
      rig.kernel.calls
        .slice(before)
        .filter(({ verb }) => verb !== 'dump')
        .map(({ kind, verb }) => `${verb} ${kind}`),
      ['remove link'],
    )
    assert.equal(rig.kernel.get('link flannel.1'), undefined)
    assert.notEqual(rig.kernel.get('link eth0'), undefined)
  })

  describe('repairs within a second', () => {
    const cases: [string, (rig: the.Rig) => void][] = [
      ['a deleted device with all its peers', ({ kernel }) => kernel.delete('link flannel.1')],
      ['a device that was set down', ({ kernel }) => kernel.changeDevice('flannel.1', { up: false })],
      [
        'a device set down and up again',
        ({ kernel }) => {
          kernel.changeDevice('flannel.1', { up: false })
          kernel.changeDevice('flannel.1', { up: true })
        },
      ],
      ['a changed MAC', ({ kernel }) => kernel.changeDevice('flannel.1', { mac: the.mac(7) })],
      ['a changed MTU', ({ kernel }) => kernel.changeDevice('flannel.1', { mtu: 9000 })],
      [
        'a device of another VNI',
        ({ kernel }) => {
          kernel.delete('link flannel.1')
          kernel.change({ verb: 'create', object: the.vxlan('flannel.1', {}, { vni: 7 }) })
        },
      ],
      ['a deleted address', ({ kernel }) => kernel.delete('address flannel.1 10.64.1.0/32')],
      ['a deleted route', ({ kernel }) => kernel.delete('route 10.64.2.0/24 metric 0')],
      ['a changed route', ({ kernel }) => kernel.put(the.peerRoute('10.64.2.0/24', { via: the.ip('10.64.3.0') }))],
      ['a deleted neighbour', ({ kernel }) => kernel.delete('neighbour flannel.1 10.64.2.0')],
      ['a changed neighbour', ({ kernel }) => kernel.put(the.neighbour('10.64.2.0', the.mac(99)))],
      ['a deleted FDB entry', ({ kernel }) => kernel.delete(`fdb flannel.1 ${the.mac(2)}`)],
      [
        'everything flushed while the event queue overflowed',
        ({ kernel }) => {
          kernel.delete('link flannel.1')
          kernel.overrun()
        },
      ],
    ]
    for (const [what, tamper] of cases) {
      it(what, async () => {
        await rig.want(WANTED)
        await rig.clock.advance(2_000)
        tamper(rig)
        await rig.clock.advance(100)
        rig.assertInPlace(WANTED)
        assert.equal(rig.reconciler.failures().size, 0)
        const repaired = [...rig.reconciler.counts().driftRepaired.values()].reduce((sum, count) => sum + count, 0)
        assert(repaired > 0, 'counted as drift')
      })
    }

    it('even when the events were lost, at the next audit, within two minutes', async () => {
      await rig.want(WANTED)
      await rig.clock.advance(2_000)
      rig.kernel.deaf = true
      rig.kernel.delete('route 10.64.2.0/24 metric 0')
      rig.kernel.delete(`fdb flannel.1 ${the.mac(3)}`)
      await rig.clock.advance(118_000)
      rig.assertInPlace(WANTED)
    })

    it('what has no events within 30 s', async () => {
      await rig.want(WANTED)
      rig.kernel.put(the.sysctl('net/ipv4/conf/flannel.1/rp_filter', '1'))
      rig.kernel.delete('file /run/flannel/subnet.env')
      await rig.clock.advance(30_000)
      rig.assertInPlace(WANTED)
    })

    it('and logs the old value of the first, the number of the rest', async () => {
      await rig.want(WANTED)
      await rig.clock.advance(1_000)
      for (const number of [2, 3]) rig.kernel.delete(`route 10.64.${number}.0/24 metric 0`)
      await rig.clock.advance(100)
      assert.deepEqual(rig.lines, [
        'warn route repaired {"key":"route 10.64.2.0/24 metric 0","was":"missing","now":"10.64.2.0/24 via 10.64.2.0 dev flannel.1 proto 102 metric 0 onlink"}',
        'info route repaired, more of them {"count":1}',
      ])
      assert.equal(rig.reconciler.counts().driftRepaired.get('route'), 2)
    })
  })

  it('ignores events of its own changes', async () => {
    await rig.want(the.desiredOf([...WANTED.objects.values(), ...the.peer(4)]))
    await rig.clock.advance(1_000)
    const passes = rig.reconciler.counts().passes
    await rig.want(the.desiredOf([...WANTED.objects.values(), ...the.peer(5)]))
    await rig.clock.advance(1_000)
    assert.equal(rig.reconciler.counts().passes, passes + 1)
    assert.equal(rig.reconciler.counts().driftRepaired.size, 0)
  })

  it('ignores devices and objects that do not concern it', async () => {
    await rig.want(WANTED)
    await rig.clock.advance(1_000)
    const before = rig.kernel.calls.length
    rig.kernel.addDevice('cni0')
    rig.kernel.changeDevice('cni0', { up: false })
    rig.kernel.put(the.route('198.51.100.0/24', { protocol: 186, device: 'eth0', via: the.ip('192.0.2.254') }))
    await rig.clock.advance(1_000)
    assert.equal(rig.kernel.calls.length, before)
  })

  describe('other people’s objects', () => {
    it('a boot route at a wanted key is replaced and its old value logged', async () => {
      rig.kernel.put(
        the.route('10.64.2.0/24', { protocol: the.BOOT_PROTOCOL, via: the.ip('192.0.2.9'), device: 'eth0' }),
      )
      await rig.want(WANTED)
      rig.assertInPlace(WANTED)
      assert.match(rig.lines.join('\n'), /^info route adopted .*10\.64\.2\.0\/24 via 192\.0\.2\.9 dev eth0 proto 3/)
      assert.equal(rig.reconciler.counts().adopted.get('route'), 1)
    })

    it('none of ours is taken for one when it is wanted otherwise: that is an update, and no drift', async () => {
      await rig.want(WANTED)
      await rig.clock.advance(1_000)
      rig.lines.length = 0
      const moved = the
        .peer(2)
        .map((object) => (object.kind === 'neighbour' ? { ...object, mac: the.mac(99) } : object))
      await rig.want(the.desiredOf([...the.local(), ...moved, ...the.peer(3)]))
      assert.match(rig.lines.join('\n'), /^info neighbour updated .*02:aa:00:00:00:02.*02:aa:00:00:00:63/)
      const { adopted, driftRepaired } = rig.reconciler.counts()
      assert.deepEqual([[...adopted], [...driftRepaired]], [[], []])
    })

    it('a route of another protocol stays, the others are made', async () => {
      const foreign = the.route('10.64.2.0/24', { protocol: 4, via: the.ip('192.0.2.9'), device: 'eth0' })
      rig.kernel.put(foreign)
      await rig.want(WANTED)
      assert.deepEqual(rig.kernel.get('route 10.64.2.0/24 metric 0'), foreign)
      assert.notEqual(rig.kernel.get('route 10.64.3.0/24 metric 0'), undefined)
      const failure = rig.reconciler.failures().get('route 10.64.2.0/24 metric 0')
      assert.equal(failure?.cause, 'foreign')
      assert.match(failure?.text ?? '', /remove it with 'ip route del/)
      rig.kernel.delete('route 10.64.2.0/24 metric 0')
      await rig.clock.advance(100)
      rig.assertInPlace(WANTED)
      assert.equal(rig.reconciler.failures().size, 0)
    })

    it('a bridge of our name stays with all that is on it', async () => {
      rig.kernel.addDevice('flannel.1')
      rig.kernel.put(the.address('10.99.0.1/32'))
      await rig.want(WANTED)
      assert.equal(rig.reconciler.failures().get('link flannel.1')?.cause, 'foreign')
      assert.match(rig.reconciler.failures().get('link flannel.1')?.text ?? '', /ip link del(ete)? flannel\.1/)
      assert.equal(rig.reconciler.failures().get('route 10.64.2.0/24 metric 0')?.cause, 'foreign')
      assert.deepEqual(
        rig.kernel.calls.filter(({ verb }) => verb !== 'dump'),
        [],
      )
      rig.kernel.delete('link flannel.1')
      await rig.clock.advance(100)
      rig.assertInPlace(WANTED)
    })

    it('flannel’s leftovers go, what only looks like them stays', async () => {
      const gone = the.route('10.64.77.0/24', { protocol: the.BOOT_PROTOCOL, via: the.ip('192.0.2.9'), device: 'eth0' })
      const stays = [
        the.route('10.64.78.0/24', { protocol: the.BOOT_PROTOCOL, device: 'eth0', scope: 'link' }),
        the.route('10.64.79.0/25', { protocol: the.BOOT_PROTOCOL, via: the.ip('192.0.2.9'), device: 'eth0' }),
        the.route('172.16.1.0/24', { protocol: the.BOOT_PROTOCOL, via: the.ip('192.0.2.9'), device: 'eth0' }),
        the.route('172.16.2.0/24', { via: the.ip('192.0.2.9'), device: 'eth0' }),
        the.route('10.64.80.0/24', { protocol: 4, via: the.ip('192.0.2.9'), device: 'eth0' }),
      ]
      for (const object of [gone, ...stays]) rig.kernel.put(object)
      await rig.want({ ...WANTED, complete: false })
      assert.notEqual(rig.kernel.get('route 10.64.77.0/24 metric 0'), undefined)
      await rig.want(WANTED)
      assert.equal(rig.kernel.get('route 10.64.77.0/24 metric 0'), undefined)
      for (const object of stays) assert.deepEqual(rig.kernel.get(`route ${object.dst} metric 0`), object)
    })
  })

  describe('refusals', () => {
    it('one bad object does not stop the others, and is tried again at growing intervals', async () => {
      rig.kernel.fault = ({ kind, verb }) => (kind === 'fdb' && verb === 'create' ? { code: 'ENOMEM' } : undefined)
      await rig.want(WANTED)
      assert.equal(rig.reconciler.failures().size, 2)
      assert.equal(rig.reconciler.failures().get(`fdb flannel.1 ${the.mac(2)}`)?.text, 'injected (ENOMEM)')
      assert.notEqual(rig.kernel.get('route 10.64.3.0/24 metric 0'), undefined)
      await rig.clock.advance(100_000)
      const tries = rig.kernel.calls.filter(({ kind, verb }) => kind === 'fdb' && verb === 'create').length
      assert.equal(tries, 2 * 10, 'at 0, 0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 31.75, 61.75 and 91.75 s')
      rig.kernel.fault = () => undefined
      await rig.clock.advance(30_000)
      rig.assertInPlace(WANTED)
      assert.equal(rig.reconciler.failures().size, 0)
      assert.equal(rig.reconciler.status.current?.failures.size, 0)
    })

    it('what is wanted otherwise is tried at once', async () => {
      rig.kernel.fault = ({ kind, verb }) => (kind === 'route' && verb === 'create' ? { code: 'EINVAL' } : undefined)
      await rig.want(WANTED)
      await rig.clock.advance(100_000)
      rig.kernel.fault = () => undefined
      const changed = [...WANTED.objects.values()].map((object) =>
        object.kind === 'route' ? { ...object, via: the.ip('10.64.7.0') } : object,
      )
      await rig.want(the.desiredOf(changed))
      rig.assertInPlace(the.desiredOf(changed))
    })

    it('objects wait for a device that cannot be made, and come with it', async () => {
      rig.kernel.delete('link eth0')
      await rig.want(WANTED)
      assert.match(rig.reconciler.failures().get('link flannel.1')?.text ?? '', /ENODEV/)
      assert.match(
        rig.reconciler.failures().get('route 10.64.2.0/24 metric 0')?.text ?? '',
        /^waits for link flannel.1/,
      )
      assert.match(
        rig.reconciler.failures().get('file /run/flannel/subnet.env')?.text ?? '',
        /^waits for link flannel.1/,
      )
      await rig.clock.advance(100_000)
      rig.kernel.addDevice('eth0')
      await rig.clock.advance(100)
      rig.assertInPlace(WANTED)
    })

    it('of a change to a device: whatever is on it waits, though it has not changed', async () => {
      await rig.want(WANTED)
      await rig.clock.advance(1_000)
      rig.kernel.fault = ({ kind, verb }) => (kind === 'link' && verb === 'update' ? { code: 'EINVAL' } : undefined)
      const smaller = the.desiredOf([...the.local({ mtu: 1400 }), ...the.peer(2), ...the.peer(3)])
      await rig.want(smaller)
      const { failures } = rig.reconciler.status.current ?? {}
      assert.match(failures?.get('link flannel.1')?.text ?? '', /EINVAL/)
      assert.match(failures?.get('route 10.64.2.0/24 metric 0')?.text ?? '', /^waits for link flannel.1/)
      rig.kernel.fault = () => undefined
      await rig.clock.advance(1_000)
      rig.assertInPlace(smaller)
      assert.equal(rig.reconciler.failures().size, 0)
    })

    it('a kind that cannot be read is left alone and read later', async () => {
      rig.kernel.fault = ({ kind, verb }) => (kind === 'route' && verb === 'dump' ? { code: 'EINTR' } : undefined)
      const generation = await rig.want(WANTED)
      const settlement = await rig.reconciler.settled(generation, never)
      assert.match(settlement.failures.get('route 10.64.2.0/24 metric 0')?.text ?? '', /route could not be read.*EINTR/)
      assert.notEqual(rig.kernel.get('neighbour flannel.1 10.64.2.0'), undefined)
      rig.kernel.fault = () => undefined
      await rig.clock.advance(1_000)
      rig.assertInPlace(WANTED)
      assert.equal(rig.reconciler.failures().size, 0)
    })

    it('a kind that stays unreadable counts as it was, is told apart, and holds up no other', async () => {
      await rig.want(WANTED)
      await rig.clock.advance(1_000)
      rig.kernel.fault = ({ kind, verb }) =>
        ['link', 'route'].includes(kind) && verb === 'dump' ? { code: 'EINTR' } : undefined
      rig.reconciler.invalidate('all', 'test')
      rig.kernel.delete('neighbour flannel.1 10.64.2.0')
      const more = the.desiredOf([...WANTED.objects.values(), ...the.peer(4)])
      await rig.want(more)
      await rig.clock.advance(600_000)
      const { failures, unreadable } = rig.reconciler.status.current ?? {}
      assert.deepEqual([...(failures?.keys() ?? [])], ['route 10.64.4.0/24 metric 0'])
      assert.deepEqual(
        [...(unreadable ?? [])].map(([kind, { code }]) => `${kind} ${code}`),
        ['link EINTR', 'route EINTR'],
      )
      for (const number of [2, 4]) assert.notEqual(rig.kernel.get(`neighbour flannel.1 10.64.${number}.0`), undefined)
      const dumps = () => rig.kernel.calls.filter(({ kind, verb }) => kind === 'route' && verb === 'dump').length
      const before = dumps()
      await rig.clock.advance(60_000)
      assert.ok(dumps() - before <= 12, `${dumps() - before} dumps in a minute`)
      rig.kernel.fault = () => undefined
      await rig.clock.advance(31_000)
      rig.assertInPlace(more)
      assert.deepEqual([rig.reconciler.failures().size, rig.reconciler.status.current?.unreadable.size], [0, 0])
    })

    it('a former device whose addresses cannot be read is removed as soon as they can', async () => {
      const scope = { ...WANTED.scope, devices: new Set(['flannel.1', 'flannel.9']) }
      const former = the.required(the.vxlan('flannel.9', {}, { vni: 9 }))
      await rig.want(the.desiredOf([...WANTED.objects.values(), former], { scope }))
      rig.kernel.fault = ({ kind, verb }) => (kind === 'address' && verb === 'dump' ? { code: 'EINTR' } : undefined)
      rig.reconciler.invalidate('all', 'test')
      await rig.want({ ...WANTED, scope })
      await rig.clock.advance(1_000)
      assert.notEqual(rig.kernel.get('link flannel.9'), undefined)
      rig.kernel.fault = () => undefined
      await rig.clock.advance(31_000)
      assert.equal(rig.kernel.get('link flannel.9'), undefined)
      rig.assertInPlace(WANTED)
    })

    it('a former device is removed, and left alone when another program has made it again', async () => {
      const scope = { ...WANTED.scope, devices: new Set(['flannel.1', 'flannel.9']) }
      rig.kernel.change({ verb: 'create', object: the.vxlan('flannel.9') })
      await rig.want({ ...WANTED, scope })
      assert.equal(rig.kernel.get('link flannel.9'), undefined)
      rig.kernel.change({ verb: 'create', object: the.vxlan('flannel.9') })
      rig.kernel.change({ verb: 'create', object: the.address('172.20.0.0/32', 'flannel.9') })
      await rig.clock.advance(200_000)
      assert.notEqual(rig.kernel.get('link flannel.9'), undefined)
      assert.notEqual(rig.kernel.get('address flannel.9 172.20.0.0/32'), undefined)
    })

    it('of the removal of a device: what is on it goes alone, and the device when it can', async () => {
      await rig.want(WANTED)
      await rig.clock.advance(1_000)
      rig.kernel.fault = ({ kind, verb }) => (kind === 'link' && verb === 'remove' ? { code: 'EBUSY' } : undefined)
      await rig.want(the.desiredOf([]))
      await rig.clock.advance(100)
      for (const kind of ['route', 'neighbour', 'fdb'] as const)
        assert.deepEqual(rig.kernel.all(kind).length, kind === 'route' ? 1 : 0)
      assert.equal(rig.reconciler.failures().get('link flannel.1')?.code, 'EBUSY')
      rig.kernel.fault = () => undefined
      await rig.clock.advance(1_000)
      assert.equal(rig.kernel.get('link flannel.1'), undefined)
      assert.equal(rig.reconciler.failures().size, 0)
    })

    it('an object in the way of another goes first or the other comes after it', async () => {
      rig.kernel.change({ verb: 'create', object: the.vxlan('flannel.9') })
      const scope = { ...WANTED.scope, devices: new Set(['flannel.1', 'flannel.9']) }
      await rig.want({ ...WANTED, scope })
      await rig.clock.advance(20)
      rig.assertInPlace(WANTED)
      assert.equal(rig.kernel.get('link flannel.9'), undefined)
    })
  })

  it('goes on after a fault of the program, tells of it, and heals the rest when it is over', async () => {
    await rig.want(WANTED)
    await rig.clock.advance(1_000)
    let broken = false
    class Faulty extends Map<string, DesiredObject> {
      override has(key: string): boolean {
        if (broken) throw new TypeError('a fault')
        return super.has(key)
      }
    }
    const objects = new Faulty([...WANTED.objects, ...the.desiredOf(the.peer(7)).objects])
    rig.reconciler.setDesired({ ...WANTED, objects })
    broken = true
    await rig.clock.advance(120_000)
    assert.ok(rig.faults.length >= 5 && rig.faults.length <= 20, `${rig.faults.length} faults in two minutes`)
    assert.match(String(rig.faults[0]), /a fault/)
    broken = false
    rig.kernel.delete('route 10.64.2.0/24 metric 0')
    await rig.clock.advance(31_000)
    rig.assertInPlace(WANTED)
    rig.kernel.delete('route 10.64.2.0/24 metric 0')
    await rig.clock.advance(200)
    rig.assertInPlace(WANTED)
  })

  it('slows down for an object that another program fights over, and for no other', async () => {
    await rig.want(WANTED)
    await rig.clock.advance(1_000)
    const key = 'route 10.64.2.0/24 metric 0'
    const repairs = () => rig.reconciler.counts().driftRepaired.get('route') ?? 0
    for (let round = 0; round < 400; round += 1) {
      rig.kernel.delete(key)
      await rig.clock.advance(100)
    }
    assert(repairs() >= 30 && repairs() <= 30 + 8, `${repairs()} repairs in 40 s`)
    assert.equal(rig.reconciler.failures().get(key)?.cause, 'fought')
    rig.kernel.delete('route 10.64.3.0/24 metric 0')
    await rig.clock.advance(100)
    assert.notEqual(rig.kernel.get('route 10.64.3.0/24 metric 0'), undefined)
    await rig.clock.advance(5_000)
    rig.assertInPlace(WANTED)
    await rig.clock.advance(61_000)
    assert.equal(rig.reconciler.failures().size, 0)
  })

  it('misses nothing that happens while it changes something itself', async () => {
    await rig.want(WANTED)
    await rig.clock.advance(1_000)
    rig.kernel.fault = ({ kind, verb }) => {
      if (kind !== 'route' || verb !== 'create') return undefined
      rig.kernel.fault = () => undefined
      // The answer is lost, so routes are read once more in this pass; its turn to compare them is over by then.
      rig.kernel.delete('route 10.64.3.0/24 metric 0')
      return { code: 'ENOBUFS', done: true }
    }
    const more = the.desiredOf([...WANTED.objects.values(), ...the.peer(4)])
    await rig.want(more)
    await rig.clock.advance(1_000)
    rig.assertInPlace(more)
    assert.equal(rig.reconciler.failures().size, 0)
  })

  describe('puts back without any event what the kernel drops for', () => {
    const cases: [string, readonly DesiredObject[]][] = [
      ['another MAC of a device', the.local({ mac: the.mac(0xfffe) })],
      ['the last address of a device, which goes', the.local().filter(({ kind }) => kind !== 'address')],
    ]
    for (const [what, own] of cases) {
      it(what, async () => {
        await rig.want(WANTED)
        await rig.clock.advance(1_000)
        rig.kernel.deaf = true
        const next = the.desiredOf([...own, ...the.peer(2), ...the.peer(3)])
        await rig.want(next)
        await rig.clock.advance(100)
        rig.assertInPlace(next)
      })
    }
  })

  it('recreates a device whose VNI changes and puts everything on it', async () => {
    await rig.want(WANTED)
    await rig.clock.advance(1_000)
    const next = the.desiredOf([...the.local({}, { vni: 2 }), ...the.peer(2), ...the.peer(3)])
    await rig.want(next)
    rig.assertInPlace(next)
    await rig.clock.advance(1_000)
    assert.equal(rig.reconciler.counts().driftRepaired.size, 0, 'our own change is no drift')
  })

  it('stops during a pass, and whoever waits is told', async () => {
    const generation = rig.reconciler.setDesired(WANTED)
    const settled = rig.reconciler.settled(generation, never)
    const stopped = rig.reconciler.stop()
    await assert.rejects(settled, /stopped/)
    await stopped
    assert.equal(rig.clock.sleeping, 0)
  })

  it('an aborted wait leaves nothing behind', async () => {
    const abort = new AbortController()
    const settled = rig.reconciler.settled(7, abort.signal)
    abort.abort(new Error('enough'))
    await assert.rejects(settled, /enough/)
  })
})
