import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Reach } from '../../../backends/backend.ts'
import type { AnyBackend } from '../../../backends/registry.ts'
import { vxlan } from '../../../backends/vxlan/backend.ts'
import type { Way } from '../../../backends/way.ts'
import { type NodePlan, Planner } from '../../../flanneld/node/planner.ts'
import { PersistentMap } from '../../../lib/persistent-map.ts'
import type { Lease } from '../../../subnet/types.ts'
import { lease, vxlanPath, wayOf } from '../../backends/world.ts'
import { repeat } from '../../long.ts'
import { planNode } from './plan-node.ts'
import { addressOf, anyPool, anyStep, basisOf, byId, identity, WAYS } from './planner-histories.ts'

function contentOf({ desired, paths, ...rest }: NodePlan) {
  return { ...rest, ...desired, objects: new Map(desired.objects), paths: new Map(paths) }
}

describe('a plan that is made from the last one', () => {
  it('is the one that is made from nothing, after any changes of leases, reach, ways and host', function () {
    this.timeout(repeat(20_000, 120_000))
    const histories = anyPool.chain((pool) =>
      fc.record({ ways: fc.constantFrom(...WAYS), steps: fc.array(anyStep(pool), { minLength: 2, maxLength: 12 }) }),
    )
    fc.assert(
      fc.property(histories, ({ ways, steps }) => {
        const planner = new Planner()
        let input = basisOf(ways)
        for (const step of steps) {
          input = step(input)
          assert.deepEqual(contentOf(planner.plan(input)), contentOf(planNode(input)))
        }
      }),
      { numRuns: repeat(60, 3000) },
    )
  })

  const many = Array.from({ length: 250 }, (_unused, at) =>
    lease(`10.5.${at + 2}.0/24 192.168.65.${at}`, vxlanPath(`02:00:00:00:02:${at.toString(16).padStart(2, '0')}`)),
  )

  /** How often a peer was planned. */
  function counting(config: unknown = {}): { readonly way: Way; count: number } {
    const counted = { way: wayOf(vxlan as AnyBackend, { identity }), count: 0 }
    const backend: AnyBackend = {
      ...(vxlan as AnyBackend),
      peer: (...args) => {
        counted.count += 1
        return (vxlan as AnyBackend).peer(...args)
      },
    }
    counted.way = wayOf(backend, { config, identity })
    return counted
  }

  it('costs the one lease that has changed, also while others exclude each other', () => {
    const counted = counting()
    const planner = new Planner()
    const twins = [2, 3, 4, 5].map((at) => ({
      ...lease(`10.6.${at}.0/24 192.168.66.${at}`, vxlanPath(`02:00:00:00:03:0${at >> 1}`)),
      age: String(at),
    }))
    const peers = byId([...many, ...twins])
    const first = { ...basisOf([counted.way]), peers }
    const before = planner.plan(first)
    const losers = ['10.6.3.0-24', '10.6.5.0-24']
    assert.deepEqual(
      before.skipped.map(({ id, reason }) => [id, reason]),
      losers.map((id) => [id, 'duplicate']),
    )
    counted.count = 0
    const [gone, come] = [
      peers.patched(['10.5.9.0-24'], []),
      peers.patched([], [['10.5.9.0-24', { ...(many[7] as Lease) }]]),
    ]
    const without = planner.plan({ ...first, peers: gone })
    assert.equal(without.desired.objects.base, before.desired.objects.base)
    assert.equal(without.desired.objects.size, before.desired.objects.size - 4)
    assert.equal(counted.count, 0)
    planner.plan({ ...first, peers: come })
    assert.equal(counted.count, 1)
    // The winner leaves: the loser has what it needs without being planned again.
    const promoted = planner.plan({ ...first, peers: come.patched(['10.6.2.0-24'], []) })
    assert.deepEqual([promoted.paths.get('10.6.3.0-24'), counted.count], ['tunnel', 1])
    assert.deepEqual(
      promoted.skipped.map(({ id }) => id),
      ['10.6.5.0-24'],
    )
  })

  it('costs the peers that are reached in another way now', () => {
    const counted = counting({ DirectRouting: true })
    const planner = new Planner()
    const silent = { onLink: 'eth0', answered: false }
    const reach = PersistentMap.from<Reach>(many.map((peer) => [addressOf(peer), silent]))
    const first = { ...basisOf([counted.way]), peers: byId(many) }
    const at = (now: PersistentMap<Reach>) => ({ ...first, facts: { ...first.facts, reach: now } })
    const before = planner.plan(at(reach))
    counted.count = 0
    const after = planner.plan(at(reach.patched([], [['192.168.65.7', { ...silent, answered: true }]])))
    assert.equal(after.desired.objects.size, before.desired.objects.size - 2)
    assert.equal(after.desired.objects.base, before.desired.objects.base)
    assert.deepEqual([before.paths.get('10.5.9.0-24'), after.paths.get('10.5.9.0-24')], ['tunnel', 'direct'])
    assert.equal(counted.count, 1)
  })

  it('makes the node’s own objects anew only where something of theirs has changed, and no peer for that', () => {
    const counted = counting()
    const planner = new Planner()
    const first = { ...basisOf([counted.way]), peers: byId(many) }
    const before = planner.plan(first)
    counted.count = 0
    const same = planner.plan({ ...first, facts: { ...first.facts }, options: { ...first.options } })
    assert.equal(same.desired.objects, before.desired.objects)
    const external = { ...first.facts.external, mtu: 1400 }
    const smaller = planner.plan({ ...first, facts: { ...first.facts, external } })
    assert.deepEqual([smaller.mtu, counted.count], [1350, 0])
    assert.equal(smaller.desired.objects.base, before.desired.objects.base)
  })

  it('begins anew after a fault of the program', () => {
    const counted = counting()
    const planner = new Planner()
    const first = { ...basisOf([counted.way]), peers: byId(many.slice(0, 3)) }
    planner.plan(first)
    const longer = lease('10.6.2.0/25 192.168.66.2', vxlanPath('02:00:00:00:03:02'))
    const broken = { ...longer, id: 'broken', families: undefined as unknown as Lease['families'] }
    assert.throws(() => planner.plan({ ...first, peers: byId([...many.slice(0, 3), longer, broken]) }))
    assert.deepEqual(contentOf(planner.plan(first)), contentOf(planNode(first)))
  })
})
