import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Claim, Claims } from '../../../flanneld/node/claims.ts'
import type { DesiredObject } from '../../../kernel/objects.ts'
import { keyOf } from '../../../kernel/objects.ts'
import { olderFirst } from '../../../subnet/own-lease.ts'
import { lease, NO_DATA } from '../../backends/world.ts'
import { repeat } from '../../long.ts'

/** One claim for each peer; its objects are files with these names. */
class World {
  readonly #claims = new Map<string, Claim>()
  readonly claims = new Claims({ claimsOf: (id) => [this.#claims.get(id)].filter((claim) => claim !== undefined) })
  decided = 0

  /** `age:names` by peer; undefined: gone. `own`: names that this node has itself. */
  change(peers: Readonly<Record<string, string | undefined>>, own: readonly string[] = []): void {
    const gone: Claim[] = []
    const come: Claim[] = []
    for (const [id, text] of Object.entries(peers)) {
      const before = this.#claims.get(id)
      if (before !== undefined) gone.push(before)
      this.#claims.delete(id)
      if (text === undefined) continue
      const [age = '', names = ''] = text.split(':')
      const objects = names.split(' ').map((name) => file(name, id))
      const claim = {
        lease: { ...lease('10.5.2.0/24 192.168.64.12', PATH), id, age },
        path: 'tunnel',
        objects,
      } as const
      this.#claims.set(id, { ...claim, blocked: undefined })
      come.push(this.#claims.get(id) as Claim)
    }
    const ours = new Map(own.map((name) => [keyOf(file(name)), file(name)]))
    this.decided = this.claims.change({ own: ours, gone, come }).length
  }

  /** `name=owner` of all that is wanted. */
  get held(): string {
    const owners = [...this.claims.objects.values()].map((object) => {
      assert(object.kind === 'file')
      return `${object.path}=${object.role.class === 'peer' ? object.role.peer : 'node'}`
    })
    return owners.sort().join(' ')
  }

  get blocked(): readonly string[] {
    return [...this.#claims].flatMap(([id, { blocked }]) => (blocked ? [`${id} ${blocked.text}`] : [])).sort()
  }

  /** Who has what, by the definition: one after the other, the oldest first. */
  get expected(): { readonly held: string; readonly blocked: readonly string[] } {
    const owners = new Map<string, string>()
    const blocked: string[] = []
    for (const {
      lease: { id },
      objects,
    } of [...this.#claims.values()].sort((a, b) => olderFirst(a.lease, b.lease))) {
      const taken = objects.find((object) => owners.has(keyOf(object)))
      if (taken === undefined) for (const object of objects) owners.set(keyOf(object), id)
      else blocked.push(`${id} "${keyOf(taken)}" already belongs to ${owners.get(keyOf(taken))}`)
    }
    const held = [...owners].map(([key, owner]) => `${key.replace('file ', '')}=${owner}`)
    return { held: held.sort().join(' '), blocked: blocked.sort() }
  }
}

const PATH = { backend: '', data: NO_DATA }

function file(path: string, peer?: string): DesiredObject {
  const role = peer === undefined ? ({ class: 'required' } as const) : ({ class: 'peer', peer } as const)
  return { kind: 'file', path, content: '', mode: 0o644, role }
}

describe('claims', () => {
  it('give an object to the older of two, whoever comes first, and all of it or nothing', () => {
    const world = new World()
    world.change({ young: '2:a b' })
    assert.equal(world.held, 'a=young b=young')
    world.change({ old: '1:b c' })
    assert.equal(world.held, 'b=old c=old')
    assert.deepEqual(world.blocked, ['young "file b" already belongs to old'])
  })

  it('of one age go by the name', () => {
    const world = new World()
    world.change({ y: '1:a', x: '1:a' })
    assert.equal(world.held, 'a=x')
  })

  it('that lost get theirs when the winner leaves, or wants something else, and nobody else is looked at', () => {
    const world = new World()
    const many = Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`p${n}`, `3:${n}`]))
    world.change({ ...many, young: '2:a b', old: '1:b' })
    world.change({ old: undefined })
    assert.deepEqual([world.held.includes('a=young b=young'), world.decided], [true, 1])
    world.change({ old: '1:b' })
    assert.deepEqual([world.held.includes('b=old'), world.held.includes('young'), world.decided], [true, false, 2])
    world.change({ old: '1:c' })
    assert.deepEqual([world.blocked, world.decided], [[], 2])
  })

  it('push each other along: who comes takes from one, whose loss is the gain of a third', () => {
    const world = new World()
    world.change({ b: '2:x y', c: '3:y z', d: '4:z' })
    assert.equal(world.held, 'x=b y=b z=d')
    world.change({ a: '1:x' })
    assert.equal(world.held, 'x=a y=c z=c')
    assert.deepEqual(world.blocked, ['b "file x" already belongs to a', 'd "file z" already belongs to c'])
  })

  it('name whom they lost to now', () => {
    const world = new World()
    world.change({ a: '1:x', b: '2:x', c: '3:x y' })
    world.change({ a: undefined })
    assert.deepEqual(world.blocked, ['c "file x" already belongs to b'])
    world.change({ a: '1:y' })
    assert.deepEqual(world.blocked, ['c "file x" already belongs to b'])
    world.change({ b: undefined })
    assert.deepEqual(world.blocked, ['c "file y" already belongs to a'])
  })

  it('lose against this node, until it no longer wants what they want', () => {
    const world = new World()
    world.change({ a: '1:x y' })
    world.change({}, ['x'])
    assert.deepEqual([world.held, world.blocked], ['x=node', ['a "file x" already belongs to this node']])
    world.change({})
    assert.equal(world.held, 'x=a y=a')
  })

  it('come out the same after any changes as by the definition', () => {
    const names = fc.uniqueArray(fc.constantFrom('p', 'q', 'r', 's', 't'), { minLength: 1, maxLength: 3 })
    const claim = fc.tuple(fc.integer({ min: 1, max: 4 }), names).map(([age, list]) => `${age}:${list.join(' ')}`)
    const moment = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), fc.option(claim, { nil: undefined }))
    fc.assert(
      fc.property(fc.array(moment, { maxLength: 8 }), (moments) => {
        const world = new World()
        for (const changes of moments) {
          world.change(changes)
          assert.deepEqual({ held: world.held, blocked: world.blocked }, world.expected)
        }
      }),
      { numRuns: repeat(200, 5000) },
    )
  })
})
