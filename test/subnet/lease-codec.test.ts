import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Cidr, cidrOf, type Family, type IpAddr, ipFromNumber } from '../../lib/address.ts'
import { InvalidLease } from '../../lib/errors.ts'
import { FamilyMap } from '../../lib/family-map.ts'
import {
  decodeLeaseKey,
  decodeLeaseValue,
  encodeLeaseKey,
  encodeLeaseValue,
  type LeaseContent,
  withClaim,
} from '../../subnet/lease-codec.ts'
import type { FamilyLease, PeerPath } from '../../subnet/types.ts'

const ip = (text: string) => text as IpAddr
const subnets = (...cidrs: string[]) =>
  new Map(cidrs.map((c) => [c.includes(':') ? 6 : 4, c as Cidr] as [Family, Cidr]))
const path = (backend: string, v4?: unknown, v6?: unknown): PeerPath => ({
  backend,
  data: new FamilyMap<unknown>([
    ...(v4 === undefined ? [] : [[4, v4] as const]),
    ...(v6 === undefined ? [] : [[6, v6] as const]),
  ]),
})
const v4 = (publicIp: string, tunnelIp?: string): [Family, FamilyLease] => [
  4,
  {
    subnet: '10.5.52.0/24' as Cidr,
    publicIp: ip(publicIp),
    ...(tunnelIp === undefined ? {} : { tunnelIp: ip(tunnelIp) }),
  },
]
const v6 = (publicIp: string): [Family, FamilyLease] => [
  6,
  { subnet: 'fc00:0:0:1::/64' as Cidr, publicIp: ip(publicIp) },
]
const content = (primary: PeerPath, ...families: [Family, FamilyLease][]): LeaseContent => ({
  node: '',
  primary,
  accepts: [],
  families: new FamilyMap(families),
})

describe('lease key', () => {
  const keys: readonly [string, ReadonlyMap<Family, Cidr>][] = [
    ['10.5.52.0-24', subnets('10.5.52.0/24')],
    ['10.5.52.0-24&fc00:0:0:1::-64', subnets('10.5.52.0/24', 'fc00:0:0:1::/64')],
    ['0.0.0.0-0&fc00:0:0:1::-64', subnets('fc00:0:0:1::/64')],
  ]
  for (const [key, value] of keys) {
    it(`${key} is written and read`, () => {
      assert.equal(encodeLeaseKey(value), key)
      assert.deepEqual(decodeLeaseKey(key), value)
    })
  }
  for (const key of [
    '',
    'config',
    '10.5.52.0',
    '10.5.52.0/24',
    'x10.5.52.0-24',
    '10.5.52.0-24x',
    'a/10.5.52.0-24',
    '10.5.52.0-24&FC00::-64',
  ]) {
    it(`${JSON.stringify(key)} is no lease's key`, () => assert.equal(decodeLeaseKey(key), undefined))
  }
  for (const key of [
    '0.0.0.0-0',
    '10.5.52.1-24',
    '10.5.52.0-32',
    '300.5.52.0-24',
    '10.05.52.0-24',
    '10.5.52.0-024',
    '10.5.52.0-24&fc00::1-64',
    '10.5.52.0-24&fc00::-128',
    '10.5.52.0-24&:::-64',
  ]) {
    it(`${key} is an invalid lease`, () => assert.throws(() => decodeLeaseKey(key), InvalidLease))
  }
})

