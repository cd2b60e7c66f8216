import assert from 'node:assert/strict'
import type { Nexthop } from '../../kernel/kinds/nexthop/kind.ts'
import { type KernelObject, keyOf, type Link, type ObjectKind } from '../../kernel/objects.ts'
import type { KernelEvent, ObjectTable, Op } from '../../kernel/table.ts'
import * as the from '../kernel/fixtures.ts'

/**
 * A network namespace, real or not, with `uplink` (192.168.64.11/24, fd64::11/64, up, a bridge or veth) and no vxlan device.
 * What another program does there goes through `hand`.
 */
export interface World {
  readonly tables: readonly ObjectTable[]
  readonly hand: {
    setUp(device: string, up: boolean): void
    setMac(device: string, mac: string): void
    deleteDevice(device: string): void
    addAddress(device: string, address: string): void
    deleteAddress(device: string, address: string): void
    deleteNexthop(nexthop: Nexthop): void
  }
  /** What the monitor has told since the last call, after a while of silence. */
  events(): Promise<readonly KernelEvent[]>
  /** Removes what the case has made. */
  reset(): Promise<void>
}

const DEVICE = the.vxlan('flannel.1', {}, { underlay: 'uplink', local: the.ip('192.168.64.11') })
const OWN = the.address('10.5.1.0/32')
const OWN6 = the.address('2001:db8:5:1::/128')
const ROUTE = the.peerRoute('10.5.2.0/24')
const ROUTE6 = the.route('2001:db8:5:2::/64', { via: the.ip('2001:db8:5:2::'), device: 'flannel.1', onLink: true })
const NEXTHOP = the.nexthop('10.5.4.0')
const NEXTHOP6 = the.nexthop('2001:db8:5:4::')
const THROUGH = the.throughNexthop(the.peerRoute('10.5.4.0/24'))
const THROUGH6 = the.throughNexthop(
  the.route('2001:db8:5:4::/64', { via: the.ip('2001:db8:5:4::'), device: 'flannel.1', onLink: true }),
)
const NEIGHBOUR = the.neighbour('10.5.2.0', the.mac(2))
const NEIGHBOUR6 = the.neighbour('2001:db8:5:2::', the.mac(2))
const FDB = the.fdb(the.mac(2), '192.168.64.12')
const SYSCTL = the.sysctl('net/ipv4/conf/flannel.1/rp_filter', '2')
const DIRECT = the.route('10.5.3.0/24', { via: the.ip('192.168.64.13'), device: 'uplink' })
const DIRECT6 = the.route('2001:db8:5:3::/64', { via: the.ip('fd64::13'), device: 'uplink' })
const BLACKHOLE = the.route('10.5.1.0/24', { type: 'blackhole', metric: 4_294_967_294 })
const TUN = the.tun('flannel8')
/** Devices that another vxlan device may stand on. */
const OTHER = the.tun('flannel7')
const OTHER_DOWN: Link = { ...OTHER, up: false }
const ALL: readonly KernelObject[] = [
  DEVICE,
  SYSCTL,
  OWN,
  OWN6,
  NEIGHBOUR,
  NEIGHBOUR6,
  FDB,
  NEXTHOP,
  NEXTHOP6,
  THROUGH,
  THROUGH6,
  ROUTE,
  ROUTE6,
  DIRECT,
  DIRECT6,
  BLACKHOLE,
]

interface Case {
  readonly what: string
  /** In place before; the vxlan device and its address where nothing is said. */
  readonly before?: readonly KernelObject[]
  readonly op: Op<KernelObject>
  readonly expect: 'ok' | string
}

export const create = (object: KernelObject): Op<KernelObject> => ({ verb: 'create', object })
export const remove = (object: KernelObject): Op<KernelObject> => ({ verb: 'remove', object })
export const update = (actual: KernelObject, object: KernelObject): Op<KernelObject> => ({
  verb: 'update',
  object,
  actual,
})
const HOST: readonly KernelObject[] = [DEVICE, OWN]
const DOWN: Link = { ...DEVICE, up: false }
const noDevice = <O extends KernelObject>(object: O): O => ({ ...object, device: 'nowhere' })

