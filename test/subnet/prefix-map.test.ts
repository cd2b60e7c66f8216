import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Cidr, cidrOf, contains, ipFromNumber } from '../../lib/address.ts'
import { PrefixMap } from '../../subnet/prefix-map.ts'

describe('a map by prefix', () => {
  const anyPrefix = fc
    .record({ six: fc.boolean(), at: fc.nat({ max: 31 }), length: fc.integer({ min: 0, max: 5 }) })
    .map(({ six, at, length }): Cidr => {
      const [family, bits, start] = six ? ([6, 128, 0xfcn << 120n] as const) : ([4, 32, 10n << 24n] as const)
      return cidrOf(ipFromNumber(family, start + BigInt(at)), bits - length)
    })

  it('finds what a comparison with each member finds, after any changes', () => {
    const steps = fc.array(fc.tuple(anyPrefix, fc.constantFrom('set', 'delete', 'ask')), { maxLength: 60 })
    fc.assert(
      fc.property(steps, (history) => {
        const map = new PrefixMap<Cidr>()
        const held = new Set<Cidr>()
        for (const [prefix, verb] of history) {
          if (verb === 'set') {
            map.set(prefix, prefix)
            held.add(prefix)
          } else if (verb === 'delete') {
            map.delete(prefix)
            held.delete(prefix)
          }
          const others = [...held].filter((other) => other !== prefix)
          const around = others.filter((other) => contains(other, prefix))
          const inside = others.filter((other) => contains(prefix, other))
          assert.deepEqual(map.around(prefix).sort(), around.sort())
          assert.deepEqual(map.inside(prefix).sort(), inside.sort())
          assert.equal(map.overlapping(prefix) !== undefined, held.has(prefix) || around.length + inside.length > 0)
        }
      }),
    )
  })
})