describe('lease value', () => {
  const values: readonly [string, LeaseContent, string][] = [
    [
      'vxlan',
      content(path('vxlan', { VNI: 1, VtepMAC: 'c6:d2:32:6f:8f:44' }), v4('192.168.64.3')),
      '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
    ],
    [
      'host-gw',
      content(path('host-gw'), v4('192.168.64.3')),
      '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"host-gw"}',
    ],
    ['udp and alloc', content(path(''), v4('192.168.64.3')), '{"PublicIP":"192.168.64.3","PublicIPv6":null}'],
    [
      'dual stack',
      content(path('vxlan', { VNI: 1, VtepMAC: 'a' }, { VNI: 1, VtepMAC: 'b' }), v4('192.168.64.3'), v6('fd00::3')),
      '{"PublicIP":"192.168.64.3","PublicIPv6":"fd00::3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"a"},"BackendV6Data":{"VNI":1,"VtepMAC":"b"}}',
    ],
    [
      'IPv6 alone',
      content(path('vxlan', undefined, { VNI: 1, VtepMAC: 'b' }), v6('fd00::3')),
      '{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::3","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"b"}}',
    ],
    [
      'extension with characters that Go escapes',
      content(path('extension', '<a href="x">&\u2028\n'), v4('192.168.64.3')),
      String.raw`{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"extension","BackendData":"\u003ca href=\"x\"\u003e\u0026\u2028\n"}`,
    ],
    [
      'our own fields, after flannel\u2019s',
      {
        ...content(path('vxlan', { VNI: 1 }), v4('192.168.64.3', '10.0.0.3')),
        node: 'n1',
        accepts: [path('vxlan', { VNI: 1 }), path('host-gw')],
      },
      '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1},"NodeID":"n1",' +
        '"Accepts":[{"BackendType":"vxlan","BackendData":{"VNI":1}},{"BackendType":"host-gw"}],"TunnelIP":"10.0.0.3"}',
    ],
    [
      'a port that flannel does not say, in our own field',
      {
        ...content(path('vxlan', { VNI: 1 }), v4('192.168.64.3')),
        node: 'n1',
        accepts: [{ ...path('vxlan', { VNI: 1 }), port: 4789 }],
      },
      '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1},"NodeID":"n1",' +
        '"Accepts":[{"BackendType":"vxlan","BackendData":{"VNI":1},"Port":4789}]}',
    ],
    [
      'that it takes what comes without the tunnel, too, in our own field',
      {
        ...content(path('vxlan', { VNI: 1 }), v4('192.168.64.3')),
        node: 'n1',
        accepts: [{ ...path('vxlan', { VNI: 1 }), direct: true }],
      },
      '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1},"NodeID":"n1",' +
        '"Accepts":[{"BackendType":"vxlan","BackendData":{"VNI":1},"Direct":true}]}',
    ],
  ]
  for (const [what, value, text] of values) {
    it(`${what}, to the byte and back`, () => {
      assert.equal(encodeLeaseValue(value), text)
      const own = new Map([...value.families].map(([family, { subnet }]) => [family, subnet] as const))
      assert.deepEqual(decodeLeaseValue(text, own), value)
    })
  }

  // As flannel v0.28.9 wrote them.
  const flannels: readonly [string, string][] = [
    [
      '10.5.67.0-24',
      '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"6e:f6:ab:8f:89:6b"}}',
    ],
    [
      '10.5.71.0-24&fc00:0:0:5a::-64',
      '{"PublicIP":"192.168.64.3","PublicIPv6":"fd00::3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"42:e1:cc:da:4b:11"},"BackendV6Data":{"VNI":1,"VtepMAC":"46:23:ff:d0:c9:c7"}}',
    ],
    ['10.5.78.0-24', '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"host-gw"}'],
    ['10.5.78.0-24', '{"PublicIP":"192.168.64.3","PublicIPv6":null}'],
    [
      '0.0.0.0-0&fc00:0:0:3f::-64',
      '{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::3","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"ae:02:98:36:3d:8f"}}',
    ],
  ]
  for (const [key, text] of flannels) {
    it(`of flannel at ${key} is the same after reading and writing`, () => {
      const own = decodeLeaseKey(key) ?? new Map()
      assert.equal(encodeLeaseKey(own), key)
      assert.equal(encodeLeaseValue(decodeLeaseValue(text, own)), text)
    })
  }

  it('is read without regard to case, unknown fields ignored', () => {
    const text = '{"publicip":"192.168.64.3","BACKENDTYPE":"vxlan","backenddata":{"VNI":1},"Future":[1,{}]}'
    assert.deepEqual(
      decodeLeaseValue(text, subnets('10.5.52.0/24')),
      content(path('vxlan', { VNI: 1 }), v4('192.168.64.3')),
    )
  })

  it('of a reservation needs the IPv4 address only', () => {
    const lease = decodeLeaseValue('{"PublicIP":"10.99.0.1"}', subnets('10.5.52.0/24', 'fc00:0:0:1::/64'))
    assert.deepEqual(lease, content(path(''), v4('10.99.0.1'), v6('::')))
  })

  const deep = (levels: number) =>
    `{"PublicIP":"1.2.3.4","BackendData":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`
  const bad: readonly [string, string, RegExp][] = [
    ['no JSON', '{', /no JSON/],
    ['an array', '[]', /JSON object/],
    ['text', '"x"', /JSON object/],
    ['a number as address', '{"PublicIP":5}', /PublicIP: must be a string/],
    ['a wrong address', '{"PublicIP":"1.2.3"}', /PublicIP: must be an IPv4 address/],
    ['an address of the wrong family', '{"PublicIP":"::1"}', /PublicIP: must be an IPv4/],
    ['a wrong IPv6 address', '{"PublicIPv6":"1.2.3.4"}', /PublicIPv6: must be an IPv6/],
    ['a BackendType that is no string', '{"BackendType":{}}', /BackendType: must be a string/],
    ['a NodeID that is no string', '{"NodeID":7}', /NodeID: must be a string/],
    ['Accepts that is no array', '{"Accepts":{}}', /Accepts: must be an array/],
    ['a port that is none', '{"Accepts":[{"Port":65536}]}', /Accepts\[0\]\.Port: /],
    ['direct paths that are neither taken nor not', '{"Accepts":[{"Direct":"yes"}]}', /Accepts\[0\]\.Direct: /],
    ['an accepted path that is no object', '{"Accepts":[1]}', /Accepts\[0\]: must be a JSON object/],
    ['a wrong TunnelIP', '{"TunnelIP":"x"}', /TunnelIP: must be/],
    [
      'too many bytes',
      JSON.stringify({ PublicIP: '1.2.3.4', BackendData: 'x'.repeat(16_384) }),
      /16\d+ bytes, more than 16384/,
    ],
    ['too many levels', deep(9), /nested deeper than 8/],
    ['a key __proto__', '{"PublicIP":"1.2.3.4","BackendData":{"__proto__":{"x":1}}}', /__proto__/],
  ]
  for (const [what, text, message] of bad) {
    it(`with ${what} is an invalid lease`, () => {
      assert.throws(
        () => decodeLeaseValue(text, subnets('10.5.52.0/24')),
        (error) => error instanceof InvalidLease && message.test(error.message),
      )
    })
  }
  it('may be eight levels deep', () => {
    decodeLeaseValue(deep(8), subnets('10.5.52.0/24'))
  })

  it('decoded is what was encoded', () => {
    fc.assert(
      fc.property(anyContent, (value) => {
        const own = new Map([...value.families].map(([family, { subnet }]) => [family, subnet] as const))
        const text = encodeLeaseValue(value)
        assert.doesNotMatch(text, /[<>&\u2028\u2029]/)
        assert.deepEqual(decodeLeaseValue(text, own), value)
        assert.deepEqual(decodeLeaseValue(Buffer.from(text), own), value)
        assert.deepEqual(decodeLeaseKey(encodeLeaseKey(own)), own)
      }),
    )
  })

  it('decoding throws nothing but InvalidLease', () => {
    const nearly = fc.record(
      {
        PublicIP: fc.jsonValue(),
        BackendType: fc.jsonValue(),
        Accepts: fc.jsonValue(),
        NodeID: fc.jsonValue(),
        TunnelIP: fc.jsonValue(),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          nearly.map((x) => JSON.stringify(x)),
          fc.uint8Array(),
        ),
        fc.string(),
        (value, key) => {
          for (const decode of [() => decodeLeaseValue(value, subnets('10.5.52.0/24')), () => decodeLeaseKey(key)]) {
            try {
              decode()
            } catch (error) {
              assert.ok(error instanceof InvalidLease)
            }
          }
        },
      ),
    )
  })
})

