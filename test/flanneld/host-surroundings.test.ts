import assert from 'node:assert/strict'
import { HostSurroundings, type SurroundingsInput } from '../../flanneld/host/host-surroundings.ts'
import type { HostInterface, HostRouteEntry, NearbyRoutes } from '../../kernel/host.ts'
import type { KernelEvent } from '../../kernel/table.ts'
import type { Cidr, IpAddr } from '../../lib/address.ts'

const networks = ['10.5.0.0/16' as Cidr, 'fc00::/48' as Cidr]

function device(name: string, kind: string, ...addresses: readonly string[]): HostInterface {
  const parsed = addresses.map((text) => {
    const [address = '', length] = text.split('/')
    return { address: address as IpAddr, length: Number(length), family: address.includes(':') ? 6 : 4 } as const
  })
  return { name, kind, index: 1, mtu: 1500, up: true, addresses: parsed } as unknown as HostInterface
}

function route(dst: string, more: Partial<HostRouteEntry> = {}): HostRouteEntry {
  return { dst: dst as Cidr, metric: 0, type: 1, protocol: 2, device: 'eth0', ...more }
}

function start(nearby: NearbyRoutes = { routes: [], gateways: [] }) {
  const kernel = { nearby, reads: 0 }
  const routesNear = async () => {
    kernel.reads += 1
    return kernel.nearby
  }
  const host = new HostSurroundings({ kernel: { routesNear }, networks: () => networks })
  const of = (more: Partial<SurroundingsInput> = {}) =>
    host.of({
      interfaces: [],
      uplink: 'eth0',
      ours: new Set(['flannel.1']),
      storeAddresses: [],
      isPlanned: () => false,
      keptOurs: new Set(),
      ...more,
    })
  return { kernel, host, of }
}

const routeEvent = (dst: string, more: object = {}): KernelEvent => ({
  type: 'object',
  present: true,
  object: { kind: 'route', family: 4, dst: dst as Cidr, metric: 0, type: 'unicast', protocol: 186, ...more },
})

