import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createKernel, type Kernel } from '../../kernel/kernel.ts'
import { nexthopId } from '../../kernel/kinds/nexthop/kind.ts'
import type { NeighbourStateEvent } from '../../kernel/netlink/event-reader.ts'
import { compare, type KernelObject, keyOf, type Link, type ObjectKind, type Route } from '../../kernel/objects.ts'
import type { KernelEvent } from '../../kernel/table.ts'
import type { Cidr, IpAddr } from '../../lib/address.ts'
import { until } from '../until.ts'
import { ownNamespace, tableOf } from './own-namespace.ts'

const NUMBER = nexthopId({ device: 'flannel.1', via: '10.5.3.0' })
const VXLAN = 'ip link add flannel.1 up type vxlan id 1 dev uplink local 192.168.64.11 dstport 8472 nolearning'

describe('the monitor', function () {
  this.timeout(60_000)
  const namespace = ownNamespace(this)
  let kernel: Kernel
  let events: KernelEvent[] = []
  let states: NeighbourStateEvent[] = []

  async function listen(queueBytes?: number): Promise<void> {
    kernel = await createKernel(queueBytes === undefined ? {} : { eventQueueBytes: queueBytes })
    events = []
    states = []
    kernel.monitor.start(
      (burst) => events.push(...burst),
      (state) => states.push(state),
    )
  }

  /** Until an event fits; the first that does. */
  async function seen(fits: (event: KernelEvent) => boolean): Promise<KernelEvent> {
    await until(3_000, 'the event', async () =>
      assert.ok(events.some(fits), `not seen among ${JSON.stringify(events)}`),
    )
    return events.find(fits) as KernelEvent
  }

  async function once(line: string): Promise<void> {
    events = []
    namespace.run(line)
  }

  const object = (kind: ObjectKind, present: boolean, part: string) => (event: KernelEvent) =>
    event.type === 'object' && event.present === present && keyOf(event.object).startsWith(`${kind} ${part}`)
  const device = (name: string) => (event: KernelEvent) => event.type === 'device' && event.name === name

  afterEach(() => {
    kernel.close()
    namespace.run('ip link set uplink mtu 1500')
    if (namespace.run('ip -br link show type vxlan') !== '') namespace.run('ip link del flannel.1')
  })

  const cases: readonly { kind: ObjectKind; part: string; add: string; change?: string; remove: string }[] = [
    {
      kind: 'address',
      part: 'flannel.1 10.5.72.0/32',
      add: 'ip addr add 10.5.72.0/32 dev flannel.1',
      remove: 'ip addr del 10.5.72.0/32 dev flannel.1',
    },
    {
      kind: 'route',
      part: '10.5.3.0/24',
      add: 'ip route add 10.5.3.0/24 via 10.5.3.0 dev flannel.1 onlink proto 102',
      change: 'ip route replace 10.5.3.0/24 via 192.168.64.12',
      remove: 'ip route del 10.5.3.0/24',
    },
    {
      kind: 'route',
      part: 'fd00:5:3::/64',
      add: 'ip -6 route add fd00:5:3::/64 via fd64::12 proto 102',
      remove: 'ip -6 route del fd00:5:3::/64',
    },
    {
      kind: 'nexthop',
      part: 'flannel.1 10.5.3.0',
      add: `ip nexthop add id ${NUMBER} via 10.5.3.0 dev flannel.1 onlink proto 102`,
      remove: `ip nexthop del id ${NUMBER}`,
    },
    {
      kind: 'neighbour',
      part: 'flannel.1 10.5.3.0',
      add: 'ip neigh add 10.5.3.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent',
      change: 'ip neigh change 10.5.3.0 lladdr 02:00:00:00:00:03 dev flannel.1 nud permanent',
      remove: 'ip neigh del 10.5.3.0 dev flannel.1',
    },
    {
      kind: 'fdb',
      part: 'flannel.1 02:00:00:00:00:02',
      add: 'bridge fdb add 02:00:00:00:00:02 dev flannel.1 dst 192.168.64.12 self permanent',
      change: 'bridge fdb replace 02:00:00:00:00:02 dev flannel.1 dst 192.168.64.13 self permanent',
      remove: 'bridge fdb del 02:00:00:00:00:02 dev flannel.1 dst 192.168.64.13 self permanent',
    },
  ]
  for (const { kind, part, add, change, remove } of cases) {
    it(`tells of ${kind} ${part} what a dump would list`, async () => {
      namespace.run(VXLAN)
      await listen()
      for (const line of change === undefined ? [add] : [add, change]) {
        await once(line)
        const event = await seen(object(kind, true, part))
        assert.ok(event.type === 'object')
        const listed = (await tableOf<KernelObject>(kernel, kind).dump([])).find(
          (candidate) => keyOf(candidate) === keyOf(event.object),
        )
        assert.deepEqual(listed, event.object)
      }
      await once(remove)
      await seen(object(kind, false, part))
    })
  }

  for (const path of ['net/ipv4/ip_forward', 'net/ipv4/conf/flannel.1/rp_filter']) {
    it(`tells of ${path}, which others set`, async () => {
      namespace.run(VXLAN)
      await listen()
      for (const value of ['1', '0']) {
        await once(`sysctl -qw ${path}=${value}`)
        const event = await seen(object('sysctl', true, path))
        assert.deepEqual(event, { type: 'object', present: true, object: { kind: 'sysctl', path, value } })
      }
    })
  }

  it('tells of a nexthop object with a number of ours that is another’s by now, and of no other one', async () => {
    namespace.run(VXLAN)
    namespace.run(`ip nexthop add id ${NUMBER} via 10.5.3.0 dev flannel.1 onlink proto 102`)
    await listen()
    await once('ip nexthop add id 7 via 192.168.64.12 dev uplink proto zebra')
    namespace.run(`ip nexthop replace id ${NUMBER} via 192.168.64.12 dev uplink`)
    const event = await seen(({ type }) => type === 'kinds')
    assert.deepEqual(event, { type: 'kinds', kinds: ['nexthop', 'route'] })
    assert.deepEqual(events, [event])
    namespace.run('ip nexthop flush')
  })

  it('tells of devices that come, change, are renamed and go', async () => {
    await listen()
    await once(VXLAN)
    await seen(device('flannel.1'))
    await once('ip link set flannel.1 mtu 1400')
    const event = await seen(object('link', true, 'flannel.1'))
    assert.ok(event.type === 'object')
    const listed = (await tableOf<Link>(kernel, 'link').dump([])).find(({ name }) => name === 'flannel.1')
    assert.ok(listed)
    assert.equal(compare(event.object, listed), 'same')
    await once('ip link set flannel.1 address 02:02:02:02:02:02')
    await seen(device('flannel.1'))
    await once('ip link set flannel.1 down')
    await seen(device('flannel.1'))
    await once('ip link set flannel.1 name renamed')
    await seen(device('flannel.1'))
    await seen(device('renamed'))
    await once('ip link del renamed')
    await seen(object('link', false, 'renamed'))
    await once('ip link set uplink mtu 1400')
    await seen(device('uplink'))
  })

  it('keeps silent about devices while they are made here, and tells of what befalls them from then on', async () => {
    await listen()
    const driver = {
      type: 'vxlan',
      vni: 1,
      underlay: 'uplink',
      local: '192.168.64.11' as IpAddr,
      port: 8472,
      learning: false,
      gbp: false,
    } as const
    const link: Link = { kind: 'link', name: 'flannel.1', mtu: 1450, up: true, driver }
    const made = await tableOf<Link>(kernel, 'link').apply([{ verb: 'create', object: link }])
    assert.deepEqual(made, [{ ok: true }])
    namespace.run('ip link set uplink mtu 1400')
    await seen(device('uplink'))
    assert.equal(events.some(device('flannel.1')), false)
    await once('ip link set flannel.1 down')
    await seen(device('flannel.1'))
    await once('ip link del flannel.1')
    await seen(object('link', false, 'flannel.1'))
    await once(VXLAN)
    await seen(object('link', true, 'flannel.1'))
  })

  it('names the device of what came before it was known otherwise', async () => {
    await listen()
    await once(VXLAN)
    namespace.run('ip addr add 10.5.72.0/32 dev flannel.1')
    await seen(object('address', true, 'flannel.1 10.5.72.0'))
  })

  it('hears what happened between its making and its start', async () => {
    kernel = await createKernel()
    await once(VXLAN)
    kernel.monitor.start((burst) => events.push(...burst))
    await seen(device('flannel.1'))
  })

  it('keeps silent about our own routes, addresses and link addresses of IPv6', async () => {
    await listen()
    namespace.run(VXLAN)
    await seen(device('flannel.1'))
    const route: Route = {
      kind: 'route',
      family: 4,
      dst: '10.5.3.0/24' as Cidr,
      metric: 0,
      type: 'unicast',
      device: 'flannel.1',
      via: '10.5.3.0' as IpAddr,
      onLink: true,
      protocol: 102,
    }
    events = []
    await tableOf<Route>(kernel, 'route').apply([{ verb: 'create', object: route }])
    namespace.run('ip route add 10.5.4.0/24 via 192.168.64.12')
    await seen(object('route', true, '10.5.4.0/24'))
    assert.equal(events.some(object('route', true, '10.5.3.0/24')), false)
    assert.equal(events.some(object('address', true, 'flannel.1 fe80')), false)
    namespace.run('ip route del 10.5.4.0/24')
  })

  it('tells how the kernel fares with neighbours that it resolves itself', async () => {
    namespace.run('sysctl -qw net.ipv4.neigh.uplink.retrans_time_ms=20')
    await listen()
    kernel.host.askNeighbour('uplink', '192.168.64.99' as IpAddr)
    await until(5_000, 'it fails', async () => assert.ok(states.some(({ state }) => state === 'failed')))
    assert.deepEqual(
      states.map(({ device: name, address, state }) => `${name} ${address} ${state}`).at(-1),
      'uplink 192.168.64.99 failed',
    )
  })

  it('says that events were lost when its queue overflows, and hears on', async () => {
    await listen(8192)
    const batch = join(tmpdir(), `monitor-${Math.random().toString(36).slice(2)}`)
    const routes = Array.from({ length: 2000 }, (_unused, i) => `10.${64 + (i >> 8)}.${i & 255}.0/24 via 192.168.64.7`)
    writeFileSync(batch, routes.map((route) => `route add ${route}`).join('\n'))
    namespace.run(`ip -batch ${batch}`)
    await seen(({ type }) => type === 'overrun')
    assert.ok(events.length < 2000)
    await once('ip route add 10.5.4.0/24 via 192.168.64.12')
    await seen(object('route', true, '10.5.4.0/24'))
    namespace.run('ip route flush root 10.0.0.0/8')
  })

  it('may be closed twice, and is silent from then on', async () => {
    await listen()
    kernel.close()
    kernel.close()
    await once(VXLAN)
    await delay(20)
    assert.deepEqual(events, [])
  })
})
