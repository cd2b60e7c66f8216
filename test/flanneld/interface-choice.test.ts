import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { InterfaceWish } from '../../flanneld/host/external-interface.ts'
import { InterfaceChoice } from '../../flanneld/host/interface-choice.ts'
import { compileGoRegexp } from '../../flanneld/options/go-regexp.ts'
import type { HostAddress, HostInterface } from '../../kernel/host.ts'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { address, device } from './host-fixtures.ts'

interface HostNow {
  readonly links: readonly HostInterface[]
  /** Device of the default route. */
  readonly route?: string
  /** Where `--iface-can-reach` leads. */
  readonly reach?: { readonly device: string; readonly source: string }
}

interface Setting {
  readonly iface?: readonly string[]
  readonly regex?: readonly string[]
  readonly canReach?: string
  readonly publicIp?: string
  readonly families?: readonly Family[]
  readonly previous?: Partial<Record<Family, string>>
  readonly overlay?: readonly string[]
}

const DHCP = { permanent: false }
const eth0 = (...addresses: (string | HostAddress)[]) => device('eth0', 2, addresses)
const eth1 = (...addresses: (string | HostAddress)[]) => device('eth1', 3, addresses)
const docker0 = device('docker0', 8, ['172.17.0.1'], { kind: 'bridge' })

function open(setting: Setting, clock: VirtualClock) {
  let host: HostNow = { links: [] }
  const wish = {
    iface: setting.iface ?? [],
    ifaceRegex: (setting.regex ?? []).map(compileGoRegexp),
    ifaceCanReach: setting.canReach,
    publicIp: setting.publicIp,
    publicIpv6: undefined,
  } as InterfaceWish
  const kernel = {
    defaultRouteDevice: async () => host.route,
    routeTo: async () => host.reach && { device: host.reach.device, source: host.reach.source as IpAddr },
  }
  const previous = new Map(
    Object.entries(setting.previous ?? {}).map(([family, text]) => [Number(family) as Family, text as IpAddr]),
  )
  const choice = new InterfaceChoice(
    { kernel, clock, overlay: () => (setting.overlay ?? []) as Cidr[] },
    { wish, families: setting.families ?? [4], devices: new Set(['flannel.1', 'mine']), previous },
  )
  return async (now: HostNow) => {
    host = now
    return await choice.look(now.links)
  }
}

/** What is in use after each step; between two steps it is looked again whenever that is due. */
async function history(setting: Setting, steps: readonly (readonly [ms: number, host: HostNow])[]) {
  const clock = new VirtualClock()
  const look = open(setting, clock)
  const told: string[] = []
  let host: HostNow = { links: [] }
  let kept: Awaited<ReturnType<typeof look>> | undefined
  for (const [ms, next] of steps) {
    const end = clock.now() + ms
    while (kept?.dueAt !== undefined && kept.dueAt < end) {
      await clock.advance(Math.max(1, kept.dueAt - clock.now()))
      kept = await look(host)
    }
    await clock.advance(Math.max(0, end - clock.now()))
    host = next
    kept = await look(host)
    const { name, addresses } = kept.external
    told.push(
      [name, ...addresses.values(), ...(kept.fault ? ['LOST'] : []), ...(kept.notice ? ['KEPT'] : [])].join(' '),
    )
  }
  return { told, kept }
}

const A = '10.0.0.5'
const B = '10.0.0.9'
const both = (route: string): HostNow => ({ links: [eth0(A), eth1('10.1.0.5')], route })
const alone = (...addresses: (string | HostAddress)[]): HostNow => ({ links: [eth0(...addresses)], route: 'eth0' })
const dhcp = address(A, DHCP)

interface Story {
  readonly what: string
  readonly setting?: Setting
  readonly steps: readonly (readonly [ms: number, host: HostNow, told: string])[]
}

