import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { LeaseMirror } from '../../subnet/lease-mirror.ts'
import { repeat } from '../long.ts'
import { FollowedStore } from './followed-store.ts'

/** What happens to a store, and how the mirror hears of it. */
type Step =
  | { readonly do: 'put'; readonly id: string; readonly value: string; readonly expires: boolean }
  | { readonly do: 'delete'; readonly id: string }
  | { readonly do: 'tell' | 'tell again'; readonly events: number }
  /** An answer or a list that comes when so many steps have passed. */
  | { readonly do: 'answer'; readonly id: string; readonly after: number }
  | { readonly do: 'list'; readonly after: number }
  | { readonly do: 'restore'; readonly ids: readonly string[] }

const id = fc.constantFrom('10.5.1.0-24', '10.5.4.0-24&fc00:0:0:4::-64', 'nonsense')
const value = fc.constantFrom(
  '{"PublicIP":"192.168.64.1"}',
  '{"PublicIP":"192.168.64.2","BackendType":"vxlan","BackendData":{"VNI":1}}',
  '{"PublicIP":"192.168.64.4","PublicIPv6":"fc01::4"}',
  '{"PublicIP":7}',
  'nonsense',
)
const of = <D extends string>(...names: readonly D[]) => fc.constantFrom(...names)
const after = fc.nat({ max: 6 })
const events = fc.integer({ min: 1, max: 4 })
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: of('put'), id, value, expires: fc.boolean() }) },
    { weight: 2, arbitrary: fc.record({ do: of('delete'), id }) },
    { weight: 3, arbitrary: fc.record({ do: of('answer'), id, after }) },
    { weight: 4, arbitrary: fc.record({ do: of('tell', 'tell again'), events }) },
    { weight: 2, arbitrary: fc.record({ do: of('list'), after }) },
    { weight: 1, arbitrary: fc.record({ do: of('restore'), ids: fc.uniqueArray(id, { maxLength: 3 }) }) },
  ),
  { maxLength: 40, size: 'max' },
)

/** Lets all of it happen, and at last all that was to come has come. */
function followed(history: readonly Step[]): FollowedStore {
  const store = new FollowedStore()
  let coming: { readonly at: number; readonly come: () => void }[] = []
  for (const [index, step] of history.entries()) {
    for (const { at, come } of coming) if (at === index) come()
    coming = coming.filter(({ at }) => at > index)
    if (step.do === 'answer') coming.push({ at: index + 1 + step.after, come: store.answer(step.id) })
    else if (step.do === 'list') coming.push({ at: index + 1 + step.after, come: store.list() })
    else happen(store, step)
    store.assertNoneGoesBack()
  }
  for (const { come } of coming) come()
  store.tell(Number.POSITIVE_INFINITY)
  store.assertNoneGoesBack()
  return store
}

function happen(store: FollowedStore, step: Exclude<Step, { readonly do: 'answer' | 'list' }>): void {
  if (step.do === 'put') store.put(step.id, step.value, step.expires)
  else if (step.do === 'delete') store.delete(step.id)
  else if (step.do === 'restore') store.restore(step.ids)
  else if (step.do === 'tell') store.tell(step.events)
  else store.tellAgain(step.events)
}

function contentOf(mirror: LeaseMirror) {
  const { leases, unreadable } = mirror.snapshot()
  const byId = (a: { readonly id: string }, b: { readonly id: string }) => (a.id < b.id ? -1 : 1)
  return {
    leases: [...leases.values()].sort(byId),
    unreadable: [...unreadable].sort(byId),
    versions: [...leases.keys(), ...unreadable.map((one) => one.id)].sort().map((each) => mirror.entry(each)?.version),
    size: mirror.size,
  }
}

describe('LeaseMirror properties', () => {
  it('goes forward only, and comes to what decoding the store from scratch gives, whatever it was told', () => {
    fc.assert(
      fc.property(steps, (history) => {
        const store = followed(history)
        assert.deepEqual(contentOf(store.mirror), contentOf(store.fresh()))
      }),
      { numRuns: repeat(300, 20_000) },
    )
  })
})
