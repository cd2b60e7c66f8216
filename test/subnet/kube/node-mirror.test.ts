import assert from 'node:assert/strict'
import fc from 'fast-check'
import { annotationNames } from '../../../subnet/kube/annotations.ts'
import { NodeMirror } from '../../../subnet/kube/node-mirror.ts'
import { flannelNode } from './api-simulator.ts'

const prefix = 'flannel.alpha.coreos.com/'
const needs = { names: annotationNames(prefix), own: { name: 'n1', nodeId: 'own-id' } }

interface State {
  readonly n: number
  readonly podCIDRs?: readonly string[]
  readonly annotations?: Readonly<Record<string, string>>
  readonly uid?: string
  readonly created?: string
  readonly deleted?: string
  readonly unavailable?: string
  readonly beat?: number
}

/** As the API has it in its `version`. */
function stored(version: number | string, state: State): object {
  const { n, podCIDRs = [`10.5.${n}.0/24`], uid = `uid${n}`, created = '2026-01-01T00:00:00Z', beat = 0 } = state
  const node = flannelNode(n, state.annotations)
  const conditions = [{ type: 'Ready', status: 'True', lastHeartbeatTime: beat }]
  const ours = { type: 'NetworkUnavailable', status: state.unavailable }
  return {
    ...node,
    metadata: {
      ...node.metadata,
      resourceVersion: String(version),
      uid,
      creationTimestamp: created,
      ...(state.deleted && { deletionTimestamp: state.deleted }),
    },
    spec: { podCIDR: podCIDRs[0], podCIDRs },
    status: { conditions: state.unavailable === undefined ? conditions : [...conditions, ours] },
  }
}

function mirrorOf(revision: number, states: readonly State[]): NodeMirror {
  const mirror = new NodeMirror(needs)
  const list = mirror.beginList()
  for (const state of states) list.add(stored(revision, state))
  list.commit(String(revision))
  return mirror
}

const said = (mirror: NodeMirror) => {
  const { leases, unreadable } = mirror.snapshot()
  const byId = (a: { id: string }, b: { id: string }) => a.id.localeCompare(b.id)
  return { leases: [...leases.values()].sort(byId), unreadable: [...(unreadable ?? [])].sort(byId), own: ownOf(mirror) }
}
const ownOf = ({ own }: NodeMirror) => own && { ...own, version: '' }

