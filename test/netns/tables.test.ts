import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { execPath } from 'node:process'
import type { VxlanDriver } from '../../kernel/kinds/link/drivers/vxlan.ts'
import type { Address, Fdb, Link, Neighbour, Route, Sysctl } from '../../kernel/objects.ts'
import { ROUTE_PROTOCOL } from '../../kernel/objects.ts'
import type { Cidr, IpAddr, MacAddr } from '../../lib/address.ts'
import { outcomes, ownNamespace, tableOf } from './own-namespace.ts'

const ip = (text: string) => text as IpAddr
const mac = (text: string) => text as MacAddr
const driver: VxlanDriver = {
  type: 'vxlan',
  vni: 1,
  underlay: 'uplink',
  local: ip('192.168.64.11'),
  port: 8472,
  learning: false,
  gbp: false,
}
const flannel: Link = { kind: 'link', name: 'flannel.1', mtu: 1450, mac: mac('02:11:22:33:44:55'), up: true, driver }

describe('the table of links', function () {
  const namespace = ownNamespace(this)
  const links = () => tableOf<Link>(namespace.kernel, 'link')
  const dumped = async (name: string) => (await links().dump([])).find((link) => link.name === name)
  afterEach(() => {
    for (const { ifname } of namespace.json('ip -j link show type vxlan')) {
      if (ifname !== undefined) namespace.run(`ip link del ${ifname}`)
    }
  })

  it('lists devices of other drivers', async () => {
    const { mac: _any, ...uplink } = (await dumped('uplink')) ?? {}
    assert.deepEqual(uplink, {
      kind: 'link',
      name: 'uplink',
      mtu: 1500,
      up: true,
      driver: { type: 'other', name: 'veth' },
    })
    assert.deepEqual((await dumped('lo'))?.driver, { type: 'other', name: '' })
  })

  it('makes a vxlan device as ip shows it, and reads it back', async () => {
    assert.deepEqual(await outcomes(links(), { verb: 'create', object: flannel }), ['ok'])
    assert.deepEqual(await dumped('flannel.1'), flannel)
    const [shown] = namespace.json('ip -d -j link show flannel.1') as Record<string, never>[]
    const vxlan = (shown?.['linkinfo'] as never as { info_kind: string; info_data: Record<string, unknown> }) ?? {}
    assert.equal(shown?.['address'], '02:11:22:33:44:55')
    assert.equal(shown?.['mtu'], 1450)
    assert.equal(vxlan.info_kind, 'vxlan')
    const { id, link, local, port, learning } = vxlan.info_data
    assert.deepEqual(
      { id, link, local, port, learning },
      { id: 1, link: 'uplink', local: '192.168.64.11', port: 8472, learning: false },
    )
  })

  it('makes devices with GBP, over IPv6, without an underlay', async () => {
    const variants: Link[] = [
      { ...flannel, name: 'gbp', driver: { ...driver, vni: 2, port: 4790, gbp: true } },
      { ...flannel, name: 'flannel-v6.1', mtu: 1430, driver: { ...driver, vni: 3, port: 4791, local: ip('fd64::11') } },
      {
        ...flannel,
        name: 'free',
        up: false,
        driver: { type: 'vxlan', vni: 4, port: 4792, learning: true, gbp: false },
      },
    ]
    assert.deepEqual(await outcomes(links(), ...variants.map((object) => ({ verb: 'create' as const, object }))), [
      'ok',
      'ok',
      'ok',
    ])
    for (const variant of variants) assert.deepEqual(await dumped(variant.name), variant)
  })

  it('changes MTU, MAC, flag, local address and learning of a living device', async () => {
    await outcomes(links(), { verb: 'create', object: flannel })
    const index = namespace.json('ip -j link show flannel.1')[0]?.['ifindex']
    const wanted: Link = {
      ...flannel,
      mtu: 1400,
      mac: mac('02:66:22:33:44:55'),
      driver: { ...driver, local: ip('192.168.64.12'), learning: true },
    }
    assert.deepEqual(await outcomes(links(), { verb: 'update', object: wanted, actual: flannel }), ['ok'])
    assert.deepEqual(await dumped('flannel.1'), wanted)
    const down: Link = { ...wanted, up: false }
    assert.deepEqual(await outcomes(links(), { verb: 'update', object: down, actual: wanted }), ['ok'])
    assert.deepEqual(await dumped('flannel.1'), down)
    assert.equal(namespace.json('ip -j link show flannel.1')[0]?.['ifindex'], index)
  })

  it('makes a device anew when its VNI or port changes', async () => {
    await outcomes(links(), { verb: 'create', object: flannel })
    const wanted: Link = { ...flannel, driver: { ...driver, vni: 7, port: 4789 } }
    assert.deepEqual(await outcomes(links(), { verb: 'recreate', object: wanted, actual: flannel }), ['ok'])
    assert.deepEqual(await dumped('flannel.1'), wanted)
  })

  it("tells why in the kernel's words, and goes on", async () => {
    const other: Link = { ...flannel, name: 'flannel.2', driver: { ...driver, vni: 2 } }
    const results = await links().apply([
      { verb: 'create', object: flannel },
      { verb: 'create', object: flannel },
      { verb: 'create', object: { ...flannel, name: 'same-vni' } },
      { verb: 'create', object: { ...other, driver: { ...driver, underlay: 'nowhere' } } },
      { verb: 'create', object: other },
      { verb: 'remove', object: { ...flannel, name: 'absent' } },
      { verb: 'remove', object: other },
    ])
    assert.deepEqual(
      results.map((result) => (result.ok ? 'ok' : result.error.code)),
      ['ok', 'EEXIST', 'EEXIST', 'ENODEV', 'ok', 'ENODEV', 'ok'],
    )
    const sameVni = results[2]
    assert.ok(sameVni?.ok === false)
    assert.match(sameVni.error.message, /VXLAN device with the specified VNI already exists: flannel\.1 mtu/)
    assert.equal(await dumped('flannel.2'), undefined)
  })

  it('names who has the port: a program, or a device that receives otherwise', async () => {
    const socket = createSocket('udp4')
    try {
      await new Promise<void>((resolve) => socket.bind(8472, '127.0.0.1', resolve))
      const [taken] = await links().apply([{ verb: 'create', object: flannel }])
      assert.ok(taken?.ok === false)
      assert.deepEqual(
        [taken.error.code, taken.error.message.replace(/ in use by .* \(/, ' in use by NAME (')],
        ['EADDRINUSE', `UDP port 8472 is in use by NAME (pid ${process.pid})`],
      )
    } finally {
      socket.close()
    }
    const policies: Link = { ...flannel, name: 'policies', driver: { ...driver, vni: 7, gbp: true } }
    const [, otherwise] = await links().apply([
      { verb: 'create', object: policies },
      { verb: 'create', object: flannel },
    ])
    assert.ok(otherwise?.ok === false)
    assert.match(otherwise.error.message, /^UDP port 8472 is in use by the device policies mtu .* vxlan id 7 /)
  })

  it('touches no device of another driver that took the name', async () => {
    namespace.run('ip link add flannel.1 type bridge')
    const codes = await outcomes(
      links(),
      { verb: 'remove', object: flannel },
      { verb: 'recreate', object: flannel, actual: flannel },
      { verb: 'update', object: flannel, actual: flannel },
    )
    assert.deepEqual(codes, ['EEXIST', 'EEXIST', 'EEXIST'])
    assert.deepEqual((await dumped('flannel.1'))?.driver, { type: 'other', name: 'bridge' })
    namespace.run('ip link del flannel.1')
  })

  it('sees a multicast group, which no device of ours has', async () => {
    namespace.run('ip link add grouped type vxlan id 9 dev uplink group 239.1.1.1 dstport 4799')
    const { driver: seen } = (await dumped('grouped')) ?? {}
    assert.equal(seen?.type === 'vxlan' && seen.group, '239.1.1.1')
  })
})

describe('the tables of addresses, neighbours and FDB entries', function () {
  const namespace = ownNamespace(this)
  const table = <O extends Address | Neighbour | Fdb>(kind: O['kind']) => tableOf<O>(namespace.kernel, kind)
  const address: Address = { kind: 'address', device: 'flannel.1', family: 4, address: ip('10.5.72.0'), length: 32 }
  const address6: Address = { ...address, family: 6, address: ip('fd00:5:72::'), length: 128 }
  const remote = mac('02:00:00:00:00:02')
  const moved = mac('02:00:00:00:00:03')
  const neighbour: Neighbour = {
    kind: 'neighbour',
    family: 4,
    device: 'flannel.1',
    address: ip('10.5.3.0'),
    mac: remote,
  }
  const neighbour6: Neighbour = { ...neighbour, family: 6, address: ip('fd00:5:3::') }
  const fdb: Fdb = { kind: 'fdb', device: 'flannel.1', mac: remote, dst: ip('192.168.64.12') }
  beforeEach(() => tableOf<Link>(namespace.kernel, 'link').apply([{ verb: 'create', object: flannel }]))
  afterEach(() => namespace.run('ip link del flannel.1'))
  const ours = async <O extends Address | Neighbour | Fdb>(kind: O['kind']) =>
    (await table<O>(kind).dump([])).filter(({ device }) => device === 'flannel.1')

  it('adds and removes addresses of both families, ready for use at once', async () => {
    const addresses = table<Address>('address')
    const objects = [address, address6]
    const create = objects.map((object) => ({ verb: 'create' as const, object }))
    assert.deepEqual(await outcomes(addresses, ...create), ['ok', 'ok'])
    // The link-local address that the kernel made is not listed.
    assert.deepEqual(await ours<Address>('address'), objects)
    assert.equal(namespace.run('ip -6 addr show dev flannel.1 tentative').includes('fd00:5:72::'), false)
    assert.deepEqual(await outcomes(addresses, ...create), ['EEXIST', 'EEXIST'])
    const remove = objects.map((object) => ({ verb: 'remove' as const, object }))
    assert.deepEqual(await outcomes(addresses, ...remove), ['ok', 'ok'])
    assert.deepEqual(await ours<Address>('address'), [])
    assert.deepEqual(await outcomes(addresses, ...remove), ['EADDRNOTAVAIL', 'EADDRNOTAVAIL'])
  })

  it('adds, moves and removes neighbours of both families', async () => {
    const neighbours = table<Neighbour>('neighbour')
    for (const object of [neighbour, neighbour6]) {
      assert.deepEqual(await outcomes(neighbours, { verb: 'create', object }), ['ok'])
      assert.deepEqual(await ours<Neighbour>('neighbour'), [object])
      assert.deepEqual(await outcomes(neighbours, { verb: 'create', object }), ['EEXIST'])
      const changed = { ...object, mac: moved }
      assert.deepEqual(await outcomes(neighbours, { verb: 'update', object: changed, actual: object }), ['ok'])
      assert.deepEqual(await ours<Neighbour>('neighbour'), [changed])
      const [shown] = namespace.json(`ip -j neigh show ${object.address} dev flannel.1`)
      assert.deepEqual([shown?.['lladdr'], shown?.['state']], [moved, ['PERMANENT']])
      assert.deepEqual(await outcomes(neighbours, { verb: 'remove', object: changed }), ['ok'])
      assert.deepEqual(await ours<Neighbour>('neighbour'), [])
      assert.deepEqual(await outcomes(neighbours, { verb: 'remove', object: changed }), ['ENOENT'])
    }
  })

  it('puts a neighbour over what the kernel has resolved or failed to', async () => {
    namespace.run('ip neigh add 10.5.3.0 dev flannel.1 nud failed')
    assert.deepEqual(await ours<Neighbour>('neighbour'), [])
    assert.deepEqual(await outcomes(table<Neighbour>('neighbour'), { verb: 'create', object: neighbour }), ['ok'])
    assert.deepEqual(await ours<Neighbour>('neighbour'), [neighbour])
  })

  it('adds, moves and removes FDB entries, whatever their IP family', async () => {
    const entries = table<Fdb>('fdb')
    assert.deepEqual(await outcomes(entries, { verb: 'create', object: fdb }), ['ok'])
    assert.deepEqual(await ours<Fdb>('fdb'), [fdb])
    assert.deepEqual(await outcomes(entries, { verb: 'create', object: fdb }), ['EEXIST'])
    const changed: Fdb = { ...fdb, dst: ip('192.168.64.13') }
    assert.deepEqual(await outcomes(entries, { verb: 'update', object: changed, actual: fdb }), ['ok'])
    assert.deepEqual(await ours<Fdb>('fdb'), [changed])
    const [shown] = namespace.json('bridge -j fdb show dev flannel.1')
    assert.deepEqual(
      [shown?.['mac'], shown?.['dst'], shown?.['flags'], shown?.['state']],
      [remote, '192.168.64.13', ['self'], 'permanent'],
    )
    // An entry that leads elsewhere by now stays, though the kernel does not complain.
    assert.deepEqual(await outcomes(entries, { verb: 'remove', object: fdb }), ['ok'])
    assert.deepEqual(await ours<Fdb>('fdb'), [changed])
    assert.deepEqual(await outcomes(entries, { verb: 'remove', object: changed }), ['ok'])
    assert.deepEqual(await ours<Fdb>('fdb'), [])
    assert.deepEqual(await outcomes(entries, { verb: 'remove', object: changed }), ['ENOENT'])
  })

  it('changes nothing that is not there', async () => {
    for (const object of [neighbour, neighbour6]) {
      const update = { verb: 'update' as const, object, actual: object }
      assert.deepEqual(await outcomes(table<Neighbour>('neighbour'), update), ['ENOENT'])
    }
    assert.deepEqual(await outcomes(table<Fdb>('fdb'), { verb: 'update', object: fdb, actual: fdb }), ['ENOENT'])
  })

  it('names the missing device', async () => {
    const [result] = await table<Fdb>('fdb').apply([{ verb: 'create', object: { ...fdb, device: 'absent' } }])
    assert.deepEqual(result, { ok: false, error: { code: 'ENODEV', message: 'there is no device absent' } })
  })

  it('finds a device that was made anew by somebody else', async () => {
    const neighbours = table<Neighbour>('neighbour')
    await outcomes(neighbours, { verb: 'create', object: neighbour })
    namespace.run('ip link del flannel.1')
    namespace.run('ip link add flannel.1 up type vxlan id 1 dev uplink dstport 8472')
    assert.deepEqual(await outcomes(neighbours, { verb: 'create', object: neighbour }), ['ok'])
    assert.deepEqual(await ours<Neighbour>('neighbour'), [neighbour])
  })
})

describe('the table of sysctls', function () {
  const namespace = ownNamespace(this)
  const wanted: Sysctl = { kind: 'sysctl', path: 'net/ipv4/conf/uplink/rp_filter', value: '2' }

  it('reads what is wanted, writes it, and names what it may not do', async () => {
    const sysctls = tableOf<Sysctl>(namespace.kernel, 'sysctl')
    assert.notEqual((await sysctls.dump([wanted]))[0]?.value, '2')
    assert.deepEqual(await outcomes(sysctls, { verb: 'create', object: wanted }), ['ok'])
    assert.deepEqual(await sysctls.dump([wanted, { ...wanted, path: 'net/ipv4/conf/absent/rp_filter' }]), [wanted])
    assert.equal(readFileSync('/proc/sys/net/ipv4/conf/uplink/rp_filter', 'utf8'), '2\n')
    assert.deepEqual(
      await outcomes(
        sysctls,
        { verb: 'create', object: { ...wanted, path: 'net/ipv4/conf/absent/rp_filter' } },
        { verb: 'create', object: { ...wanted, path: '../../etc/passwd' } },
        { verb: 'create', object: { ...wanted, value: 'x' } },
        { verb: 'remove', object: wanted },
      ),
      ['ENOENT', 'EINVAL', 'EINVAL', 'EOPNOTSUPP'],
    )
  })

  it('asks the kernel by netlink for a loose reverse path where /proc/sys is read-only, as in a container', () => {
    const before = readFileSync('/proc/sys/net/ipv4/conf/far/arp_ignore', 'utf8')
    const program = join(import.meta.dirname, 'read-only-sysctl.ts')
    const script = `mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec ${execPath} --import tsx ${program} far`
    const argv = ['--mount', '--propagation', 'private', 'sh', '-ec', script]
    assert.deepEqual(JSON.parse(execFileSync('unshare', argv, { encoding: 'utf8' })), ['ok', 'EROFS'])
    const read = (key: string) => readFileSync(`/proc/sys/net/ipv4/conf/far/${key}`, 'utf8')
    assert.deepEqual([read('rp_filter'), read('arp_ignore')], ['2\n', before])
  })
})

describe('the table of routes', function () {
  const namespace = ownNamespace(this)
  const routes = () => tableOf<Route>(namespace.kernel, 'route')
  const route: Route = {
    kind: 'route',
    family: 4,
    dst: '10.5.3.0/24' as Cidr,
    metric: 0,
    type: 'unicast',
    device: 'flannel.1',
    via: ip('10.5.3.0'),
    onLink: true,
    protocol: ROUTE_PROTOCOL,
  }
  const direct: Route = {
    kind: 'route',
    family: 4,
    dst: route.dst,
    metric: 0,
    type: 'unicast',
    device: 'uplink',
    via: ip('192.168.64.12'),
    protocol: ROUTE_PROTOCOL,
  }
  const six = (of: Route, via: string): Route => ({
    ...of,
    family: 6,
    dst: 'fd00:5:3::/64' as Cidr,
    metric: 1024,
    via: ip(via),
  })
  const route6 = six(route, 'fd00:5:3::')
  const direct6 = six(direct, 'fd64::12')
  const at = async (dst: string) => (await routes().dump([])).filter((found) => found.dst === dst)

  beforeEach(() => tableOf<Link>(namespace.kernel, 'link').apply([{ verb: 'create', object: flannel }]))
  afterEach(() => {
    namespace.run('ip link del flannel.1')
    namespace.run('ip -4 route flush root 10.0.0.0/8')
    namespace.run('ip -6 route flush root fd00::/16')
  })

  for (const [name, tunnel, onLan] of [
    ['IPv4', route, direct],
    ['IPv6', route6, direct6],
  ] as const) {
    it(`moves an ${name} route from tunnel to direct and back`, async () => {
      assert.deepEqual(await outcomes(routes(), { verb: 'create', object: tunnel }), ['ok'])
      assert.deepEqual(await at(tunnel.dst), [tunnel])
      assert.deepEqual(await outcomes(routes(), { verb: 'create', object: onLan }), ['EEXIST'])
      assert.deepEqual(await outcomes(routes(), { verb: 'update', object: onLan, actual: tunnel }), ['ok'])
      assert.deepEqual(await at(tunnel.dst), [onLan])
      assert.deepEqual(await outcomes(routes(), { verb: 'update', object: tunnel, actual: onLan }), ['ok'])
      assert.deepEqual(await at(tunnel.dst), [tunnel])
      // The detour that IPv6 takes leaves nothing behind.
      assert.equal((await routes().dump([])).filter(({ protocol }) => protocol === ROUTE_PROTOCOL).length, 1)
      assert.deepEqual(await outcomes(routes(), { verb: 'remove', object: tunnel }), ['ok'])
      assert.deepEqual(await outcomes(routes(), { verb: 'remove', object: tunnel }), ['ESRCH'])
      assert.deepEqual(await at(tunnel.dst), [])
    })
  }

  it('moves hundreds of IPv6 routes back into the tunnel', async () => {
    const peers = Array.from({ length: 300 }, (_unused, peer) => peer.toString(16))
    const tunnels = peers.map(
      (peer): Route => ({ ...route6, dst: `fd00:6:${peer}::/64` as Cidr, via: ip(`fd00:6:${peer}::`) }),
    )
    const onLan = tunnels.map((tunnel): Route => ({ ...direct6, dst: tunnel.dst }))
    await routes().apply(onLan.map((object) => ({ verb: 'create', object })))
    const results = await routes().apply(
      tunnels.map((object, peer) => ({ verb: 'update', object, actual: onLan[peer] ?? object })),
    )
    assert.ok(results.every(({ ok }) => ok))
    const found = (await routes().dump([])).filter(({ dst }) => dst.startsWith('fd00:6:'))
    assert.deepEqual(new Set(found.map(({ device }) => device)), new Set(['flannel.1']))
    assert.equal(found.length, 300)
  })

  it('makes blackholes of both families, IPv6 without its loopback device', async () => {
    const holes: Route[] = [
      { kind: 'route', family: 4, dst: '10.5.72.0/24' as Cidr, metric: 4294967294, type: 'blackhole', protocol: 102 },
      { kind: 'route', family: 6, dst: 'fd00:5:72::/64' as Cidr, metric: 4294967294, type: 'blackhole', protocol: 102 },
    ]
    assert.deepEqual(await outcomes(routes(), ...holes.map((object) => ({ verb: 'create' as const, object }))), [
      'ok',
      'ok',
    ])
    for (const hole of holes) assert.deepEqual(await at(hole.dst), [hole])
    assert.deepEqual(await outcomes(routes(), ...holes.map((object) => ({ verb: 'remove' as const, object }))), [
      'ok',
      'ok',
    ])
  })

  it('changes no route that is not there', async () => {
    for (const object of [route, route6]) {
      assert.deepEqual(await outcomes(routes(), { verb: 'update', object, actual: object }), ['ENOENT'])
    }
  })

  it('lists connected routes with their scope', async () => {
    assert.deepEqual(await at('192.168.64.0/24'), [
      {
        kind: 'route',
        family: 4,
        dst: '192.168.64.0/24',
        metric: 0,
        type: 'unicast',
        device: 'uplink',
        scope: 'link',
        protocol: 2,
      },
    ])
  })

  it('refuses to create over a foreign route, and removes none', async () => {
    namespace.run('ip route add 10.5.3.0/24 via 192.168.64.77 proto static')
    const foreign = await at('10.5.3.0/24')
    assert.deepEqual(await outcomes(routes(), { verb: 'create', object: route }, { verb: 'remove', object: route }), [
      'EEXIST',
      'ESRCH',
    ])
    assert.deepEqual(await at('10.5.3.0/24'), foreign)
    assert.equal(foreign[0]?.protocol, 4)
  })

  it('shows foreign routes of every type at their key', async () => {
    namespace.run('ip route add unreachable 10.8.0.0/24 proto static')
    namespace.run('ip route add 10.8.1.0/24 proto static nexthop via 192.168.64.21 nexthop via 192.168.64.22')
    namespace.run('ip -6 route add fd00:8::/64 proto static nexthop via fd64::21 nexthop via fd64::22')
    namespace.run('ip route add 10.8.2.0/24 via inet6 fd64::21 dev uplink proto static')
    namespace.run('ip route add 10.8.3.0/24 tos 0x10 via 192.168.64.21')
    namespace.run('ip route add 10.8.4.0/24 via 192.168.64.21 table 77')
    const [unreachable] = await at('10.8.0.0/24')
    assert.deepEqual([unreachable?.type, unreachable?.device, unreachable?.protocol], ['unicast', undefined, 4])
    const [several] = await at('10.8.1.0/24')
    assert.deepEqual([several?.device, several?.via], ['uplink', '192.168.64.21'])
    const [several6] = await at('fd00:8::/64')
    assert.deepEqual([several6?.device, several6?.via], ['uplink', 'fd64::21'])
    assert.equal((await at('10.8.2.0/24'))[0]?.via, 'fd64::21')
    // By type of service, or in another table: at no key of ours.
    assert.deepEqual(await at('10.8.3.0/24'), [])
    assert.deepEqual(await at('10.8.4.0/24'), [])
    namespace.run('ip route del 10.8.3.0/24 tos 0x10')
  })

  it('replaces the front route though our own was appended behind it', async () => {
    namespace.run('ip route add 10.5.3.0/24 via 192.168.64.77')
    namespace.run('ip route append 10.5.3.0/24 via 192.168.64.12 proto 102')
    const [front] = await at('10.5.3.0/24')
    assert.ok(front)
    assert.equal(front.via, '192.168.64.77')
    assert.deepEqual(await outcomes(routes(), { verb: 'update', object: direct, actual: front }), ['ok'])
    assert.deepEqual(await at('10.5.3.0/24'), [direct])
  })

  it('says what the kernel says of a gateway that cannot be reached', async () => {
    const [result] = await routes().apply([{ verb: 'create', object: { ...direct, via: ip('172.30.0.1') } }])
    assert.deepEqual(result, {
      ok: false,
      error: { code: 'ENETUNREACH', message: 'Nexthop has invalid gateway' },
    })
  })

  it('applies 5,000 in little time and leaves the event loop free meanwhile', async () => {
    const objects = Array.from({ length: 5000 }, (_unused, peer): Route => {
      const network = `10.${100 + (peer >> 8)}.${peer & 255}.0`
      return { ...route, dst: `${network}/24` as Cidr, via: ip(network) }
    })
    let turns = 0
    let counting = true
    const count = () => {
      turns += 1
      if (counting) setImmediate(count)
    }
    setImmediate(count)
    const results = await routes().apply(objects.map((object) => ({ verb: 'create', object })))
    counting = false
    assert.ok(results.every(({ ok }) => ok))
    assert.equal((await routes().dump([])).filter(({ protocol }) => protocol === ROUTE_PROTOCOL).length, 5000)
    assert.ok(turns > 5000 / 100, `the event loop had ${turns} turns`)
    await routes().apply(objects.map((object) => ({ verb: 'remove', object })))
  })
})
