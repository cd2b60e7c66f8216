import assert from 'node:assert/strict'
import { A, alone, B, both, dhcp, docker0, eth0, eth1, type HostNow, history, type Setting } from './changing-host.ts'
import { address, device } from './host-fixtures.ts'

interface Story {
  readonly what: string
  readonly setting?: Setting
  readonly steps: readonly (readonly [ms: number, host: HostNow, told: string])[]
}

/** eth0 is a port of a bridge that has the address. */
const bridged = (text: string): HostNow => ({
  links: [device('eth0', 2, [], { master: 9, kind: 'veth' }), device('br0', 9, [text], { kind: 'bridge' })],
  route: 'br0',
})

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
    what: 'a DHCP client gives our own device an address of the LAN and the best default route',
    steps: [
      [0, alone(A), `eth0 ${A}`],
      [
        60_000,
        { links: [eth0(A), device('flannel.1', 9, ['10.0.0.6'], { kind: 'vxlan' })], route: ['flannel.1', 'eth0'] },
        `eth0 ${A}`,
      ],
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
      [100, bridged(A), `br0 ${A}`],
    ],
  },
  {
    what: 'the bridge that the interface becomes a port of has another address',
    steps: [
      [0, alone(A), `eth0 ${A}`],
      [300, bridged(B), `eth0 ${A}`],
      [300, bridged(B), `br0 ${B}`],
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
})
