import assert from 'node:assert/strict'
import fc from 'fast-check'
import { ConfigError } from '../../lib/errors.ts'
import { parseNetworkConfig } from '../../subnet/network-config.ts'

const vxlan = { Backend: { Type: 'vxlan' } }
const v4 = { Network: '10.5.0.0/16', ...vxlan }
const v6 = { EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fc00::/48', ...vxlan }

function parse(document: unknown) {
  return parseNetworkConfig(JSON.stringify(document), 'net-conf.json')
}

/** The families as `network len min max`, which is all that the rules decide on. */
function families(document: unknown): string[] {
  return [...parse(document).families.values()].map((f) => `${f.network} ${f.subnetLen} ${f.subnetMin} ${f.subnetMax}`)
}

describe('parseNetworkConfig', () => {
  const good: readonly [string, unknown, string[]][] = [
    ['IPv4 alone by default', v4, ['10.5.0.0/16 24 10.5.1.0 10.5.255.0']],
    ['IPv6 alone', v6, ['fc00::/48 64 fc00:0:0:1:: fc00:0:0:ffff::']],
    [
      'dual stack, 4 before 6',
      { ...v4, EnableIPv6: true, IPv6Network: 'fc00::/48' },
      ['10.5.0.0/16 24 10.5.1.0 10.5.255.0', 'fc00::/48 64 fc00:0:0:1:: fc00:0:0:ffff::'],
    ],
    [
      'keys without regard to case',
      { network: '10.5.0.0/16', BACKEND: { type: 'VXLAN' } },
      ['10.5.0.0/16 24 10.5.1.0 10.5.255.0'],
    ],
    ['host bits of a CIDR as dropped', { ...v4, Network: '10.5.3.4/16' }, ['10.5.0.0/16 24 10.5.1.0 10.5.255.0']],
    ['/22 with the default length', { ...v4, Network: '10.5.0.0/22' }, ['10.5.0.0/22 24 10.5.1.0 10.5.3.0']],
    ['/23 with length + 2', { ...v4, Network: '10.5.0.0/23' }, ['10.5.0.0/23 25 10.5.0.128 10.5.1.128']],
    ['/28, the smallest', { ...v4, Network: '10.5.0.0/28' }, ['10.5.0.0/28 30 10.5.0.4 10.5.0.12']],
    ['SubnetLen 0 as absent', { ...v4, SubnetLen: 0 }, ['10.5.0.0/16 24 10.5.1.0 10.5.255.0']],
    ['SubnetLen at its least', { ...v4, SubnetLen: 18 }, ['10.5.0.0/16 18 10.5.64.0 10.5.192.0']],
    ['SubnetLen at its most', { ...v4, SubnetLen: 30 }, ['10.5.0.0/16 30 10.5.0.4 10.5.255.252']],
    ['SubnetMin that names the first subnet', { ...v4, SubnetMin: '10.5.0.0' }, ['10.5.0.0/16 24 10.5.0.0 10.5.255.0']],
    ['min equal to max', { ...v4, SubnetMin: '10.5.9.0', SubnetMax: '10.5.9.0' }, ['10.5.0.0/16 24 10.5.9.0 10.5.9.0']],
    [
      '0.0.0.0 as an absent bound',
      { ...v4, SubnetMin: '0.0.0.0', SubnetMax: '0.0.0.0' },
      ['10.5.0.0/16 24 10.5.1.0 10.5.255.0'],
    ],
    [
      'IPv6 /62 with the default length',
      { ...v6, IPv6Network: 'fc00::/62' },
      ['fc00::/62 64 fc00:0:0:1:: fc00:0:0:3::'],
    ],
    [
      'IPv6 /63 with length + 2',
      { ...v6, IPv6Network: 'fc00::/63' },
      ['fc00::/63 65 fc00::8000:0:0:0 fc00:0:0:1:8000::'],
    ],
    ['IPv6 /124, the smallest', { ...v6, IPv6Network: 'fc00::/124' }, ['fc00::/124 126 fc00::4 fc00::c']],
    [
      'IPv6 bounds',
      { ...v6, IPv6SubnetMin: 'fc00::', IPv6SubnetMax: 'fc00:0:0:7::' },
      ['fc00::/48 64 fc00:: fc00:0:0:7::'],
    ],
    [
      'keys of a disabled family, unchecked',
      { ...v4, IPv6SubnetLen: 3, IPv6SubnetMin: 'fe80::1' },
      ['10.5.0.0/16 24 10.5.1.0 10.5.255.0'],
    ],
    [
      'null as absent',
      { ...v4, SubnetMin: null, SubnetLen: null, EnableIPv6: null },
      ['10.5.0.0/16 24 10.5.1.0 10.5.255.0'],
    ],
  ]
  for (const [what, document, expected] of good) {
    it(`reads ${what}`, () => assert.deepEqual(families(document), expected))
  }

  const bad: readonly [string, unknown, string, RegExp][] = [
    ['no family', { ...v4, EnableIPv4: false }, 'EnableIPv4', /at least one/],
    ['a missing Network', vxlan, 'Network', /must be given when EnableIPv4 is true/],
    ['Network 0.0.0.0/0', { ...v4, Network: '0.0.0.0/0' }, 'Network', /must be given/],
    [
      'a missing IPv6Network',
      { ...v6, IPv6Network: undefined },
      'IPv6Network',
      /must be given when EnableIPv6 is true/,
    ],
    ['IPv6Network ::/0', { ...v6, IPv6Network: '::/0' }, 'IPv6Network', /must be given/],
    ['a Network of the wrong type', { ...v4, Network: 5 }, 'Network', /must be a string, got 5/],
    ['a Network without length', { ...v4, Network: '10.5.0.0' }, 'Network', /IPv4 network.*got "10\.5\.0\.0"/],
    ['a Network with leading zeros', { ...v4, Network: '010.5.0.0/16' }, 'Network', /IPv4 network/],
    ['an IPv6 Network', { ...v4, Network: 'fc00::/48' }, 'Network', /IPv4 network/],
    ['an IPv4 IPv6Network', { ...v6, IPv6Network: '10.5.0.0/16' }, 'IPv6Network', /IPv6 network/],
    ['a bad network of a disabled family', { ...v4, IPv6Network: 'nonsense' }, 'IPv6Network', /IPv6 network/],
    ['Network /29', { ...v4, Network: '10.5.0.0/29' }, 'Network', /\/28 or larger/],
    ['IPv6Network /125', { ...v6, IPv6Network: 'fc00::/125' }, 'IPv6Network', /\/124 or larger/],
    ['SubnetLen 31', { ...v4, SubnetLen: 31 }, 'SubnetLen', /from 0 to 30, got 31/],
    ['SubnetLen below length + 2', { ...v4, SubnetLen: 17 }, 'SubnetLen', /at least 18.*got 17/],
    ['a negative SubnetLen', { ...v4, SubnetLen: -1 }, 'SubnetLen', /from 0 to 30/],
    ['a fractional SubnetLen', { ...v4, SubnetLen: 24.5 }, 'SubnetLen', /integer/],
    ['SubnetLen as text', { ...v4, SubnetLen: '24' }, 'SubnetLen', /integer.*got "24"/],
    ['IPv6SubnetLen 127', { ...v6, IPv6SubnetLen: 127 }, 'IPv6SubnetLen', /from 0 to 126/],
    ['IPv6SubnetLen below length + 2', { ...v6, IPv6SubnetLen: 49 }, 'IPv6SubnetLen', /at least 50/],
    ['SubnetMin outside', { ...v4, SubnetMin: '10.6.0.0' }, 'SubnetMin', /inside 10\.5\.0\.0\/16, got "10\.6\.0\.0"/],
    ['SubnetMax outside', { ...v4, SubnetMax: '10.6.0.0' }, 'SubnetMax', /inside/],
    ['SubnetMin off its boundary', { ...v4, SubnetMin: '10.5.1.1' }, 'SubnetMin', /first address of a \/24/],
    ['SubnetMax off its boundary', { ...v4, SubnetMax: '10.5.200.128' }, 'SubnetMax', /first address of a \/24/],
    ['SubnetMin that is no address', { ...v4, SubnetMin: '10.5.1' }, 'SubnetMin', /IPv4 address/],
    [
      'SubnetMin after SubnetMax',
      { ...v4, SubnetMin: '10.5.9.0', SubnetMax: '10.5.8.0' },
      'SubnetMin',
      /not lie after SubnetMax/,
    ],
    ['SubnetMax before the default SubnetMin', { ...v4, SubnetMax: '10.5.0.0' }, 'SubnetMin', /not lie after/],
    ['IPv6SubnetMin outside', { ...v6, IPv6SubnetMin: 'fc01::' }, 'IPv6SubnetMin', /inside/],
    ['IPv6SubnetMax off its boundary', { ...v6, IPv6SubnetMax: 'fc00::1' }, 'IPv6SubnetMax', /boundary|first address/],
    [
      'IPv6SubnetMin after IPv6SubnetMax',
      { ...v6, IPv6SubnetMin: 'fc00:0:0:9::', IPv6SubnetMax: 'fc00:0:0:8::' },
      'IPv6SubnetMin',
      /not lie after/,
    ],
    ['EnableIPv4 of the wrong type', { ...v4, EnableIPv4: 'yes' }, 'EnableIPv4', /true or false, got "yes"/],
    ['EnableIPv6 of the wrong type', { ...v4, EnableIPv6: 1 }, 'EnableIPv6', /true or false/],
    ['EnableNFTables of the wrong type', { ...v4, EnableNFTables: 1 }, 'EnableNFTables', /true or false/],
    ['an empty Backend', { ...v4, Backend: {} }, 'Backend.Type', /must name a backend/],
    ['a null Backend', { ...v4, Backend: null }, 'Backend', /JSON object/],
    ['a Backend that is no object', { ...v4, Backend: 'vxlan' }, 'Backend', /JSON object, got "vxlan"/],
    ['a Backend.Type of the wrong type', { ...v4, Backend: { Type: 1 } }, 'Backend.Type', /string, got 1/],
    ['an array', [], 'the document', /JSON object/],
    ['null', null, 'the document', /JSON object/],
  ]
  for (const [what, document, path, text] of bad) {
    it(`refuses ${what}`, () => {
      assert.throws(
        () => parse(document),
        (error) => error instanceof ConfigError && error.path === path && text.test(error.message),
      )
    })
  }

  it('refuses what is no JSON, naming the origin', () => {
    assert.throws(
      () => parseNetworkConfig('{"Network"', 'etcd:/x/config'),
      /^ConfigError: etcd:\/x\/config: must be a JSON document/,
    )
    assert.throws(
      () => parseNetworkConfig('\ufeff{"Network":"10.5.0.0/16"}', 'etcd:/x/config'),
      /^ConfigError: etcd:\/x\/config: must not begin with a byte order mark/,
    )
  })

  it('counts the last of a doubled key', () => {
    const text = '{"Network":"10.1.0.0/16","network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
    assert.equal(parseNetworkConfig(text, '').families.get(4)?.network, '10.5.0.0/16')
  })

  it('warns of an unknown key with the nearest known one', () => {
    assert.deepEqual(parse({ ...v4, SubnetLenght: 24 }).warnings, [
      'SubnetLenght: unknown key; the nearest known key is SubnetLen',
    ])
  })

  it('uses udp without a Backend and says so', () => {
    const config = parse({ Network: '10.5.0.0/16' })
    assert.equal(config.backendType, 'udp')
    assert.match(config.warnings[0] ?? '', /^Backend: absent, so udp/)
  })

  it('ignores the case of Backend.Type and hands the object on', () => {
    const config = parse({ ...v4, Backend: { Type: 'Host-GW', Extra: 1 }, EnableNFTables: true })
    assert.deepEqual(
      [config.backendType, config.backend, config.nftables],
      ['host-gw', { Type: 'Host-GW', Extra: 1 }, true],
    )
  })

  it('throws nothing but ConfigError, whatever it is given', () => {
    const keys = fc.constantFrom(
      'Network',
      'SubnetLen',
      'SubnetMin',
      'SubnetMax',
      'EnableIPv6',
      'IPv6Network',
      'Backend',
      '__proto__',
    )
    const values = fc.oneof(fc.jsonValue(), fc.constantFrom('10.5.0.0/16', 'fc00::/48', 24, true, { Type: 'vxlan' }))
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.dictionary(keys, values).map((x) => JSON.stringify(x)),
        ),
        (text) => {
          try {
            parseNetworkConfig(text, 'x')
          } catch (error) {
            assert.ok(error instanceof ConfigError)
          }
        },
      ),
    )
  })
})
