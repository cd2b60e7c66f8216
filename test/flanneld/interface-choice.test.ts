import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Family } from '../../lib/address.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { A, alone, B, dhcp, docker0, eth0, eth1, type HostNow, history, open, type Setting } from './changing-host.ts'
import { device } from './host-fixtures.ts'

describe('the choice of the external interface', () => {
  it('is no device of the overlay at the start either, by whatever option', async () => {
    const overlay = ['10.5.1.0/24', '10.5.2.0/24', 'fd05:0:0:1::/64']
    const links = [
      device('flannel.7', 3, ['10.9.0.1'], { kind: 'vxlan' }),
      device('flannel0', 4, ['10.9.0.2'], { kind: 'tun' }),
      device('mine', 5, ['10.9.0.3']),
      device('cni0', 6, ['10.5.1.1', 'fd05:0:0:1::1', '192.168.3.4'], { kind: 'bridge' }),
      device('eth9', 7, ['10.5.2.9']),
    ]
    const settings: Setting[] = [
      { iface: links.map(({ name }) => name) },
      { iface: ['10.9.0.1', '10.9.0.2', '10.9.0.3', '10.5.1.1', '192.168.3.4', '10.5.2.9'] },
      { regex: ['.'] },
      { canReach: '10.5.1.7' },
      { publicIp: '10.5.1.1' },
      { previous: { 4: '10.5.1.1' } },
      {},
    ]
    for (const setting of settings) {
      const look = open({ ...setting, overlay }, new VirtualClock())
      for (const { name } of links) {
        const reach = { device: name, source: links.find((each) => each.name === name)?.addresses[0]?.address ?? '' }
        await assert.rejects(look({ links, route: name, reach }), { name: 'NoInterfaceError' }, JSON.stringify(setting))
      }
    }
  })

  it('stays the card whose address lies in the own subnet, if the lease names it', async () => {
    const overlay = ['10.0.0.0/24']
    for (const links of [[eth0(A)], [device('cni0', 1, ['10.0.0.1'], { kind: 'bridge' }), eth0(A)]]) {
      const look = open({ previous: { 4: A }, overlay, regex: ['^10'] }, new VirtualClock())
      assert.deepEqual((await look({ links })).external.name, 'eth0')
      await assert.rejects(open({ overlay, regex: ['^10'] }, new VirtualClock())({ links }), {
        name: 'NoInterfaceError',
      })
    }
  })

  it('may be a bridge: with a network card as its port, and by its name with containers only', async () => {
    const port = device('eth0', 2, [], { master: 9 })
    const bridge = device('br0', 9, [A], { kind: 'bridge' })
    for (const setting of [{}, { iface: ['br0'] }, { regex: ['^10'] }, { regex: ['^br'] }, { publicIp: A }]) {
      const kept = await open(setting, new VirtualClock())({ links: [docker0, port, bridge], route: 'br0' })
      assert.equal(kept.external.name, 'br0', JSON.stringify(setting))
    }
    const kept = await open({ iface: ['docker0'] }, new VirtualClock())({ links: [docker0, eth0(A)] })
    assert.equal(kept.external.name, 'docker0')
  })

  it('is found by a pattern among bridges of containers and interfaces that are down only if nothing else is', async () => {
    const down = device('dead', 1, ['172.20.0.1'], { up: false, running: false })
    const bridge = { ...docker0, index: 2 }
    const nic = device('eth7', 7, ['172.31.0.5'])
    const regex = ['^172\\.']
    const first = await open({ regex }, new VirtualClock())({ links: [down, bridge, nic] })
    assert.equal(first.external.name, 'eth7')
    const last = await open({ regex }, new VirtualClock())({ links: [bridge] })
    assert.equal(last.external.name, 'docker0')
  })

  describe('when another family is turned on', () => {
    const C = 'fd00::5'
    const opened = (more: Setting = {}) => {
      let families: readonly Family[] = [4]
      const look = open({ ...more, families: () => families }, new VirtualClock())
      const enable = (...enabled: readonly Family[]) => {
        families = enabled
      }
      return { look, enable }
    }

    it('has the address of the interface in use at once, and leaves it at once when it is turned off', async () => {
      const { look, enable } = opened()
      await look({ links: [eth0(A, C)], route: 'eth0' })
      enable(4, 6)
      const both = await look({ links: [eth0(A, C)], route: 'eth0' })
      assert.deepEqual([[...both.external.addresses.values()], both.lacks], [[A, C], undefined])
      enable(6)
      const last = await look({ links: [eth0(A, C)], route: 'eth0' })
      assert.deepEqual([...last.external.publicIps], [[6, C]])
    })

    it('goes on without it, in the words of a start, until the interface has an address of it', async () => {
      const { look, enable } = opened({ iface: ['eth0'] })
      const links = [eth0(A), eth1(B, C)]
      await look({ links })
      enable(4, 6)
      const kept = await look({ links })
      assert.deepEqual([...kept.external.addresses.values()], [A])
      assert.match(kept.lacks ?? '', /no interface fits --iface=eth0 \(eth0 lacks a usable IPv6 address\)/)
      const had = await look({ links: [eth0(A, C)] })
      assert.deepEqual([[...had.external.addresses.values()], had.lacks], [[A, C], undefined])
    })

    it('does not go to an interface that has both', async () => {
      const { look, enable } = opened({ iface: ['eth0', 'eth1'] })
      const links = [eth0(A), eth1(B, C)]
      await look({ links })
      enable(4, 6)
      const kept = await look({ links })
      assert.deepEqual([kept.external.name, [...kept.external.addresses.values()]], ['eth0', [A]])
      assert.match(kept.lacks ?? '', /with all families eth1 would be chosen/)
    })

    it('begins without it where the last run did, and not where there was none', async () => {
      const links = [eth0(A)]
      const setting = { iface: ['eth0'], families: [4, 6] as const }
      const kept = await open({ ...setting, lastFamilies: [4] }, new VirtualClock())({ links })
      assert.deepEqual([...kept.external.addresses.values()], [A])
      assert.match(kept.lacks ?? '', /lacks a usable IPv6 address/)
      await assert.rejects(open(setting, new VirtualClock())({ links }), { name: 'NoInterfaceError' })
    })
  })

  it('follows the MTU of the interface', async () => {
    const look = open({}, new VirtualClock())
    assert.equal((await look(alone(A))).external.mtu, 1500)
    assert.equal((await look({ links: [device('eth0', 2, [A], { mtu: 9000 })], route: 'eth0' })).external.mtu, 9000)
    assert.equal((await look({ links: [device('eth0', 2, [A], { mtu: 1400 })] })).external.mtu, 1400)
  })

  it('never changes while its addresses are there and no other choice has lasted, whatever happens', async () => {
    const links = [
      [eth0(A), eth1('10.1.0.5')],
      [eth0(A, B), eth1('10.1.0.5')],
      [eth0(B, A), eth1()],
      [device('eth0', 2, [A], { running: false }), eth1('10.1.0.5', '10.1.0.6')],
      [eth0(dhcp), device('eth1', 3, ['10.1.0.5'], { kind: 'bridge' }), docker0],
    ]
    const step = fc.record({
      links: fc.constantFrom(...links),
      route: fc.constantFrom('eth0', 'eth1', 'docker0', undefined),
      ms: fc.integer({ min: 0, max: 4_900 }),
    })
    const setting = fc.constantFrom<Setting>(
      {},
      { regex: ['^10'] },
      { iface: ['eth1', 'eth0'] },
      { previous: { 4: A } },
    )
    await fc.assert(
      fc.asyncProperty(setting, fc.array(step, { minLength: 1, maxLength: 12 }), async (options, steps) => {
        // Every other step the host is as at the start.
        const start: HostNow = { links: [eth0(A)], route: 'eth0' }
        const all = steps.flatMap(({ links: some, route, ms }): [number, HostNow][] => [
          [ms, { links: some, ...(route === undefined ? {} : { route }) }],
          [ms, start],
        ])
        const { told } = await history(options, [[0, start], ...all])
        for (const line of told) assert.match(line, /^eth0 10\.0\.0\.5( KEPT)?$/)
      }),
      { numRuns: 100 },
    )
  })
})
