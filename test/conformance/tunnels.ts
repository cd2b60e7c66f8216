import assert from 'node:assert/strict'
import { type KernelObject, keyOf, type Link } from '../../kernel/objects.ts'
import type { Op } from '../../kernel/table.ts'
import * as the from '../kernel/fixtures.ts'
import { create, held, make, outcome, remove, update, type World } from './tables.ts'

const local = the.ip('192.168.64.11')
const TUNNEL = the.ipip('flannel.ipip', { local })
const FOU = the.ipip('flannel0', {
  local,
  ttl: 64,
  pathMtuDiscovery: true,
  encapsulation: { sourcePort: 8285, port: 8285 },
})
const PORT = the.fouPort(8285)
const OWN = the.address('10.5.1.0/32', 'flannel.ipip')
const ROUTE = the.route('10.5.2.0/24', { via: the.ip('192.168.64.12'), device: 'flannel.ipip', onLink: true })
const FAR = the.route('10.5.3.0/24', { via: the.ip('203.0.113.7'), device: 'flannel.ipip', onLink: true })
const DIRECT = the.route('10.5.4.0/24', { via: the.ip('192.168.64.14'), device: 'uplink', onLink: true })
const SYSCTL = the.sysctl('net/ipv4/conf/flannel.ipip/rp_filter', '2')
const ALL: readonly KernelObject[] = [PORT, TUNNEL, SYSCTL, OWN, ROUTE, FAR, DIRECT]

const withDriver = (link: Link, driver: object): Link => ({ ...link, driver: { ...link.driver, ...driver } })

interface Case {
  readonly what: string
  readonly before: readonly KernelObject[]
  readonly op: Op<KernelObject>
  readonly expect: string
}

const CASES: readonly Case[] = [
  { what: 'a tunnel in UDP', before: [], op: create(FOU), expect: 'ok' },
  { what: 'a tunnel whose name is taken', before: [TUNNEL], op: create(TUNNEL), expect: 'EEXIST' },
  { what: 'a second tunnel of one address', before: [TUNNEL], op: create(FOU), expect: 'EEXIST' },
  {
    what: 'a second tunnel of one address by a device of its own',
    before: [TUNNEL],
    op: create(withDriver(FOU, { underlay: 'uplink' })),
    expect: 'ok',
  },
  {
    what: 'a tunnel of another address',
    before: [TUNNEL],
    op: create(withDriver(FOU, { local: the.ip('192.168.64.77') })),
    expect: 'ok',
  },
  {
    what: 'a tunnel on no device',
    before: [],
    op: create(withDriver(TUNNEL, { underlay: 'nowhere' })),
    expect: 'ENODEV',
  },
  {
    what: 'change of a tunnel’s address',
    before: [TUNNEL],
    op: update(TUNNEL, withDriver(TUNNEL, { local: the.ip('192.168.64.99') })),
    expect: 'ok',
  },
  {
    what: 'change of a tunnel’s time to live',
    before: [FOU],
    op: update(FOU, withDriver(FOU, { ttl: 0, pathMtuDiscovery: false })),
    expect: 'ok',
  },
  { what: 'change of a tunnel’s MTU', before: [TUNNEL], op: update(TUNNEL, { ...TUNNEL, mtu: 1400 }), expect: 'ok' },
  {
    what: 'another encapsulation',
    before: [TUNNEL],
    op: { verb: 'recreate', actual: TUNNEL, object: { ...FOU, name: 'flannel.ipip' } },
    expect: 'ok',
  },
  { what: 'removal of a missing tunnel', before: [], op: remove(TUNNEL), expect: 'ENODEV' },
  { what: 'a route via a peer out of sight', before: [TUNNEL, OWN], op: create(FAR), expect: 'ok' },
  { what: 'a FOU port', before: [], op: create(PORT), expect: 'ok' },
  { what: 'a FOU port that is open', before: [PORT], op: create(PORT), expect: 'EADDRINUSE' },
  {
    what: 'a FOU port open for another protocol',
    before: [the.fouPort(8285, { protocol: 47 })],
    op: create(PORT),
    expect: 'EADDRINUSE',
  },
  { what: 'a second FOU port', before: [PORT], op: create(the.fouPort(8286)), expect: 'ok' },
  { what: 'removal of a missing FOU port', before: [], op: remove(PORT), expect: 'ENOENT' },
  {
    what: 'removal of a FOU port that is another by now',
    before: [the.fouPort(8285, { protocol: 47 })],
    op: remove(PORT),
    expect: 'ENOENT',
  },
  {
    what: 'a FOU port of another protocol',
    before: [PORT],
    op: { verb: 'recreate', actual: PORT, object: the.fouPort(8285, { protocol: 47 }) },
    expect: 'ok',
  },
]

/** The cases of tunnels of IP in IP, in UDP or not; the kernel has the modules ipip and fou. Call inside `describe`. */
export function tunnelsConformance(world: () => World): void {
  afterEach(() => world().reset())

  it('tunnels and FOU ports are dumped as they were asked for', async () => {
    const underUplink = withDriver(FOU, { underlay: 'uplink' })
    await make(world(), [...ALL, underUplink])
    for (const object of [...ALL, underUplink]) {
      assert.deepEqual((await held(world(), object.kind, ALL)).get(keyOf(object)), object)
    }
  })

  for (const { what, before, op, expect } of CASES) {
    it(`${what}: ${expect}`, async () => {
      await make(world(), before)
      assert.equal(await outcome(world(), op), expect)
      const after = expect === 'ok' ? op.object : before.find((object) => keyOf(object) === keyOf(op.object))
      const actual = (await held(world(), op.object.kind, [op.object])).get(keyOf(op.object))
      assert.deepEqual(actual, after)
    })
  }

  it('a deleted tunnel takes along all that hangs on it, and no FOU port', async () => {
    await make(world(), ALL)
    assert.equal(await outcome(world(), remove(TUNNEL)), 'ok')
    assert.deepEqual(await keysLeft(world()), [keyOf(PORT), keyOf(DIRECT)].sort())
  })

  it('a tunnel outlives the device that it sends by', async () => {
    await make(world(), [withDriver(TUNNEL, { underlay: 'uplink' }), OWN, ROUTE])
    world().hand.deleteDevice('uplink')
    const left = (await held(world(), 'link')).get(keyOf(TUNNEL))
    assert(left?.kind === 'link' && left.driver.type === 'ipip')
    assert.notEqual(left.driver.underlay, undefined)
    assert((await held(world(), 'route')).has(keyOf(ROUTE)))
  })

  it('the deletion of a tunnel by hand is told', async () => {
    await make(world(), ALL)
    await world().events()
    world().hand.deleteDevice('flannel.ipip')
    const events = await world().events()
    assert(events.some((event) => event.type === 'device' && event.name === 'flannel.ipip'))
  })
}

async function keysLeft(world: World): Promise<string[]> {
  const ours = new Set(ALL.map(keyOf))
  const keys: string[] = []
  for (const { kind } of world.tables) keys.push(...(await held(world, kind, ALL)).keys())
  return keys.filter((key) => ours.has(key)).sort()
}
