import assert from 'node:assert/strict'
import type { Family } from '../../lib/address.ts'
import { FamilyMap } from '../../lib/family-map.ts'

describe('FamilyMap', () => {
  const all: readonly (readonly [Family, string | null])[][] = [
    [],
    [[4, 'a']],
    [[6, 'b']],
    [
      [6, null],
      [4, 'a'],
    ],
    [
      [4, 'a'],
      [4, 'c'],
    ],
  ]

  for (const entries of all) {
    it(`holds what a Map holds of ${JSON.stringify(entries)}`, () => {
      const model = new Map(entries)
      const map = new FamilyMap(entries)
      assert.deepEqual(new Map(map), model)
      assert.deepEqual(
        [map.size, [...map.keys()], [...map.values()]],
        [model.size, [...model.keys()].sort(), [...model.keys()].sort().map((family) => model.get(family))],
      )
      for (const family of [4, 6] as const) {
        assert.equal(map.get(family), model.get(family))
        assert.equal(map.has(family), model.has(family))
      }
      const seen: unknown[] = []
      map.forEach((value, family, whole) => void seen.push([family, value, whole === map]))
      assert.deepEqual(
        seen,
        [...map].map(([family, value]) => [family, value, true]),
      )
    })
  }

  it('is not equal to another for whoever compares fields', () => {
    assert.notDeepEqual(new FamilyMap([[4, 'a']]), new FamilyMap([[4, 'b']]))
  })
})
