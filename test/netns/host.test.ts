import assert from 'node:assert/strict'
import type { HostRouteEntry } from '../../kernel/host.ts'
import type { Cidr, IpAddr } from '../../lib/address.ts'
import { until } from '../until.ts'
import { ownNamespace } from './own-namespace.ts'

const ip = (text: string) => text as IpAddr

describe('the look at the host', function () {
  const namespace = ownNamespace(this)
  const host = () => namespace.kernel.host
  before(() => {
    namespace.run('ip route add default via 192.168.64.1 metric 50')
    namespace.run('ip route add default dev far metric 20')
    namespace.run('ip route add 10.9.0.0/16 via 192.168.64.7')
    namespace.run('ip route add unreachable 10.10.0.0/16')
    namespace.run('ip addr add 192.168.64.20/24 dev uplink valid_lft 1000 preferred_lft 0')
  })

  it('lists interfaces with their addresses', async () => {
    const found = await host().listInterfaces()
    const uplink = found.find(({ name }) => name === 'uplink')
    assert.ok(uplink)
    assert.equal(uplink.mtu, 1500)
    assert.equal(uplink.up, true)
    assert.equal(uplink.loopback, false)
    assert.equal(uplink.kind, 'veth')
    assert.equal(uplink.mac, namespace.json('ip -j link show uplink')[0]?.['address'])
    assert.deepEqual(
      uplink.addresses.map(({ family, address, length, scope, deprecated, temporary, permanent }) =>
        [family, address.replace(/^fe80.*/, 'fe80'), length, scope, deprecated, temporary, permanent].join(' '),
      ),
      [
        '4 192.168.64.11 24 global false false true',
        '4 192.168.64.20 24 global true false false',
        '6 fd64::11 64 global false false true',
        '6 fe80 64 link false false true',
      ],
    )
    const loopback = found.find(({ name }) => name === 'lo')
    assert.equal(loopback?.loopback, true)
    assert.deepEqual(
      loopback?.addresses.map(({ scope }) => scope),
      ['host', 'host'],
    )
  })

  it('knows ports of a bridge, what has a carrier, and addresses that cannot be sent from', async () => {
    const { run } = namespace
    run('ip link add br5 type bridge')
    run('ip link set br5 up')
    run('ip link add port5 type veth peer name end5')
    run('ip link set port5 master br5 up')
    run('ip link set end5 up')
    run('ip addr add fd05::5/64 dev end5')
    const found = async (name: string) => (await host().listInterfaces()).find((each) => each.name === name)
    const bridge = await found('br5')
    assert.equal(bridge?.kind, 'bridge')
    assert.equal((await found('port5'))?.master, bridge?.index)
    assert.equal(bridge?.master, 0)
    const [own] = (await found('end5'))?.addresses.filter(({ address }) => address === 'fd05::5') ?? []
    assert.deepEqual([own?.tentative, own?.duplicate], [true, false])
    run('ip link set port5 down')
    // The kernel tells the other end when it gets to it.
    await until(2_000, 'an end without a carrier', async () => {
      const end = await found('end5')
      assert.deepEqual([end?.up, end?.running], [true, false])
    })
    run('ip link del port5')
    run('ip link del br5')
  })

  it('knows the devices of the default routes, the best first', async () => {
    assert.deepEqual(await host().defaultRouteDevices(4), ['far', 'uplink'])
    assert.deepEqual(await host().defaultRouteDevices(6), [])
  })

  it('knows them of a default route over several gateways, where flannel finds no interface', async () => {
    const route = 'default metric 1 nexthop via 192.168.64.7 weight 1 nexthop via 192.168.64.8 weight 1'
    namespace.run(`ip route add ${route}`)
    assert.deepEqual(await host().defaultRouteDevices(4), ['uplink', 'far', 'uplink'])
    namespace.run('ip route del default metric 1')
  })

  it('answers route lookups in order', async () => {
    const asked = ['192.168.64.7', '10.9.0.1', '10.10.1.1', 'fd64::7', '2001:db8::1', '192.168.64.11']
    assert.deepEqual(await host().routesTo(asked.map(ip)), [
      { device: 'uplink', source: '192.168.64.11' },
      { device: 'uplink', source: '192.168.64.11', gateway: '192.168.64.7' },
      undefined,
      { device: 'uplink', source: 'fd64::11' },
      undefined,
      { device: 'lo', source: '192.168.64.11' },
    ])
    assert.deepEqual(await host().routeTo(ip('192.168.64.7')), { device: 'uplink', source: '192.168.64.11' })
  })

  it('answers 5,000 lookups', async () => {
    const asked = Array.from({ length: 5000 }, (_unused, at) => ip(`192.168.64.${1 + (at % 9)}`))
    const answers = await host().routesTo(asked)
    assert.equal(answers.filter((answer) => answer?.device === 'uplink').length, 5000)
  })

  it('knows the routes inside some networks and around them, and the gateways inside them', async () => {
    const routes = [
      '10.9.3.0/24 via 192.168.64.7 metric 5',
      '10.64.0.0/10 dev uplink proto static',
      'blackhole 10.9.4.0/24 metric 9',
      '10.9.5.0/24 dev uplink proto 102',
      '10.9.6.0/24 nexthop via 192.168.64.8 nexthop via 192.168.64.9',
      '203.0.113.0/24 nexthop via 192.168.64.7 nexthop via 192.168.64.10',
    ]
    for (const route of routes) namespace.run(`ip route add ${route}`)
    try {
      const near = async (...networks: string[]) => await host().routesNear(networks as Cidr[])
      const text = ({ dst, metric, type, device, via, protocol }: HostRouteEntry) =>
        [dst, metric, type, device ?? '-', via ?? '-', protocol].join(' ')
      const { routes: found, gateways } = await near('10.9.0.0/20', '192.168.64.8/30', 'fd64::/48')
      assert.deepEqual(found.map(text).sort(), [
        '10.9.0.0/16 0 1 uplink 192.168.64.7 3',
        '10.9.3.0/24 5 1 uplink 192.168.64.7 3',
        '10.9.4.0/24 9 6 - - 3',
        '10.9.6.0/24 0 1 uplink 192.168.64.8 3',
        '192.168.64.0/24 0 1 uplink - 2',
        'fd64::/64 256 1 uplink - 2',
      ])
      assert.deepEqual(gateways.map(({ address, device }) => `${address} ${device}`).sort(), [
        '192.168.64.10 uplink',
        '192.168.64.8 uplink',
        '192.168.64.9 uplink',
      ])
      assert.deepEqual(await near('10.128.0.0/16'), { routes: [], gateways: [] })
    } finally {
      for (const route of routes) namespace.run(`ip route del ${route}`)
    }
  })

  it('makes the kernel ask for a neighbour', async () => {
    host().askNeighbour('uplink', ip('192.168.64.9'))
    host().askNeighbour('absent', ip('192.168.64.9'))
    const states = await host().neighbourStates('uplink')
    assert.deepEqual(
      states.filter(({ address }) => address === '192.168.64.9'),
      [{ device: 'uplink', address: '192.168.64.9', state: 'open', mac: undefined }],
    )
    namespace.run('ip neigh add 192.168.64.8 lladdr 02:00:00:00:00:08 dev uplink nud reachable')
    const known = (await host().neighbourStates('uplink')).find(({ address }) => address === '192.168.64.8')
    assert.deepEqual([known?.state, known?.mac], ['answered', '02:00:00:00:00:08'])
    assert.deepEqual(await host().neighbourStates('absent'), [])
  })
})
