import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  bytesToIp,
  type Cidr,
  cidrOf,
  contains,
  type Family,
  familyOf,
  firstHost,
  type IpAddr,
  ipFromNumber,
  ipToBytes,
  ipToNumber,
  ipv4ToInteger,
  networkAddress,
  overlaps,
  parseCidr,
  parseInterfaceCidr,
  parseIp,
  parseMac,
  prefixLength,
} from '../../lib/address.ts'

const anyIp = fc
  .tuple(fc.constantFrom<Family>(4, 6), fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }))
  .map(([family, n]) => ipFromNumber(family, family === 4 ? n & 0xffff_ffffn : n))
const anyCidr = fc.tuple(anyIp, fc.nat(128)).map(([ip, n]) => cidrOf(ip, familyOf(ip) === 4 ? n % 33 : n))

describe('parseIp', () => {
  const cases: readonly [string, string | undefined][] = [
    ['10.5.0.1', '10.5.0.1'],
    ['255.255.255.255', '255.255.255.255'],
    ['010.0.0.1', undefined],
    ['10.0.0', undefined],
    ['10.0.0.256', undefined],
    [' 10.0.0.1', undefined],
    ['10.0.0.1\n', undefined],
    ['', undefined],
    ['FC00:0:0:1::', 'fc00:0:0:1::'],
    ['fc00:0000:0:0001:0:0:0:0', 'fc00:0:0:1::'],
    ['::', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    // RFC 5952: the longest run, the first of equals, never a single group.
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['fe80::1%eth0', undefined],
    ['fc00::/64', undefined],
    ['g::', undefined],
  ]
  for (const [text, expected] of cases)
    it(`${JSON.stringify(text)} is ${expected}`, () => assert.equal(parseIp(text), expected))
})

describe('parseCidr', () => {
  const cases: readonly [string, string | undefined][] = [
    ['10.5.0.0/16', '10.5.0.0/16'],
    ['10.5.3.4/16', '10.5.0.0/16'],
    ['10.5.3.4/32', '10.5.3.4/32'],
    ['10.5.3.4/0', '0.0.0.0/0'],
    ['fc00::5/48', 'fc00::/48'],
    ['10.5.0.0/33', undefined],
    ['10.5.0.0/08', undefined],
    ['10.5.0.0/', undefined],
    ['10.5.0.0', undefined],
    ['10.5.0.0/16/16', undefined],
    ['10.5.0.0/-1', undefined],
    ['fc00::/129', undefined],
  ]
  for (const [text, expected] of cases) it(`${text} is ${expected}`, () => assert.equal(parseCidr(text), expected))
})

describe('addresses and prefixes', () => {
  it('keep host bits where an interface is meant', () => {
    assert.deepEqual(parseInterfaceCidr('10.5.72.1/24'), { address: '10.5.72.1', length: 24 })
  })
  it('have a first host', () => {
    assert.equal(firstHost('10.5.72.0/24' as Cidr), '10.5.72.1')
    assert.equal(firstHost('fc00:0:0:1::/64' as Cidr), 'fc00:0:0:1::1')
  })
  it('know hardware addresses', () => {
    assert.equal(parseMac('C6:D2:32:6f:8f:44'), 'c6:d2:32:6f:8f:44')
    for (const bad of ['c6:d2:32:6f:8f', 'c6-d2-32-6f-8f-44', 'c6:d2:32:6f:8f:4g', ''])
      assert.equal(parseMac(bad), undefined)
  })
  it('refuse other numbers of bytes', () => assert.throws(() => bytesToIp(new Uint8Array(5)), RangeError))

  it('survive bytes, numbers and text', () => {
    fc.assert(
      fc.property(anyIp, (ip) => {
        assert.equal(parseIp(ip), ip)
        assert.equal(bytesToIp(ipToBytes(ip)), ip)
        assert.equal(ipFromNumber(familyOf(ip), ipToNumber(ip)), ip)
        if (familyOf(ip) === 4) assert.equal(BigInt(ipv4ToInteger(ip)), ipToNumber(ip))
      }),
    )
  })
  it('contain what lies inside, and overlap by containing', () => {
    fc.assert(
      fc.property(anyCidr, anyCidr, (a, b) => {
        assert.equal(parseCidr(a), a)
        assert.equal(cidrOf(networkAddress(a), prefixLength(a)), a)
        assert.ok(contains(a, a) && contains(a, networkAddress(a)))
        assert.equal(overlaps(a, b), overlaps(b, a))
        const shorter = cidrOf(networkAddress(a), Math.max(0, prefixLength(a) - 3))
        assert.ok(contains(shorter, a))
        if (familyOf(a) !== familyOf(b)) assert.ok(!overlaps(a, b))
      }),
    )
  })
  it('do not contain their neighbours', () => {
    assert.ok(!contains('10.5.0.0/24' as Cidr, '10.5.1.0' as IpAddr))
    assert.ok(!contains('10.5.0.0/24' as Cidr, '10.5.0.0/23' as Cidr))
    assert.ok(!contains('fc00::/64' as Cidr, 'fc00:0:0:1::' as IpAddr))
  })
})
