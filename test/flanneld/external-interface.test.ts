import assert from 'node:assert/strict'
import {
  chooseExternalInterface,
  type HostSnapshot,
  type InterfaceOptions,
  NoInterfaceError,
} from '../../flanneld/host/external-interface.ts'
import { compileGoRegexp } from '../../flanneld/options/go-regexp.ts'
import type { HostAddress } from '../../kernel/host.ts'
import { type Family, familyOf, type IpAddr } from '../../lib/address.ts'
import { ConfigError } from '../../lib/errors.ts'
import { address, device } from './host-fixtures.ts'

const host: HostSnapshot = {
  interfaces: [
    device('lo', 1, ['127.0.0.1', '::1']),
    device('eth0', 2, ['192.168.1.5', '192.168.1.6', 'fe80::5', 'fd00::5']),
    device('eth1', 3, ['10.0.0.5', 'fd01::5'], { mtu: 9000 }),
    device('v4only', 4, ['172.16.0.5']),
    device('bare', 5),
  ],
  defaultRoutes: new Map<Family, string>([
    [4, 'eth0'],
    [6, 'eth1'],
  ]),
  canReach: { device: 'eth1', source: '10.0.0.5' as IpAddr },
}

const none: InterfaceOptions = {
  iface: [],
  ifaceRegex: [],
  ifaceCanReach: undefined,
  publicIp: undefined,
  publicIpv6: undefined,
}

function choose(
  options: Partial<Record<keyof InterfaceOptions, unknown>> & { regex?: string[] },
  families: Family[] = [4],
  on: Partial<HostSnapshot> = {},
) {
  const { regex = [], ...rest } = options
  const chosen = chooseExternalInterface(
    { ...host, ...on },
    { ...none, ifaceRegex: regex.map(compileGoRegexp), ...rest } as InterfaceOptions,
    families,
  )
  return {
    ...chosen,
    text: `${chosen.name} ${[...chosen.addresses.values()].join(' ')} -> ${[...chosen.publicIps.values()].join(' ')}`,
  }
}