describe('a mirror of the Nodes', () => {
  const cases: readonly (readonly [string, State, State, boolean])[] = [
    ['a heartbeat of a peer', { n: 2 }, { n: 2, beat: 1 }, false],
    ['a heartbeat of the own Node', { n: 1 }, { n: 1, beat: 1 }, false],
    ['an annotation of somebody else', { n: 2 }, { n: 2, annotations: { 'example.com/x': 'y' } }, false],
    ['another podCIDR', { n: 2 }, { n: 2, podCIDRs: ['10.5.9.0/24'] }, true],
    ['a second podCIDR', { n: 2 }, { n: 2, podCIDRs: ['10.5.2.0/24', 'fc00::/64'] }, false],
    ['no podCIDR', { n: 2 }, { n: 2, podCIDRs: [] }, true],
    ['another public address', { n: 2 }, { n: 2, annotations: { [`${prefix}public-ip`]: '192.168.64.9' } }, true],
    ['an unreadable annotation', { n: 2 }, { n: 2, annotations: { [`${prefix}backend-data`]: '{' } }, true],
    ['a Node made anew', { n: 2 }, { n: 2, uid: 'other', created: '2026-02-01T00:00:00Z' }, true],
    ['a Node that is being deleted', { n: 2 }, { n: 2, deleted: '2026-02-01T00:00:00Z' }, true],
    ['the condition of a peer', { n: 2 }, { n: 2, unavailable: 'True' }, false],
    ['the condition of the own Node', { n: 1 }, { n: 1, unavailable: 'True' }, true],
  ]
  for (const [name, before, after, isChange] of cases) {
    it(`${isChange ? 'tells of' : 'is silent about'} ${name}`, () => {
      const mirror = mirrorOf(10, [before])
      const { leases } = mirror.snapshot()
      assert.equal(mirror.put(stored(11, after)), isChange)
      assert.deepEqual(said(mirror), said(mirrorOf(11, [after])))
      assert.equal(mirror.snapshot().revision, '11')
      if (!isChange && before.n === 2) assert.equal(mirror.snapshot().leases, leases)
      assert.equal(mirror.put(stored(10, before)), false, 'an older state')
    })
  }

  it('tells that the watch has come to what this node wrote, by a heartbeat of another Node too', () => {
    const mirror = mirrorOf(10, [{ n: 1 }, { n: 2 }])
    const written = { n: 1, annotations: { [`${prefix}public-ip`]: '192.168.64.9' } }
    assert.equal(mirror.putAnswered(stored(15, written)), true)
    const beats = [12, 14, 15, 16].map((version) => mirror.put(stored(version, { n: 2, beat: version })))
    assert.deepEqual(beats, [false, false, true, false])
    assert.equal(mirror.put(stored(17, written)), false)
  })

  it('has the own Node before the list, and keeps what is written of it while the list is read', () => {
    const mirror = new NodeMirror(needs)
    assert.equal(mirror.putAnswered(stored(10, { n: 1 })), true)
    assert.deepEqual([mirror.isWhole, mirror.own?.version, mirror.snapshot().revision], [false, '10', ''])
    const list = mirror.beginList()
    list.add(stored(10, { n: 1 }))
    const written = { n: 1, annotations: { [`${prefix}public-ip`]: '192.168.64.9' } }
    assert.equal(mirror.putAnswered(stored(15, written)), true)
    list.add(stored(11, { n: 2 }))
    list.commit('12')
    assert.deepEqual(
      [mirror.isWhole, mirror.own?.version, [...mirror.snapshot().leases.keys()]],
      [true, '15', ['n1', 'n2']],
    )
    assert.equal(mirror.put(stored(15, written)), true, 'the watch has come to it')
    const restored = mirror.beginList()
    restored.add(stored(3, { n: 1 }))
    restored.commit('4')
    assert.equal(mirror.own?.version, '3', 'an older store is taken as it is')
  })

  it('keeps what it has read where a new list says the same', () => {
    const mirror = mirrorOf(10, [{ n: 2 }])
    const before = mirror.snapshot().leases.get('n2')
    const list = mirror.beginList()
    list.add(stored(20, { n: 2, beat: 1 }))
    list.commit('20')
    assert.ok(before !== undefined && mirror.snapshot().leases.get('n2') === before)
  })

  it('says after any events what a list of the last states says', () => {
    const state = fc.record({
      n: fc.integer({ min: 1, max: 3 }),
      podCIDRs: fc.constantFrom<readonly string[]>([], ['10.5.7.0/24'], ['10.5.8.0/24', 'fc00:8::/64'], ['x']),
      annotations: fc.dictionary(
        fc.constantFrom(
          ...['public-ip', 'kube-subnet-manager', 'backend-data', 'node-id'].map((name) => prefix + name),
          'a.b/c',
        ),
        fc.constantFrom('', 'true', '192.168.64.8', '{}', '{', 'own-id', 'x'.repeat(20_000)),
      ),
      uid: fc.constantFrom('a', 'b'),
      unavailable: fc.constantFrom('True', 'False'),
      beat: fc.nat(),
      isGone: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(state, { maxLength: 12 }), (states) => {
        const mirror = mirrorOf(10, [])
        const last = new Map<number, State>()
        for (const [index, { isGone, ...next }] of states.entries()) {
          if (isGone) mirror.remove(stored(11 + index, next))
          else mirror.put(stored(11 + index, next))
          if (isGone) last.delete(next.n)
          else last.set(next.n, next)
        }
        assert.deepEqual(said(mirror), said(mirrorOf(100, [...last.values()])))
      }),
    )
  })
})
