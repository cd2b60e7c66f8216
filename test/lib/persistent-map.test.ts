import assert from 'node:assert/strict'
import fc from 'fast-check'
import { changesBetween, PersistentMap } from '../../lib/persistent-map.ts'

const text = fc.constantFrom('a', 'b', 'route 10.1.0.0/24', 'route 10.1.1.0/24', '', 'é', ...'0123456789')
const anyMap = fc.array(fc.tuple(text, fc.nat({ max: 3 })), { maxLength: 20 }).map((entries) => new Map(entries))

describe('PersistentMap', () => {
  it('holds what a Map would hold after the same changes, and its older versions stay as they were', () => {
    const steps = fc.array(fc.record({ gone: fc.array(text, { maxLength: 4 }), come: anyMap }), { maxLength: 8 })
    fc.assert(
      fc.property(anyMap, steps, (first, changes) => {
        const model = new Map(first)
        let map = PersistentMap.from(first)
        const versions = [{ map, model: new Map(model) }]
        for (const { gone, come } of changes) {
          for (const key of gone) model.delete(key)
          for (const [key, value] of come) model.set(key, value)
          map = map.patched(gone, come)
          versions.push({ map, model: new Map(model) })
        }
        for (const version of versions) {
          assert.deepEqual(new Map(version.map), version.model)
          assert.equal(version.map.size, version.model.size)
          for (const key of [...version.model.keys(), 'never there']) {
            assert.equal(version.map.get(key), version.model.get(key))
            assert.equal(version.map.has(key), version.model.has(key))
          }
        }
      }),
    )
  })

  it('tells the difference between two versions as between two plain maps', () => {
    fc.assert(
      fc.property(anyMap, fc.array(text), anyMap, (first, gone, come) => {
        const before = PersistentMap.from(first)
        const after = before.patched(gone, come)
        const plain = changesBetween(new Map(before), new Map(after))
        const sorted = (changes: typeof plain) => [...changes].sort((a, b) => (a.key < b.key ? -1 : 1))
        assert.deepEqual(sorted(changesBetween(before, after)), sorted(plain))
        const rebuilt = new Map(before)
        for (const { key, after: value } of plain) value === undefined ? rebuilt.delete(key) : rebuilt.set(key, value)
        assert.deepEqual(rebuilt, new Map(after))
      }),
    )
  })

  it('knows what has changed since a near version, through a new base too, and compares with any other in full', () => {
    const entries = Array.from({ length: 300 }, (_unused, at) => [`10.1.${at}`, at] as const)
    const versions = [PersistentMap.from(entries)]
    for (let step = 0; step < 40; step += 1) {
      const come = [0, 1, 2].map((n) => [`10.2.${step}.${n}`, step] as const)
      versions.push((versions.at(-1) as PersistentMap<number>).patched([`10.1.${step}`], come))
    }
    assert.ok(new Set(versions.map(({ base }) => base)).size > 1)
    const last = versions.at(-1) as PersistentMap<number>
    for (const [back, version] of [...versions].reverse().entries()) {
      assert.equal(last.keysChangedSince(version) !== undefined, back > 0 && back <= 16)
      assert.equal(changesBetween(version, last).length, back * 4)
      assert.equal(changesBetween(last, version).length, back * 4)
    }
    const sibling = (versions.at(-2) as PersistentMap<number>).patched([], [['10.1.299', -1]])
    assert.equal(last.keysChangedSince(sibling), undefined)
    assert.equal(changesBetween(sibling, last).length, 5)
    assert.equal(last.patched([], []), last)
  })

  it('is not equal to another for whoever compares fields', () => {
    assert.notDeepEqual(PersistentMap.from([['a', 1]]), PersistentMap.from([['a', 2]]))
  })

  it('shares its base with the next version', () => {
    const before = PersistentMap.from(Array.from({ length: 5000 }, (_unused, at) => [`10.1.${at}`, at] as const))
    const after = before.patched([], [['10.1.77', -1]])
    assert.equal(after.base, before.base)
    assert.deepEqual([...after.differing.keys()], ['10.1.77'])
    assert.deepEqual(changesBetween(before, after), [{ key: '10.1.77', before: 77, after: -1 }])
  })

  it('never has more than a few keys that differ', () => {
    let map = PersistentMap.from<number>([])
    for (let at = 0; at < 5000; at += 1) {
      map = map.patched([], [[`peer ${at}`, at]])
      assert.ok(map.differing.size <= Math.max(64, 3 * Math.sqrt(map.base.size)))
    }
    assert.equal(map.size, 5000)
    for (let at = 0; at < 5000; at += 1) map = map.patched([`peer ${at}`], [])
    assert.deepEqual([map.size, [...map]], [0, []])
  })
})
