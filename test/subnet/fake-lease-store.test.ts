import { systemClock } from '../../lib/clock.ts'
import { describeAnyLeaseStore } from '../conformance/any-lease-store.ts'
import { describeLeaseFamilies } from '../conformance/lease-families.ts'
import { anyWorld, describeLeaseStore, type LeaseWorld } from '../conformance/lease-store.ts'
import { type Connection, FakeLeaseStore } from '../fakes/lease-store.ts'
import { FakeLeaseTable } from '../fakes/lease-table.ts'

const slow: Connection = { lagMs: 10, delayMs: 2, cut: false, isUnlisted: false, failOneOf: 7 }

for (const [what, connection] of [
  ['fake', undefined],
  ['fake over a slow connection that loses answers', slow],
] as const) {
  const open = async (): Promise<LeaseWorld> => {
    const table = new FakeLeaseTable({ clock: systemClock })
    const end = new AbortController()
    return {
      store: () => {
        const store = new FakeLeaseStore(
          { table, random: Math.random },
          { claimMs: 500, ...(connection && { connection }) },
        )
        void store.run(end.signal)
        return store
      },
      put: async (id, value, { reserved }) => table.put(id, value, !reserved),
      delete: async (id) => table.delete(id),
      value: async (id) => table.value(id),
      expires: async (id) => table.snapshot().leases.get(id)?.reserved === false,
      close: async () => end.abort(),
    }
  }
  describeLeaseStore(what, open)
  describeLeaseFamilies(what, open)
  describeAnyLeaseStore(what, async () => anyWorld(await open()))
}