const STORIES: readonly Story[] = [
  {
    what: 'a floating address comes and goes beside one of DHCP',
    steps: [
      [0, alone(dhcp), `eth0 ${A}`],
      [0, alone(dhcp, '10.0.0.77'), `eth0 ${A} KEPT`],
      [3_600_000, alone(dhcp, '10.0.0.77'), `eth0 ${A} KEPT`],
      [0, alone(dhcp), `eth0 ${A}`],
    ],
  },
  {
    what: 'a floating address on the loopback matches the pattern first',
    setting: { regex: ['^10\\.'] },
    steps: [
      [0, { links: [device('lo', 1), eth0(A)] }, `eth0 ${A}`],
      [60_000, { links: [device('lo', 1, ['10.0.0.77']), eth0(A)] }, `eth0 ${A} KEPT`],
      [60_000, { links: [device('lo', 1, ['10.0.0.77']), eth0(A)] }, `eth0 ${A} KEPT`],
    ],
  },
  {
    what: 'the default route goes to another interface for good',
    steps: [
      [0, both('eth0'), `eth0 ${A}`],
      [5_000, both('eth1'), `eth0 ${A} KEPT`],
      [9_999, both('eth1'), `eth0 ${A} KEPT`],
      [2, both('eth1'), 'eth1 10.1.0.5'],
      [5_000, both('eth0'), 'eth1 10.1.0.5 KEPT'],
    ],
  },
  {
    what: 'the better of two default routes comes and goes: told once, then forgotten',
    steps: [
      [0, both('eth0'), `eth0 ${A}`],
      [2_000, both('eth1'), `eth0 ${A} KEPT`],
      [9_000, both('eth0'), `eth0 ${A} KEPT`],
      [2_000, both('eth1'), `eth0 ${A} KEPT`],
      [9_000, both('eth0'), `eth0 ${A} KEPT`],
      [9_000, both('eth0'), `eth0 ${A} KEPT`],
      [2_000, both('eth0'), `eth0 ${A}`],
    ],
  },
  {
    what: 'the default route goes away altogether',
    steps: [
      [0, alone(A), `eth0 ${A}`],
      [60_000, { links: [eth0(A)] }, `eth0 ${A} KEPT`],
    ],
  },
  {
    what: 'an address is replaced by another',
    steps: [
      [0, alone(A), `eth0 ${A}`],
      [1_000, alone(B), `eth0 ${A}`],
      [251, alone(B), `eth0 ${B}`],
    ],
  },
  {
    what: 'DHCP takes its address away and puts it back',
    steps: [
      [0, alone(dhcp), `eth0 ${A}`],
      [1_000, alone('10.0.0.77'), `eth0 ${A}`],
      [200, alone('10.0.0.77', dhcp), `eth0 ${A} KEPT`],
      [1_000, alone(dhcp), `eth0 ${A}`],
    ],
  },
  {
    what: 'the address stays away, and another comes later',
    steps: [
      [0, alone(A), `eth0 ${A}`],
      [1_000, { links: [eth0()] }, `eth0 ${A}`],
      [300, { links: [eth0()] }, `eth0 ${A} LOST`],
      [60_000, { links: [eth0()] }, `eth0 ${A} LOST`],
      [0, alone(B), `eth0 ${B}`],
    ],
  },
  {
    what: 'the address moves to a bridge that the interface becomes a port of',
    steps: [
      [0, alone(A), `eth0 ${A}`],
      [0, { links: [device('eth0', 2, [], { master: 9 })] }, `eth0 ${A}`],
      [
        100,
        {
          links: [device('eth0', 2, [], { master: 9, kind: 'veth' }), device('br0', 9, [A], { kind: 'bridge' })],
          route: 'br0',
        },
        `br0 ${A}`,
      ],
    ],
  },
  {
    what: 'the bridge that the interface becomes a port of has another address',
    steps: [
      [0, alone(A), `eth0 ${A}`],
      [
        300,
        {
          links: [device('eth0', 2, [], { master: 9, kind: 'veth' }), device('br0', 9, [B], { kind: 'bridge' })],
          route: 'br0',
        },
        `eth0 ${A}`,
      ],
      [
        300,
        {
          links: [device('eth0', 2, [], { master: 9, kind: 'veth' }), device('br0', 9, [B], { kind: 'bridge' })],
          route: 'br0',
        },
        `br0 ${B}`,
      ],
    ],
  },
  {
    what: 'the interface gets another name, which no option knows',
    setting: { iface: ['eth0'] },
    steps: [
      [0, alone(A), `eth0 ${A}`],
      [60_000, { links: [device('lan0', 2, [A])], route: 'lan0' }, `lan0 ${A} KEPT`],
    ],
  },
  {
    what: 'the network card goes and comes back as a new device',
    setting: { iface: ['eth0'] },
    steps: [
      [0, alone(A), `eth0 ${A}`],
      [0, { links: [] }, `eth0 ${A}`],
      [5_000, { links: [] }, `eth0 ${A} LOST`],
      [0, { links: [device('eth0', 12, [A])] }, `eth0 ${A}`],
    ],
  },
  {
    what: 'the interface is set down, and no other fits',
    setting: { iface: ['eth0'] },
    steps: [
      [0, alone(A), `eth0 ${A}`],
      [0, { links: [device('eth0', 2, [A], { up: false, running: false })] }, `eth0 ${A} LOST`],
      [0, alone(A), `eth0 ${A}`],
    ],
  },
  {
    what: 'a bond is without carrier while the route leads elsewhere for two seconds',
    steps: [
      [0, both('eth0'), `eth0 ${A}`],
      [0, { links: [device('eth0', 2, [A], { running: false }), eth1('10.1.0.5')], route: 'eth1' }, `eth0 ${A} KEPT`],
      [2_000, both('eth0'), `eth0 ${A} KEPT`],
      [20_000, both('eth0'), `eth0 ${A}`],
    ],
  },
  {
    what: 'an interface named earlier comes up, without a carrier at first',
    setting: { iface: ['eth1', 'eth0'] },
    steps: [
      [0, alone(A), `eth0 ${A}`],
      [0, { links: [eth0(A), device('eth1', 3, ['10.1.0.5'], { running: false })] }, `eth0 ${A} KEPT`],
      [60_000, { links: [eth0(A), device('eth1', 3, ['10.1.0.5'], { running: false })] }, `eth0 ${A} KEPT`],
      [0, both('eth0'), `eth0 ${A} KEPT`],
      [10_001, both('eth0'), 'eth1 10.1.0.5'],
    ],
  },
  {
    what: 'the route that decides leads elsewhere',
    setting: { canReach: '203.0.113.9' },
    steps: [
      [0, { ...both('eth0'), reach: { device: 'eth0', source: A } }, `eth0 ${A}`],
      [0, { ...both('eth0'), reach: { device: 'eth1', source: '10.1.0.5' } }, `eth0 ${A} KEPT`],
      [10_001, { ...both('eth0'), reach: { device: 'eth1', source: '10.1.0.5' } }, 'eth1 10.1.0.5'],
    ],
  },
  {
    what: 'the route that decides has another source address on the same interface',
    setting: { canReach: '203.0.113.9' },
    steps: [
      [0, { links: [eth0(A)], reach: { device: 'eth0', source: A } }, `eth0 ${A}`],
      [0, { links: [eth0(A, B)], reach: { device: 'eth0', source: B } }, `eth0 ${A} KEPT`],
      [60_000, { links: [eth0(A, B)], reach: { device: 'eth0', source: B } }, `eth0 ${A} KEPT`],
    ],
  },
  {
    what: 'the public address that was given goes and comes back',
    setting: { publicIp: A },
    steps: [
      [0, alone(A), `eth0 ${A}`],
      [0, alone(B), `eth0 ${A}`],
      [60_000, alone(B), `eth0 ${A} LOST`],
      [0, alone(B, A), `eth0 ${A}`],
    ],
  },
  {
    what: 'own devices and bridges of containers match the pattern while the address is away',
    setting: { regex: ['^1(0|72)\\.'], overlay: ['10.5.1.0/24'] },
    steps: [
      [0, { links: [eth0(A)] }, `eth0 ${A}`],
      [
        60_000,
        {
          links: [
            eth0(),
            device('flannel.1', 5, ['10.5.1.0'], { kind: 'vxlan' }),
            device('flannel-v6.7', 6, ['10.6.1.0'], { kind: 'vxlan' }),
            device('cni0', 7, ['10.5.1.1'], { kind: 'bridge' }),
            docker0,
            device('kube-ipvs0', 9, ['10.96.0.1'], { kind: 'dummy', up: false, running: false }),
          ],
        },
        `eth0 ${A}`,
      ],
      [60_000, { links: [eth0(), docker0, device('veth1', 10, [], { kind: 'veth', master: 8 })] }, `eth0 ${A} LOST`],
      [0, { links: [eth0(A), docker0] }, `eth0 ${A}`],
    ],
  },
  {
    what: 'a public IPv6 address is phased out by its router',
    setting: { families: [6] },
    steps: [
      [0, alone('fd00::5'), 'eth0 fd00::5'],
      [0, alone(address('fd00::5', { deprecated: true }), 'fd00::6'), 'eth0 fd00::5 KEPT'],
      [10_001, alone(address('fd00::5', { deprecated: true }), 'fd00::6'), 'eth0 fd00::6'],
    ],
  },
  {
    what: 'temporary IPv6 addresses rotate beside the lasting one',
    setting: { families: [4, 6] },
    steps: [
      [0, alone(A, 'fd00::5', address('fd00::aa', { temporary: true })), `eth0 ${A} fd00::5`],
      [60_000, alone(A, address('fd00::bb', { temporary: true }), 'fd00::5'), `eth0 ${A} fd00::5`],
    ],
  },
  {
    what: 'an IPv6 address is being checked again, and is then found to be another host’s',
    setting: { families: [6] },
    steps: [
      [0, alone('fd00::5', 'fd00::6'), 'eth0 fd00::5'],
      [60_000, alone(address('fd00::5', { tentative: true }), 'fd00::6'), 'eth0 fd00::5 KEPT'],
      [60_000, alone(address('fd00::5', { duplicate: true }), 'fd00::6'), 'eth0 fd00::5'],
      [300, alone(address('fd00::5', { duplicate: true }), 'fd00::6'), 'eth0 fd00::6'],
    ],
  },
  {
    what: 'one of two addresses goes, and another interface has both',
    setting: { families: [4, 6], regex: ['.'] },
    steps: [
      [0, { links: [eth0(A, 'fd00::5'), eth1('10.1.0.5', 'fd01::5')] }, `eth0 ${A} fd00::5`],
      [1_000, { links: [eth0(A), eth1('10.1.0.5', 'fd01::5')] }, `eth0 ${A} fd00::5 KEPT`],
      [1_000, { links: [eth0(A, 'fd00::7'), eth1('10.1.0.5', 'fd01::5')] }, `eth0 ${A} fd00::5`],
      [251, { links: [eth0(A, 'fd00::7'), eth1('10.1.0.5', 'fd01::5')] }, `eth0 ${A} fd00::7`],
    ],
  },
  {
    what: 'the daemon starts again beside a floating address',
    setting: { previous: { 4: A } },
    steps: [[0, alone(dhcp, '10.0.0.77'), `eth0 ${A} KEPT`]],
  },
  {
    what: 'the daemon starts again while the default route leads elsewhere, or nowhere',
    setting: { previous: { 4: A } },
    steps: [
      [0, both('eth1'), `eth0 ${A} KEPT`],
      [2_000, { links: both('').links }, `eth0 ${A} KEPT`],
      [2_000, both('eth1'), `eth0 ${A} KEPT`],
      [10_001, both('eth1'), 'eth1 10.1.0.5'],
    ],
  },
  {
    what: 'the daemon starts again with an option for another interface',
    setting: { previous: { 4: A }, iface: ['eth1'] },
    steps: [[0, both('eth0'), 'eth1 10.1.0.5']],
  },
  {
    what: 'the daemon starts again with an address that this host no longer has',
    setting: { previous: { 4: '10.0.0.99' } },
    steps: [[0, alone(A), `eth0 ${A}`]],
  },
]

describe('the external interface in use', () => {
  for (const { what, setting = {}, steps } of STORIES) {
    it(`stays or changes: ${what}`, async () => {
      const { told } = await history(
        setting,
        steps.map(([ms, host]) => [ms, host] as const),
      )
      assert.deepEqual(
        told,
        steps.map(([, , expected]) => expected),
      )
    })
  }

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