const anyAddress = (family: Family) =>
  fc.bigInt({ min: 0n, max: (1n << (family === 4 ? 32n : 128n)) - 1n }).map((n) => ipFromNumber(family, n))
const anyPart = (family: Family): fc.Arbitrary<FamilyLease> =>
  fc
    .tuple(
      anyAddress(family),
      anyAddress(family),
      fc.option(anyAddress(family)),
      fc.integer({ min: 1, max: family === 4 ? 31 : 127 }),
    )
    .map(([subnet, publicIp, tunnelIp, length]) => ({
      subnet: cidrOf(subnet, length),
      publicIp,
      ...(tunnelIp === null ? {} : { tunnelIp }),
    }))
const anyData = fc.jsonValue({ maxDepth: 3 }).filter((x) => x !== null && !JSON.stringify(x).includes('__proto__'))
const anyPath: fc.Arbitrary<PeerPath> = fc
  .tuple(fc.string(), fc.option(anyData), fc.option(anyData))
  .map(([backend, a, b]) =>
    path(backend, JSON.parse(JSON.stringify(a)) ?? undefined, JSON.parse(JSON.stringify(b)) ?? undefined),
  )
const anyContent: fc.Arbitrary<LeaseContent> = fc
  .tuple(
    fc.string(),
    anyPath,
    fc.array(anyPath, { maxLength: 3 }),
    fc.constantFrom('4', '6', '46'),
    anyPart(4),
    anyPart(6),
  )
  .map(([node, primary, accepts, which, four, six]) => ({
    node,
    primary,
    accepts,
    families: new FamilyMap<FamilyLease>([
      ...(which.includes('4') ? [[4, four] as const] : []),
      ...(which.includes('6') ? [[6, six] as const] : []),
    ]),
  }))

