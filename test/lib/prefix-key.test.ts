import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  addressBits,
  type Cidr,
  cidrOf,
  contains,
  type Family,
  type IpAddr,
  ipFromNumber,
  ipToNumber,
} from '../../lib/address.ts'
import { keyMask, prefixKey } from '../../lib/prefix-key.ts'

const anyPrefix = fc.constantFrom<Family>(4, 6).chain((family) =>
  fc
    .record({
      length: fc.integer({ min: 1, max: addressBits(family) - 1 }),
      bits: fc.bigInt({ min: 0n, max: (1n << BigInt(addressBits(family))) - 1n }),
    })
    .map(({ length, bits }) => cidrOf(ipFromNumber(family, bits), length)),
)

/** What the rule makes of an address: `address & mask | mark`. */
function keyOf(address: IpAddr, family: Family, length: number): IpAddr {
  const { mask, mark } = keyMask(family, length)
  return ipFromNumber(family, (ipToNumber(address) & ipToNumber(mask)) | ipToNumber(mark))
}

describe('prefix key', () => {
  const cases: readonly [string, string][] = [
    ['10.5.3.0/24', '10.5.3.128'],
    ['10.5.3.0/26', '10.5.3.32'],
    ['10.5.3.192/26', '10.5.3.224'],
    ['10.16.0.0/20', '10.16.8.0'],
    ['10.5.3.4/31', '10.5.3.5'],
    ['10.5.3.4/32', '10.5.3.4'],
    ['fc00:0:0:2::/64', 'fc00:0:0:2:8000::'],
    ['fc00:0:0:2::/80', 'fc00::2:0:8000:0:0'],
  ]
  for (const [prefix, key] of cases) it(`${prefix} is ${key}`, () => assert.equal(prefixKey(prefix as Cidr), key))

  it('is found by each of its addresses, and no two prefixes have one', () => {
    fc.assert(
      fc.property(anyPrefix, anyPrefix, (one, other) => {
        assert.equal(prefixKey(one) === prefixKey(other), one === other)
        const [address, length] = [prefixKey(one), Number(one.split('/')[1])]
        const family = one.includes(':') ? 6 : 4
        assert.equal(keyOf(address, family, length), prefixKey(one))
        const theirs = Number(other.split('/')[1])
        if (family === (other.includes(':') ? 6 : 4)) {
          assert.equal(keyOf(address, family, theirs) === prefixKey(other), contains(other, address))
        }
      }),
    )
  })
})
