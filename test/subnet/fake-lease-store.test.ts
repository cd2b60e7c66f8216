import { systemClock } from '../../lib/clock.ts'
import { describeLeaseStore } from '../conformance/lease-store.ts'
import { FakeLeaseStore, FakeLeaseTable } from '../fakes/lease-store.ts'

describeLeaseStore('fake', async () => {
  const table = new FakeLeaseTable({ clock: systemClock })
  return {
    store: () => new FakeLeaseStore({ table, random: Math.random }, { claimMs: 500 }),
    put: async (id, value, { reserved }) => table.put(id, value, !reserved),
    delete: async (id) => table.delete(id),
    value: async (id) => table.value(id),
    expires: async (id) => table.snapshot().leases.get(id)?.reserved === false,
    close: async () => {},
  }
})