describe('what the harm rule knows of the host', () => {
  it('leaves out an address on lo that this program has taken away, until the host was read again', () => {
    const { of } = start()
    const [there, gone] = [[device('lo', '', '10.5.1.0/32')], [device('lo', '')]]
    const inside = (interfaces: readonly HostInterface[], keptOurs: readonly string[]) =>
      of({ interfaces, keptOurs: new Set(keptOurs) }).addresses.map(({ address }) => address)
    assert.deepEqual(inside(there, ['10.5.1.0/32']), [])
    assert.deepEqual(inside(there, []), [])
    assert.deepEqual(inside(gone, []), [])
    // Somebody else's.
    assert.deepEqual(inside(there, []), ['10.5.1.0'])
  })

  it('is the addresses, gateways and endpoints inside the network that are not on a device of the overlay', async () => {
    const gateways = [
      { address: '10.5.9.254' as IpAddr, device: 'eth0' },
      { address: '10.5.2.0' as IpAddr, device: 'flannel.1' },
      { address: '10.5.3.0' as IpAddr, device: 'flannel0' },
    ]
    const { host, of } = start({ routes: [], gateways })
    await host.read()
    const interfaces = [
      device('eth0', '', '10.5.9.1/8', '192.168.64.1/24', 'fc00::9/64'),
      device('flannel.1', 'vxlan', '10.5.1.0/32'),
      device('cni0', 'bridge', '10.5.1.1/24'),
    ]
    const storeAddresses = ['10.5.9.9', '192.168.64.9'] as IpAddr[]
    const { addresses, ownAddresses } = of({ interfaces, storeAddresses })
    assert.deepEqual(
      addresses.map(({ address, what }) => `${address}: ${what}`),
      [
        '10.5.9.1: an address of eth0',
        'fc00::9: an address of eth0',
        '10.5.1.1: an address of cni0',
        '10.5.9.254: a gateway of this host',
        '10.5.9.9: an endpoint of the lease store',
      ],
    )
    assert.deepEqual(ownAddresses, ['10.5.9.1', '192.168.64.1', 'fc00::9', '10.5.1.1'])
  })

  it('takes bridges for containers\u2019, unless one is the uplink, and pairs with a single address', () => {
    const interfaces = [
      device('br0', 'bridge', '10.5.7.1/24'),
      device('docker0', 'bridge', '10.5.1.1/24', '172.17.0.1/16'),
      device('veth1', 'veth', '10.5.1.1/32'),
      device('eth1', 'veth', '10.5.8.1/24'),
    ]
    const named = start().of({ interfaces, uplink: 'br0' }).containerDevices
    assert.deepEqual(
      named.map((each) => `${each.device} ${each.address} ${each.prefix}`),
      ['docker0 10.5.1.1 10.5.1.0/24', 'veth1 10.5.1.1 10.5.1.1/32'],
    )
  })

  it('tells flannel\u2019s routes from those of the host, and leaves out what the reconciler replaces', async () => {
    const routes = [
      route('10.0.0.0/8'),
      route('10.5.2.0/24', { protocol: 3, via: '192.168.64.2' as IpAddr }),
      route('10.5.3.0/24', { protocol: 3 }),
      route('10.5.4.0/24', { protocol: 3, device: 'flannel.2' }),
      route('10.5.5.0/24', { protocol: 4, metric: 7, type: 7 }),
      route('10.5.6.0/24', { protocol: 3, type: 6 }),
      route('10.5.10.0/24', { protocol: 4, type: 6 }),
      route('10.5.7.0/24', { protocol: 3 }),
      route('10.5.9.0/24', { protocol: 4 }),
      route('10.5.8.0/24', { protocol: 3, metric: 500, via: '192.168.64.2' as IpAddr }),
    ]
    const { host, of } = start({ routes, gateways: [] })
    await host.read()
    const planned = ['route 10.5.7.0/24 metric 0', 'route 10.5.9.0/24 metric 0']
    const found = of({ isPlanned: (key) => planned.includes(key) }).routes
    assert.deepEqual(
      found.map(({ text, adoptable, type }) => `${text}${adoptable ? ' adoptable' : ''} ${type}`),
      [
        '10.0.0.0/8 dev eth0 unicast',
        '10.5.2.0/24 via 192.168.64.2 dev eth0 adoptable unicast',
        '10.5.3.0/24 dev eth0 unicast',
        'unreachable 10.5.5.0/24 dev eth0 metric 7 other',
        'blackhole 10.5.6.0/24 dev eth0 adoptable blackhole',
        'blackhole 10.5.10.0/24 dev eth0 blackhole',
        '10.5.9.0/24 dev eth0 unicast',
        '10.5.8.0/24 via 192.168.64.2 dev eth0 metric 500 unicast',
      ],
    )
  })

  it('stays one object while nothing changes, whatever is read again', async () => {
    const { kernel, host, of } = start({ routes: [route('10.0.0.0/8')], gateways: [] })
    await host.read()
    const interfaces = [device('eth0', '', '10.5.9.1/8')]
    const first = of({ interfaces })
    kernel.nearby = { routes: [route('10.0.0.0/8')], gateways: [] }
    host.onEvents([{ type: 'overrun' }])
    assert.equal(await host.read(), false)
    assert.equal(of({ interfaces: [...interfaces] }), first)
    kernel.nearby = { routes: [], gateways: [] }
    host.onEvents([{ type: 'device', name: 'eth0' }])
    assert.equal(await host.read(), true)
    assert.notEqual(of({ interfaces }), first)
  })

  const events: readonly [string, KernelEvent, boolean][] = [
    ['a route elsewhere, one of a million', routeEvent('203.0.113.0/24', { via: '192.168.64.1' }), false],
    ['a default route', routeEvent('0.0.0.0/0', { via: '192.168.64.1' }), false],
    ['a route of ours', routeEvent('10.5.2.0/24', { protocol: 102 }), false],
    ['a rule', { type: 'kinds', kinds: ['iptables-chain'] }, false],
    ['a default route by a gateway inside the network', routeEvent('0.0.0.0/0', { via: '10.5.9.254' }), true],
    ['a route inside the network', routeEvent('10.5.2.0/28'), true],
    ['a route around the network', routeEvent('10.0.0.0/8'), true],
    ['a device', { type: 'device', name: 'tun0' }, true],
    ['lost events', { type: 'overrun' }, true],
  ]
  for (const [what, event, reads] of events) {
    it(`are ${reads ? '' : 'not '}read again after ${what}`, async () => {
      const { kernel, host } = start()
      await host.read()
      host.onEvents([event])
      await host.read()
      assert.equal(kernel.reads, reads ? 2 : 1)
    })
  }

  it('are read again after a failure', async () => {
    const host = new HostSurroundings({
      kernel: { routesNear: () => Promise.reject(new Error('EINTR')) },
      networks: () => networks,
    })
    await assert.rejects(host.read())
    await assert.rejects(host.read())
  })
})