describe('the external interface', () => {
  const chosen: [what: string, options: Parameters<typeof choose>[0], families: Family[], text: string][] = [
    ['by default route', {}, [4], 'eth0 192.168.1.5 -> 192.168.1.5'],
    ['by default route, IPv6 only', {}, [6], 'eth1 fd01::5 -> fd01::5'],
    ['by name', { iface: ['eth1'] }, [4], 'eth1 10.0.0.5 -> 10.0.0.5'],
    ['by name with both families', { iface: ['eth0'] }, [4, 6], 'eth0 192.168.1.5 fd00::5 -> 192.168.1.5 fd00::5'],
    ['by its second address', { iface: ['192.168.1.6'] }, [4], 'eth0 192.168.1.6 -> 192.168.1.6'],
    [
      'by an IPv4 address with both families',
      { iface: ['192.168.1.6'] },
      [4, 6],
      'eth0 192.168.1.6 fd00::5 -> 192.168.1.6 fd00::5',
    ],
    ['by an IPv6 address in another spelling', { iface: ['FD00:0::5'] }, [6], 'eth0 fd00::5 -> fd00::5'],
    [
      'by the first of several that is there',
      { iface: ['eth9', 'bare', 'eth1', 'eth0'] },
      [4],
      'eth1 10.0.0.5 -> 10.0.0.5',
    ],
    [
      'by name where the one before lacks a family',
      { iface: ['v4only', 'eth1'] },
      [4, 6],
      'eth1 10.0.0.5 fd01::5 -> 10.0.0.5 fd01::5',
    ],
    ['by regex over addresses before names', { regex: ['^10\\.|eth0'] }, [4], 'eth1 10.0.0.5 -> 10.0.0.5'],
    ['by regex over a second address', { regex: ['1\\.6$'] }, [4], 'eth0 192.168.1.6 -> 192.168.1.6'],
    ['by regex over names, unanchored', { regex: ['th1'] }, [4], 'eth1 10.0.0.5 -> 10.0.0.5'],
    [
      'by regex with both families by addresses',
      { regex: ['^10\\.|^fd01'] },
      [4, 6],
      'eth1 10.0.0.5 fd01::5 -> 10.0.0.5 fd01::5',
    ],
    [
      'by regex with both families, else by name',
      { regex: ['^10\\.|^eth0'] },
      [4, 6],
      'eth0 192.168.1.5 fd00::5 -> 192.168.1.5 fd00::5',
    ],
    ['by the second regex', { regex: ['^nope', '^172'] }, [4], 'v4only 172.16.0.5 -> 172.16.0.5'],
    ['by name before regex', { iface: ['eth1'], regex: ['eth0'] }, [4], 'eth1 10.0.0.5 -> 10.0.0.5'],
    [
      'by regex where no name fits',
      { iface: ['eth9'], regex: ['eth0'], ifaceCanReach: '10.9.9.9' },
      [4],
      'eth0 192.168.1.5 -> 192.168.1.5',
    ],
    ['by the route to an address', { iface: ['eth9'], ifaceCanReach: '10.9.9.9' }, [4], 'eth1 10.0.0.5 -> 10.0.0.5'],
    [
      'by the route to an address with both families',
      { ifaceCanReach: '10.9.9.9' },
      [4, 6],
      'eth1 10.0.0.5 fd01::5 -> 10.0.0.5 fd01::5',
    ],
    ['by the public address it owns', { publicIp: '10.0.0.5' }, [4], 'eth1 10.0.0.5 -> 10.0.0.5'],
    ['by the public IPv6 address it owns', { publicIpv6: 'fd00::5' }, [6], 'eth0 fd00::5 -> fd00::5'],
    [
      'by name with a foreign public address',
      { iface: ['eth0'], publicIp: '203.0.113.1' },
      [4],
      'eth0 192.168.1.5 -> 203.0.113.1',
    ],
    [
      'without regard to a public address of a disabled family',
      { publicIp: '10.0.0.5' },
      [6],
      'eth1 fd01::5 -> fd01::5',
    ],
  ]
  for (const [what, options, families, text] of chosen) {
    it(`is chosen ${what}`, () => assert.equal(choose(options, families).text, text))
  }

  const refused: [what: string, options: Parameters<typeof choose>[0], families: Family[], text: RegExp][] = [
    [
      'a name that is not there, default route or not',
      { iface: ['eth9'] },
      [4],
      /--iface=eth9; this host has eth0 \(192\.168\.1\.5/,
    ],
    ['an interface without address', { iface: ['bare'] }, [4], /bare lacks a usable IPv4 address/],
    ['the loopback', { iface: ['lo'] }, [4], /lo lacks/],
    ['an address of a disabled family', { iface: ['fd00::5'] }, [4], /--iface=fd00::5/],
    ['a missing second family', { iface: ['v4only'] }, [4, 6], /v4only lacks a usable IPv6 address/],
    [
      'a foreign public address without interface',
      { publicIp: '203.0.113.1' },
      [4],
      /public address 203\.0\.113\.1 .*name the interface by --iface/,
    ],
    [
      'default routes over two devices',
      {},
      [4, 6],
      /the default route \(that of IPv4 leads over eth0, that of IPv6 leads over eth1; --iface names/,
    ],
    [
      'everything, and names it all',
      { iface: ['a', 'b'], regex: ['c'], ifaceCanReach: '1.2.3.4' },
      [6],
      /--iface=a, --iface=b, --iface-regex=c, --iface-can-reach=1\.2\.3\.4/,
    ],
  ]
  for (const [what, options, families, text] of refused) {
    it(`is not found for ${what}`, () => {
      assert.throws(
        () => choose(options, families),
        (cause) => cause instanceof NoInterfaceError && text.test(cause.message),
      )
    })
  }

  it('is not found where a family has no default route, and says which', () => {
    const defaultRoutes = new Map<Family, string>([[4, 'eth0']])
    assert.throws(() => choose({}, [4, 6], { defaultRoutes }), /\(that of IPv4 leads over eth0, IPv6 has none; --iface/)
  })

  const best: [what: string, addresses: HostAddress[], wanted: string][] = [
    ['global before link-local', [address('169.254.1.1'), address('10.0.0.1')], '10.0.0.1'],
    ['permanent before dynamic', [address('10.0.0.1', { permanent: false }), address('10.0.0.2')], '10.0.0.2'],
    [
      'lasting before temporary',
      [address('fd00::1', { temporary: true }), address('fd00::2', { permanent: false })],
      'fd00::2',
    ],
    ['never a deprecated one', [address('fd00::1', { deprecated: true }), address('fe80::1')], 'fe80::1'],
    ['never one that another host has', [address('fd00::1', { duplicate: true }), address('fe80::1')], 'fe80::1'],
    ['one that can be sent from', [address('fd00::1', { tentative: true }), address('fd00::2')], 'fd00::2'],
    ['a tentative one where there is no other', [address('fd00::1', { tentative: true })], 'fd00::1'],
    ['the first of equals', [address('10.0.0.9'), address('10.0.0.1')], '10.0.0.9'],
  ]
  for (const [what, addresses, wanted] of best) {
    it(`has for its address ${what}`, () => {
      const interfaces = [device('x', 7, addresses)]
      const family = familyOf(wanted as IpAddr)
      assert.equal(choose({ iface: ['x'] }, [family], { interfaces }).addresses.get(family), wanted)
    })
  }

  it('says why it was chosen, and carries index and MTU', () => {
    const { reason, index, mtu } = choose({ regex: ['^10\\.'] })
    assert.equal(reason, '--iface-regex=^10\\. matches its address 10.0.0.5')
    assert.deepEqual([index, mtu], [3, 9000])
    assert.match(choose({}).reason, /default route/)
  })

  it('is refused for a bad regular expression', () => {
    assert.throws(
      () => compileGoRegexp('a('),
      (cause) => cause instanceof ConfigError && /missing closing/.test(cause.message),
    )
    assert.throws(() => compileGoRegexp('(?=x)'), ConfigError)
  })
})