describe('what a lease says to other writers', () => {
  const claim = { node: 'n2', nonce: 'f0' }
  const place = subnets('10.5.52.0/24')
  const value = '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","NodeID":"n1"'

  it('is a claim behind everything else, in the place of an earlier one', () => {
    const claimed = `${value},"Claim":{"NodeID":"n2","Nonce":"f0"}}`
    assert.equal(withClaim(Buffer.from(`${value}}`), claim), claimed)
    assert.equal(withClaim(Buffer.from(`${value},"claim":{"NodeID":"n3","Nonce":"0"}}`), claim), claimed)
    assert.deepEqual(decodeLeaseValue(claimed, place).claim, claim)
    assert.equal(encodeLeaseValue(decodeLeaseValue(claimed, place)), claimed)
  })

  it('keeps the newest of many refusals', () => {
    const refused = Array.from({ length: 12 }, (_unused, n) => `n${n}`)
    const read = decodeLeaseValue(`${value},"Refused":${JSON.stringify(refused)}}`, place)
    assert.deepEqual(read.refused, refused.slice(-8))
    assert.match(encodeLeaseValue(read), /,"Refused":\["n4",.*"n11"\]\}$/)
  })

  for (const wrong of [
    '1',
    '[]',
    '{}',
    '{"NodeID":"n2"}',
    '{"NodeID":"","Nonce":"1"}',
    `{"NodeID":"${'x'.repeat(65)}","Nonce":"1"}`,
  ]) {
    it(`is left out where it is none: ${wrong.slice(0, 30)}`, () => {
      const read = decodeLeaseValue(`${value},"Claim":${wrong},"Refused":${wrong}}`, place)
      assert.deepEqual([read.node, read.claim, read.refused], ['n1', undefined, undefined])
    })
  }
})
