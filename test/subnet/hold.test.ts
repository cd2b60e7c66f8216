import assert from 'node:assert/strict'
import { type HoldState, holdVanished, nothingHeld } from '../../subnet/hold.ts'
import type { Lease } from '../../subnet/types.ts'
import { lease } from './leases.ts'

const holdMs = 900_000
const peers = (count: number) =>
  Array.from({ length: count }, (_unused, n) =>
    lease(`10.5.${n + 1}.0/24`, { ip: `192.168.64.${n + 1}`, node: `n${n + 1}` }),
  )

const byId = (leases: readonly Lease[]) => new Map(leases.map((one) => [one.id, one]))

function holdAfter(...steps: readonly (readonly Lease[])[]): HoldState {
  let state = nothingHeld
  for (const [index, accepted] of steps.entries())
    state = holdVanished(state, byId(accepted), { now: index * 1000, holdMs })
  return state
}

const heldIds = (state: HoldState) => [...state.held.keys()]

describe('holdVanished', () => {
  const cases: readonly [number, number, boolean][] = [
    [10, 10, true],
    [10, 6, true],
    [10, 5, false],
    [4, 4, true],
    [3, 3, false],
    [1, 1, false],
    [5000, 2501, true],
    [200, 100, false],
  ]
  for (const [count, lost, holds] of cases) {
    it(`${holds ? 'holds' : 'lets go'} ${lost} of ${count} that vanish in one snapshot`, () => {
      const all = peers(count)
      assert.equal(holdAfter(all, all.slice(lost)).held.size, holds ? lost : 0)
    })
  }

  it('lets a held peer go when its node publishes again, whatever its subnet', () => {
    const all = peers(5)
    assert.deepEqual(heldIds(holdAfter(all, [], [lease('10.5.99.0/24', { node: 'n2', ip: '10.0.0.9' })])), [
      '10.5.1.0-24',
      '10.5.3.0-24',
      '10.5.4.0-24',
      '10.5.5.0-24',
    ])
  })

  it('lets a held peer go when its address publishes again', () => {
    const all = peers(4).map((one) => ({ ...one, node: '' }))
    assert.equal(holdAfter(all, [], [lease('10.5.99.0/24', { ip: '192.168.64.2' })]).held.has('10.5.2.0-24'), false)
  })

  it('lets a held peer go when its subnet is leased to another', () => {
    const state = holdAfter(peers(4), [], [lease('10.5.3.0/24', { node: 'x', ip: '10.0.0.9' })])
    assert.deepEqual(heldIds(state), ['10.5.1.0-24', '10.5.2.0-24', '10.5.4.0-24'])
  })

  it('lets them go when the time is over', () => {
    const lost = holdAfter(peers(4), [])
    assert.equal(holdVanished(lost, byId([]), { now: 1000 + holdMs - 1, holdMs }).held.size, 4)
    assert.equal(holdVanished(lost, byId([]), { now: 1000 + holdMs, holdMs }).held.size, 0)
  })

  it('keeps holding through later snapshots, and applies small losses meanwhile', () => {
    const all = peers(6)
    const back = all.slice(4)
    const state = holdAfter(all, [], back, back.slice(1))
    assert.deepEqual(
      heldIds(state),
      all.slice(0, 4).map(({ id }) => id),
    )
  })

  it('does nothing with a hold of zero', () => {
    const state = holdVanished({ accepted: byId(peers(9)), held: new Map() }, byId([]), { now: 0, holdMs: 0 })
    assert.equal(state.held.size, 0)
  })
})
