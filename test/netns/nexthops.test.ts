import assert from 'node:assert/strict'
import { createKernel } from '../../kernel/kernel.ts'
import { type Nexthop, nexthopId } from '../../kernel/kinds/nexthop/kind.ts'
import type { KernelObject, Route } from '../../kernel/objects.ts'
import * as the from '../kernel/fixtures.ts'
import { outcomes, ownNamespace, tableOf } from './own-namespace.ts'

const HOP = the.nexthop('10.5.4.0')
const HOP6 = the.nexthop('2001:db8:5:4::')
const ROUTE = the.throughNexthop(the.peerRoute('10.5.4.0/24'))
const ROUTE6 = the.throughNexthop(the.peerRoute('2001:db8:5:4::/64'))
const NUMBER = nexthopId(HOP)

/** Beyond what the conformance suite knows of: numbers, and what others do with them. */
describe('nexthop objects', function () {
  const namespace = ownNamespace(this)
  const hops = () => tableOf<Nexthop>(namespace.kernel, 'nexthop')
  const routes = () => tableOf<Route>(namespace.kernel, 'route')
  const create = <O extends KernelObject>(object: O) => ({ verb: 'create', object }) as const
  const remove = <O extends KernelObject>(object: O) => ({ verb: 'remove', object }) as const
  const lines = (...all: string[]) => all.forEach((line) => void namespace.run(line))
  const listed = () => namespace.run('ip nexthop').trim().split(/ *\n/).filter(Boolean)
  const routeTo = async (route: Route) => (await routes().dump([])).find(({ dst }) => dst === route.dst)

  beforeEach(() => {
    lines(
      'ip link add flannel.1 up type vxlan id 1 dev uplink local 192.168.64.11 dstport 8472 nolearning',
      'ip addr add 10.5.1.0/32 dev flannel.1',
    )
  })

  afterEach(async () => {
    lines('sysctl -qw net.ipv4.nexthop_compat_mode=1', 'ip link del flannel.1', 'ip nexthop flush')
    lines('ip route flush proto 102', 'ip -6 route flush proto 102')
    await hops().dump([])
  })

  it('get another number where theirs is taken, and are known by it, also to a later process', async () => {
    lines(`ip nexthop add id ${NUMBER} via 192.168.64.9 dev uplink`, `ip nexthop add id ${NUMBER + 1} blackhole`)
    assert.deepEqual(await outcomes(hops(), create(HOP), create(HOP6)), ['ok', 'ok'])
    assert.deepEqual(await outcomes(routes(), create(ROUTE)), ['ok'])
    assert.deepEqual(await routeTo(ROUTE), ROUTE)
    const id = NUMBER + 2
    assert.deepEqual(await hops().dump([]), [HOP6, { ...HOP, id }])
    const later = await createKernel()
    try {
      assert.deepEqual(await tableOf<Nexthop>(later, 'nexthop').dump([]), [HOP6, { ...HOP, id }])
      assert.deepEqual(await outcomes(tableOf<Nexthop>(later, 'nexthop'), create(HOP)), ['EEXIST'])
      assert.deepEqual(
        await tableOf<Route>(later, 'route')
          .dump([])
          .then((all) => all.filter(isOurs)),
        [ROUTE],
      )
      assert.deepEqual(await outcomes(tableOf<Route>(later, 'route'), remove(ROUTE)), ['ok'])
      assert.deepEqual(await outcomes(tableOf<Nexthop>(later, 'nexthop'), remove(HOP)), ['ok'])
    } finally {
      later.close()
    }
    assert.equal(
      listed().some((line) => line.startsWith(`id ${id} `)),
      false,
    )
    assert.equal(listed().length, 3)
  })

  it('of which there are two for one way are told apart: the one with the number that follows from it counts', async () => {
    lines(`ip nexthop add id 7 via ${HOP.via} dev flannel.1 onlink proto 102`)
    assert.deepEqual(await outcomes(hops(), create(HOP)), ['ok'])
    assert.deepEqual(await hops().dump([]), [HOP, { ...HOP, id: 7 }])
    assert.deepEqual(await outcomes(routes(), create(ROUTE)), ['ok'])
    assert.deepEqual(await outcomes(hops(), remove({ ...HOP, id: 7 })), ['ok'])
    assert.deepEqual(await hops().dump([]), [HOP])
    assert.deepEqual(await routeTo(ROUTE), ROUTE)
  })

  it('whose number is another’s by now are not removed, and a route over it is seen', async () => {
    assert.deepEqual(await outcomes(hops(), create(HOP)), ['ok'])
    assert.deepEqual(await outcomes(routes(), create(ROUTE)), ['ok'])
    lines(`ip nexthop replace id ${NUMBER} via 192.168.64.9 dev uplink`)
    assert.deepEqual(await hops().dump([]), [])
    assert.equal((await routeTo(ROUTE))?.nexthop, 'other')
    assert.deepEqual(await outcomes(hops(), remove(HOP)), ['ENOENT'])
    assert.deepEqual(await outcomes(hops(), create(HOP)), ['ok'])
    assert.deepEqual(
      await outcomes(routes(), { verb: 'update', object: ROUTE, actual: { ...ROUTE, nexthop: 'other' } }),
      ['ok'],
    )
    assert.deepEqual(await routeTo(ROUTE), ROUTE)
    assert.deepEqual(listed(), [
      `id ${NUMBER} via 192.168.64.9 dev uplink scope link`,
      `id ${NUMBER + 1} via 10.5.4.0 dev flannel.1 scope link proto 102 onlink`,
    ])
  })

  it('of other forms and protocols are not listed, and a route of ours through one can be removed', async () => {
    lines(
      'ip nexthop add id 1 via 192.168.64.9 dev uplink proto zebra',
      'ip nexthop add id 2 via 192.168.64.9 dev uplink proto 102',
      'ip nexthop add id 3 dev flannel.1 proto 102',
      'ip nexthop add id 4 group 1/2 proto 102',
      'ip nexthop add id 5 blackhole proto 102',
      'ip nexthop add id 6 via 10.5.9.0 dev flannel.1 onlink proto 11',
      'ip route add 10.5.9.0/24 nhid 6 proto 102',
      'ip route add 10.5.8.0/24 nhid 4 proto 102',
    )
    assert.deepEqual(await hops().dump([]), [])
    const found = (await routes().dump([])).filter(isOurs)
    assert.deepEqual(
      found.map(({ dst, nexthop }) => [dst, nexthop]),
      [
        ['10.5.8.0/24', 'other'],
        ['10.5.9.0/24', 'other'],
      ],
    )
    assert.deepEqual(await outcomes(routes(), ...found.map(remove)), ['ok', 'ok'])
    assert.equal(listed().length, 6)
  })

  it('are known, and the routes through them, where the kernel shows the number alone', async () => {
    lines('sysctl -qw net.ipv4.nexthop_compat_mode=0')
    assert.deepEqual(await outcomes(hops(), create(HOP), create(HOP6)), ['ok', 'ok'])
    assert.deepEqual(await outcomes(routes(), create(ROUTE), create(ROUTE6)), ['ok', 'ok'])
    assert.match(
      namespace.run('ip route show 10.5.4.0/24'),
      new RegExp(`^10.5.4.0/24 nhid ${NUMBER} proto 102 *$`, 'm'),
    )
    assert.deepEqual((await routes().dump([])).filter(isOurs), [ROUTE, ROUTE6])
    lines(`ip nexthop replace id ${NUMBER} via 192.168.64.9 dev uplink`)
    assert.deepEqual(
      (await routes().dump([])).filter(isOurs).map(({ nexthop }) => nexthop),
      ['other', 'own'],
    )
  })

  it('of IPv6 are made while a route leads to their gateway over another device', async () => {
    const direct = the.route(ROUTE6.dst, { via: the.ip('fd64::13'), device: 'uplink' })
    assert.deepEqual(await outcomes(routes(), create(direct)), ['ok'])
    assert.deepEqual(await outcomes(hops(), create(HOP6)), ['ok'])
    assert.deepEqual(await outcomes(routes(), { verb: 'update', object: ROUTE6, actual: direct }), ['ok'])
    assert.deepEqual((await routes().dump([])).filter(isOurs), [ROUTE6])
  })

  it('are found beside thousands of a routing daemon, whose changes make no difference', async () => {
    const others = Array.from(
      { length: 2_000 },
      (_none, n) => `nexthop add id ${n + 1} via 192.168.64.9 dev uplink proto zebra`,
    )
    namespace.run('ip -batch -', others.join('\n'))
    assert.deepEqual(await outcomes(hops(), create(HOP)), ['ok'])
    assert.deepEqual(await hops().dump([]), [HOP])
    assert.equal(await hops().unchanged?.(), true)
    lines('ip nexthop del id 5')
    assert.equal(await hops().unchanged?.(), true)
    lines(`ip nexthop del id ${NUMBER}`)
    assert.equal(await hops().unchanged?.(), false)
  })
})

function isOurs({ protocol }: Route): boolean {
  return protocol === the.ROUTE_PROTOCOL
}