const CASES: readonly Case[] = [
  {
    what: 'a device whose name is taken',
    op: create({ ...DEVICE, driver: { ...DEVICE.driver, vni: 7 } as Link['driver'] }),
    expect: 'EEXIST',
  },
  { what: 'a second vxlan device of one VNI and port', op: create({ ...DEVICE, name: 'flannel.2' }), expect: 'EEXIST' },
  {
    what: 'one VNI at another port',
    op: create({ ...DEVICE, name: 'flannel.2', driver: { ...DEVICE.driver, port: 8473 } as Link['driver'] }),
    expect: 'ok',
  },
  {
    what: 'a device on no underlay',
    op: create(the.vxlan('flannel.2', {}, { vni: 2, underlay: 'nowhere' })),
    expect: 'ENODEV',
  },
  { what: 'a tun', before: [], op: create(TUN), expect: 'ok' },
  { what: 'a tun that is down', before: [], op: create({ ...TUN, up: false }), expect: 'ok' },
  { what: 'a tun whose name is taken', before: [TUN], op: create(TUN), expect: 'EEXIST' },
  { what: 'change of a tun’s MTU', before: [TUN], op: update(TUN, { ...TUN, mtu: 1400 }), expect: 'ok' },
  { what: 'removal of a missing tun', before: [], op: remove(TUN), expect: 'ENODEV' },
  {
    what: 'a tun in the place of another device',
    op: { verb: 'recreate', actual: DEVICE, object: { ...TUN, name: DEVICE.name } },
    expect: 'ok',
  },
  { what: 'a device of a driver that is not ours', op: create(the.bridge('br9')), expect: 'EOPNOTSUPP' },
  { what: 'change of a missing device', before: [], op: update(DEVICE, { ...DEVICE, mtu: 1400 }), expect: 'ENODEV' },
  { what: 'removal of a missing device', before: [], op: remove(DEVICE), expect: 'ENODEV' },
  { what: 'an address that is there', op: create(OWN), expect: 'EEXIST' },
  { what: 'an IPv6 address that is there', before: [DEVICE, OWN6], op: create(OWN6), expect: 'EEXIST' },
  { what: 'an address on a device that is down', before: [DOWN], op: create(OWN), expect: 'ok' },
  { what: 'an address on no device', op: create(noDevice(OWN)), expect: 'ENODEV' },
  { what: 'removal of a missing address', op: remove(the.address('10.5.1.7/32')), expect: 'EADDRNOTAVAIL' },
  { what: 'removal of a missing IPv6 address', op: remove(OWN6), expect: 'EADDRNOTAVAIL' },
  {
    what: 'a route at a key that is taken',
    before: [...HOST, ROUTE],
    op: create({ ...ROUTE, via: the.ip('10.5.2.1') }),
    expect: 'EEXIST',
  },
  {
    what: 'an IPv6 route at a key that is taken',
    before: [DEVICE, ROUTE6],
    op: create({ ...ROUTE6, via: the.ip('2001:db8:5:2::1') }),
    expect: 'EEXIST',
  },
  {
    what: 'change of a route',
    before: [...HOST, ROUTE],
    op: update(ROUTE, { ...ROUTE, via: the.ip('10.5.2.1') }),
    expect: 'ok',
  },
  {
    what: 'change of a route to another device',
    before: [...HOST, ROUTE],
    op: update(ROUTE, { ...DIRECT, dst: ROUTE.dst }),
    expect: 'ok',
  },
  {
    what: 'change of a route of another protocol',
    before: [...HOST, { ...ROUTE, protocol: 3 }],
    op: update({ ...ROUTE, protocol: 3 }, ROUTE),
    expect: 'ok',
  },
  { what: 'a route on no device', op: create(noDevice(ROUTE)), expect: 'ENODEV' },
  { what: 'a route on a device that is down', before: [DOWN, OWN], op: create(ROUTE), expect: 'ENETDOWN' },
  { what: 'an IPv6 route on a device that is down', before: [DOWN], op: create(ROUTE6), expect: 'ENETDOWN' },
  { what: 'a route via a gateway out of reach', op: create({ ...ROUTE, onLink: false }), expect: 'ENETUNREACH' },
  {
    what: 'an IPv6 route via a gateway out of reach',
    op: create({ ...ROUTE6, onLink: false }),
    expect: 'EHOSTUNREACH',
  },
  { what: 'removal of a missing route', op: remove(ROUTE), expect: 'ESRCH' },
  { what: 'removal of a missing IPv6 route', op: remove(ROUTE6), expect: 'ESRCH' },
  {
    what: 'removal of a route that leads elsewhere by now',
    before: [...HOST, ROUTE],
    op: remove({ ...ROUTE, via: the.ip('10.5.2.1') }),
    expect: 'ESRCH',
  },
  {
    what: 'removal of a route that is another program’s by now',
    before: [...HOST, { ...ROUTE, protocol: 4 }],
    op: remove(ROUTE),
    expect: 'ESRCH',
  },
  { what: 'a blackhole', op: create(BLACKHOLE), expect: 'ok' },
  { what: 'a blackhole twice', before: [BLACKHOLE], op: create(BLACKHOLE), expect: 'EEXIST' },
  { what: 'a nexthop', op: create(NEXTHOP), expect: 'ok' },
  { what: 'a nexthop that is there', before: [...HOST, NEXTHOP], op: create(NEXTHOP), expect: 'EEXIST' },
  { what: 'a nexthop on no device', op: create(noDevice(NEXTHOP)), expect: 'ENODEV' },
  { what: 'a nexthop on a device that is down', before: [DOWN], op: create(NEXTHOP), expect: 'ENETDOWN' },
  { what: 'a nexthop without an address on its device', before: [DEVICE], op: create(NEXTHOP), expect: 'ok' },
  { what: 'an IPv6 nexthop', before: [DEVICE], op: create(NEXTHOP6), expect: 'ok' },
  { what: 'removal of a missing nexthop', op: remove(NEXTHOP), expect: 'ENOENT' },
  { what: 'a route through a missing nexthop', op: create(THROUGH), expect: 'ESTALE' },
  { what: 'an IPv6 route through a missing nexthop', op: create(THROUGH6), expect: 'ESTALE' },
  {
    what: 'a route through a nexthop at a key that is taken',
    before: [...HOST, ROUTE, the.nexthop('10.5.2.0')],
    op: create(the.throughNexthop(ROUTE)),
    expect: 'EEXIST',
  },
  {
    what: 'change of a route to one through a nexthop',
    before: [...HOST, { ...ROUTE, protocol: 3 }, the.nexthop('10.5.2.0')],
    op: update({ ...ROUTE, protocol: 3 }, the.throughNexthop(ROUTE)),
    expect: 'ok',
  },
  {
    what: 'change of an IPv6 route on another device to one through a nexthop',
    before: [...HOST, DIRECT6, { ...NEXTHOP6, via: the.ip('fd00::3') }],
    op: update(DIRECT6, the.throughNexthop({ ...DIRECT6, via: the.ip('fd00::3'), device: 'flannel.1', onLink: true })),
    expect: 'ok',
  },
  {
    what: 'change of a route through a nexthop to one with a gateway',
    before: [...HOST, NEXTHOP, THROUGH],
    op: update(THROUGH, the.peerRoute(THROUGH.dst, { protocol: 3 })),
    expect: 'ok',
  },
  {
    what: 'change of an IPv6 route through a nexthop to one with a gateway',
    before: [DEVICE, NEXTHOP6, THROUGH6],
    op: update(THROUGH6, { ...DIRECT6, dst: THROUGH6.dst }),
    expect: 'ok',
  },
  {
    what: 'change of a route to another nexthop',
    before: [...HOST, NEXTHOP, the.nexthop('10.5.4.1'), THROUGH],
    op: update(THROUGH, { ...THROUGH, via: the.ip('10.5.4.1') }),
    expect: 'ok',
  },
  {
    what: 'removal of a route that goes through another nexthop by now',
    before: [...HOST, NEXTHOP, the.nexthop('10.5.4.1'), THROUGH],
    op: remove({ ...THROUGH, via: the.ip('10.5.4.1') }),
    expect: 'ESRCH',
  },
  {
    what: 'removal of a route that goes through a nexthop by now',
    before: [...HOST, NEXTHOP, THROUGH],
    op: remove(the.peerRoute(THROUGH.dst)),
    expect: 'ESRCH',
  },
  { what: 'a neighbour that is there', before: [...HOST, NEIGHBOUR], op: create(NEIGHBOUR), expect: 'EEXIST' },
  { what: 'a neighbour on a device that is down', before: [DOWN], op: create(NEIGHBOUR), expect: 'ok' },
  {
    what: 'change of a neighbour',
    before: [...HOST, NEIGHBOUR],
    op: update(NEIGHBOUR, { ...NEIGHBOUR, mac: the.mac(9) }),
    expect: 'ok',
  },
  { what: 'a neighbour on no device', op: create(noDevice(NEIGHBOUR)), expect: 'ENODEV' },
  { what: 'removal of a missing neighbour', op: remove(NEIGHBOUR), expect: 'ENOENT' },
  { what: 'an FDB entry that is there', before: [...HOST, FDB], op: create(FDB), expect: 'EEXIST' },
  { what: 'an FDB entry on a device that is down', before: [DOWN], op: create(FDB), expect: 'ok' },
  {
    what: 'change of an FDB entry',
    before: [...HOST, FDB],
    op: update(FDB, { ...FDB, dst: the.ip('192.168.64.99') }),
    expect: 'ok',
  },
  { what: 'an FDB entry on no device', op: create(noDevice(FDB)), expect: 'ENODEV' },
  { what: 'removal of a missing FDB entry', op: remove(FDB), expect: 'ENOENT' },
  { what: 'a sysctl', op: update({ ...SYSCTL, value: '0' }, SYSCTL), expect: 'ok' },
  { what: 'a sysctl of a missing device', before: [], op: create(SYSCTL), expect: 'ENOENT' },
]

