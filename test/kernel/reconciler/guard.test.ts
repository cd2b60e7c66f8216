import assert from 'node:assert/strict'
import type { DesiredObject } from '../../../kernel/objects.ts'
import { guardChains, guardPeer, guardSets } from '../../conformance/guard.ts'
import * as the from '../fixtures.ts'

const PEER: DesiredObject = { ...guardPeer, role: { class: 'peer', peer: 'p' } }
const WANTED = the.desiredOf([...the.local(), ...the.peer(2), the.required(guardSets), PEER, the.required(guardChains)])

describe('the ingress guard in the reconciler', () => {
  let rig: the.Rig

  beforeEach(() => {
    rig = the.rig()
  })
  afterEach(() => rig.reconciler.stop())

  const changes = (from = 0) =>
    rig.kernel.calls
      .slice(from)
      .filter(({ verb, kind }) => verb !== 'dump' && (kind.startsWith('guard') || kind === 'route'))
      .map(({ verb, kind }) => `${verb} ${kind}`)
  const ADDITIONS = ['create guard-sets', 'create guard-peer', 'create route', 'create guard-chains']

  it('lets a peer in before the route to it, and judges when all are in', async () => {
    await rig.want(WANTED)
    rig.assertInPlace(WANTED)
    assert.deepEqual(changes(), ADDITIONS)
  })

  it('goes the other way round', async () => {
    await rig.want(WANTED)
    const before = rig.kernel.calls.length
    await rig.want(the.desiredOf(the.local()))
    await rig.clock.advance(1_000)
    // The elements go with nobody left to judge by them, and then the sets.
    assert.deepEqual(changes(before), ['remove guard-chains', 'remove route', 'remove guard-peer', 'remove guard-sets'])
  })

  it('never judges by empty sets, also when they come at a second try (row 42)', async () => {
    let refusals = 1
    rig.kernel.fault = ({ kind, verb }) => {
      if (kind !== 'guard-sets' || verb !== 'create' || refusals === 0) return undefined
      refusals -= 1
      return { code: 'ENOSYS' }
    }
    // Nobody hears of it: the order within a pass must not hang on events.
    rig.kernel.deaf = true
    await rig.want(WANTED)
    const failed = [...rig.reconciler.failures().values()].map(({ object }) => object.kind)
    assert(failed.includes('guard-sets') && !failed.includes('guard-peer'), failed.join())
    await rig.clock.advance(60_000)
    const order = changes().filter((change) => change !== 'create route')
    assert(order.indexOf('create guard-peer') > order.lastIndexOf('create guard-sets'), order.join())
    assert(order.lastIndexOf('create guard-chains') > order.indexOf('create guard-peer'), order.join())
    rig.assertInPlace(WANTED)
  })
})