interface Cascade {
  readonly what: string
  readonly happens: (hand: World['hand']) => void
  /** Keys that are gone after it, of all objects in place before. */
  readonly gone: readonly KernelObject[]
  /** Those of which the monitor tells nothing. */
  readonly silent: readonly KernelObject[]
}

const HOPS = [NEXTHOP, NEXTHOP6, THROUGH, THROUGH6]
const ON_DEVICE = [SYSCTL, OWN, OWN6, NEIGHBOUR, NEIGHBOUR6, FDB, ROUTE, ROUTE6, ...HOPS]

const CASCADES: readonly Cascade[] = [
  {
    what: 'a deleted device takes along all that hangs on it',
    happens: (hand) => hand.deleteDevice('flannel.1'),
    gone: [DEVICE, ...ON_DEVICE],
    silent: [ROUTE, SYSCTL, NEXTHOP, NEXTHOP6, THROUGH],
  },
  {
    what: 'a deleted underlay takes along the vxlan device and its own routes',
    happens: (hand) => hand.deleteDevice('uplink'),
    gone: [DEVICE, ...ON_DEVICE, DIRECT, DIRECT6],
    silent: [ROUTE, SYSCTL, DIRECT, NEXTHOP, NEXTHOP6, THROUGH],
  },
  {
    what: 'a device that is set down loses nexthops, routes, neighbours and IPv6 addresses',
    happens: (hand) => hand.setUp('flannel.1', false),
    gone: [ROUTE, ROUTE6, NEIGHBOUR, NEIGHBOUR6, OWN6, ...HOPS],
    silent: [ROUTE, NEXTHOP, NEXTHOP6, THROUGH],
  },
  {
    what: 'an underlay that is set down loses its routes, the vxlan device none',
    happens: (hand) => hand.setUp('uplink', false),
    gone: [DIRECT, DIRECT6],
    silent: [DIRECT],
  },
  {
    what: 'the last IPv4 address takes along neighbours, and routes but those through nexthops',
    happens: (hand) => hand.deleteAddress('flannel.1', '10.5.1.0/32'),
    gone: [OWN, ROUTE, NEIGHBOUR],
    silent: [ROUTE],
  },
  {
    what: 'an address that is not the last one takes along nothing',
    happens: (hand) => {
      hand.addAddress('flannel.1', '10.5.1.9/32')
      hand.deleteAddress('flannel.1', '10.5.1.0/32')
    },
    gone: [OWN],
    silent: [],
  },
  {
    what: 'a deleted nexthop takes along its routes',
    happens: (hand) => hand.deleteNexthop(NEXTHOP),
    gone: [NEXTHOP, THROUGH],
    silent: [THROUGH],
  },
  {
    what: 'a deleted IPv6 nexthop takes along its routes',
    happens: (hand) => hand.deleteNexthop(NEXTHOP6),
    gone: [NEXTHOP6, THROUGH6],
    silent: [],
  },
  {
    what: 'a new MAC makes permanent neighbours vanish',
    happens: (hand) => hand.setMac('flannel.1', '02:11:22:33:44:55'),
    gone: [NEIGHBOUR, NEIGHBOUR6],
    silent: [],
  },
]

/** The cases that tables must pass; call inside `describe`. */
export function tablesConformance(world: () => World): void {
  afterEach(() => world().reset())

  for (const kind of ['link', 'sysctl', 'address', 'neighbour', 'fdb', 'nexthop', 'route'] as const) {
    it(`${kind}: what was made is dumped as it was asked for`, async () => {
      await make(world(), ALL)
      for (const object of ALL) {
        if (object.kind !== kind) continue
        assert.deepEqual((await held(world(), kind)).get(keyOf(object)), object)
      }
    })
  }

  for (const { what, before, op, expect } of CASES) {
    it(`${what}: ${expect}`, async () => {
      await make(world(), before ?? HOST)
      assert.equal(await outcome(world(), op), expect)
      if (expect !== 'ok') return
      const actual = (await held(world(), op.object.kind, [op.object])).get(keyOf(op.object))
      assert.deepEqual(actual, op.object)
    })
  }

  it('removal of an FDB entry that leads elsewhere by now removes nothing', async () => {
    await make(world(), [...HOST, FDB])
    // Whether the kernel says so depends on its version.
    await outcome(world(), remove({ ...FDB, dst: the.ip('192.168.64.99') }))
    assert.deepEqual((await held(world(), 'fdb')).get(keyOf(FDB)), FDB)
  })

  it('a bad object does not stop the others of its batch', async () => {
    await make(world(), HOST)
    const batch = [
      create(noDevice(ROUTE)),
      create({ ...ROUTE, dst: the.cidr('10.5.9.0/24') }),
      remove(BLACKHOLE),
      create(ROUTE),
    ]
    const results = await tableOf(world(), 'route').apply(batch)
    assert.deepEqual(
      results.map(({ ok }) => ok),
      [false, true, false, true],
    )
  })

  it('what is removed is gone, one by one', async () => {
    await make(world(), ALL)
    for (const object of [...ALL].reverse()) {
      if (object.kind === 'sysctl') continue
      assert.equal(await outcome(world(), remove(object)), 'ok', keyOf(object))
      assert.equal((await held(world(), object.kind)).has(keyOf(object)), false, keyOf(object))
    }
  })

  it('a device made anew is empty', async () => {
    await make(world(), ALL)
    const object: Link = { ...DEVICE, driver: { ...DEVICE.driver, vni: 7 } as Link['driver'] }
    assert.equal(await outcome(world(), { verb: 'recreate', object, actual: DEVICE }), 'ok')
    const missing = await missingOf(world())
    assert.deepEqual(missing, sorted(ON_DEVICE.filter(({ kind }) => kind !== 'sysctl')))
    assert.deepEqual((await held(world(), 'sysctl')).get(keyOf(SYSCTL)), { ...SYSCTL, value: '0' })
  })

  it('a device changes its underlay and local address alive, and keeps all that hangs on it', async () => {
    await make(world(), [...ALL, OTHER])
    const driver = { ...DEVICE.driver, underlay: OTHER.name, local: the.ip('192.168.64.99') } as Link['driver']
    const moved: Link = { ...DEVICE, mtu: 1400, driver }
    assert.equal(await outcome(world(), update(DEVICE, moved)), 'ok')
    assert.deepEqual((await held(world(), 'link')).get(keyOf(DEVICE)), moved)
    assert.deepEqual(await missingOf(world()), [])
    // And no longer goes with the one that was below.
    world().hand.deleteDevice('uplink')
    assert.deepEqual((await held(world(), 'link')).get(keyOf(DEVICE)), moved)
  })

  const unmakable: [string, Partial<Link['driver']>, string][] = [
    ['on no underlay', { underlay: 'nowhere' }, 'ENODEV'],
    ['on an underlay that is down', { underlay: OTHER_DOWN.name }, 'ENETDOWN'],
    ['of an address that is nobody’s', { local: the.ip('192.168.64.98') }, 'EADDRNOTAVAIL'],
  ]
  for (const [what, change, code] of unmakable) {
    it(`a device that cannot be made anew ${what} is not deleted: ${code}`, async () => {
      await make(world(), [...ALL, OTHER_DOWN])
      const object: Link = { ...DEVICE, driver: { ...DEVICE.driver, vni: 7, ...change } as Link['driver'] }
      assert.equal(await outcome(world(), { verb: 'recreate', object, actual: DEVICE }), code)
      assert.deepEqual(await missingOf(world()), [])
      assert.deepEqual((await held(world(), 'link')).get(keyOf(DEVICE)), DEVICE)
    })
  }

  it('an address of a subnet brings a connected route and takes it away again', async () => {
    await make(world(), [DEVICE, the.address('10.5.1.1/24'), the.address('2001:db8:5:1::1/64')])
    const routes = await held(world(), 'route')
    assert.deepEqual(
      routes.get('route 10.5.1.0/24 metric 0'),
      the.route('10.5.1.0/24', { protocol: 2, device: 'flannel.1', scope: 'link' }),
    )
    assert.deepEqual(
      routes.get('route 2001:db8:5:1::/64 metric 256'),
      the.route('2001:db8:5:1::/64', { protocol: 2, device: 'flannel.1', metric: 256 }),
    )
    await tableOf(world(), 'address').apply([
      remove(the.address('10.5.1.1/24')),
      remove(the.address('2001:db8:5:1::1/64')),
    ])
    assert.equal((await held(world(), 'route')).has('route 10.5.1.0/24 metric 0'), false)
    assert.equal((await held(world(), 'route')).has('route 2001:db8:5:1::/64 metric 256'), false)
  })

  for (const { what, happens, gone, silent } of CASCADES) {
    it(what, async () => {
      await make(world(), ALL)
      await world().events()
      happens(world().hand)
      const events = await world().events()
      assert.deepEqual(await missingOf(world()), sorted(gone))
      const told = events.flatMap((event) => (event.type === 'object' && !event.present ? [keyOf(event.object)] : []))
      const ours = new Set(ALL.map(keyOf))
      assert.deepEqual(
        [...new Set(told)].filter((key) => ours.has(key)).sort(),
        sorted(gone.filter((object) => !silent.includes(object))),
      )
      const devices = new Set(events.flatMap((event) => (event.type === 'device' ? [event.name] : [])))
      if (silent.includes(ROUTE))
        assert(devices.has('flannel.1') || told.includes(keyOf(OWN)), 'something hints at the routes')
      if (silent.includes(DIRECT)) assert(devices.has('uplink'), 'something hints at the direct routes')
    })
  }
}

const sorted = (objects: readonly KernelObject[]) => objects.map(keyOf).sort()

function tableOf(world: World, kind: ObjectKind): ObjectTable {
  const table = world.tables.find((candidate) => candidate.kind === kind)
  assert(table !== undefined, kind)
  return table
}

export async function make(world: World, objects: readonly KernelObject[]): Promise<void> {
  for (const object of objects) assert.equal(await outcome(world, create(object)), 'ok', keyOf(object))
}

export async function outcome(world: World, op: Op<KernelObject>): Promise<string> {
  const [result] = await tableOf(world, op.object.kind).apply([op])
  assert(result !== undefined)
  return result.ok ? 'ok' : result.error.code
}

export async function held(
  world: World,
  kind: ObjectKind,
  wanted: readonly KernelObject[] = ALL,
): Promise<Map<string, KernelObject>> {
  const dump = await tableOf(world, kind).dump(wanted.filter((object) => object.kind === kind))
  return new Map(dump.map((object) => [keyOf(object), object]))
}

async function missingOf(world: World): Promise<string[]> {
  const there = new Set<string>()
  for (const { kind } of world.tables) for (const key of (await held(world, kind)).keys()) there.add(key)
  return sorted(ALL).filter((key) => !there.has(key))
}
