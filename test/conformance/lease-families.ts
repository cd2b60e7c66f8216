import assert from 'node:assert/strict'
import { setMaxListeners } from 'node:events'
import type { Family } from '../../lib/address.ts'
import { parseNetworkConfig } from '../../subnet/network-config.ts'
import type { LeaseSnapshot, LeaseStore, OwnLease } from '../../subnet/types.ts'
import { attrs, hints, type LeaseWorld, network, snapshotWhere } from './lease-store.ts'

const dualWith = (more: object = {}) =>
  parseNetworkConfig(
    JSON.stringify({ Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48', ...more }),
    'test',
  )
const dual = dualWith()
const v4 = (n: number) => `192.168.64.${n}`
const v6 = (n: number) => `fd00:64::${n}`
const single = (n: number) => attrs(`n${n}`, v4(n))
const both = (n: number) => attrs(`n${n}`, v4(n), v6(n))
/** Longer than the network, so that there are two. */
const two = dualWith({ IPv6SubnetMin: 'fc00:0:0:1::', IPv6SubnetMax: 'fc00:0:0:2::' })
const one = dualWith({ IPv6SubnetMin: 'fc00:0:0:1::', IPv6SubnetMax: 'fc00:0:0:1::' })

/** What every store that chooses subnets promises of a lease whose families change. */
export function describeLeaseFamilies(name: string, open: () => Promise<LeaseWorld>): void {
  describe(`families of a lease: ${name}`, function () {
    this.timeout(60_000)
    let world: LeaseWorld
    const { signal } = new AbortController()
    setMaxListeners(0, signal)
    beforeEach(async () => {
      world = await open()
    })
    afterEach(async () => {
      await world.close()
    })

    /** Every snapshot that a store shows until `good`. */
    const watched = async (store: LeaseStore, good: (snapshot: LeaseSnapshot) => boolean) => {
      const seen: (readonly string[])[] = []
      await snapshotWhere(store, (snapshot) => {
        seen.push([...snapshot.leases.keys()])
        return good(snapshot)
      })
      return seen
    }

    it('gains a subnet and loses it again, in one step that everybody sees as one', async () => {
      const store = world.store()
      const first = await store.acquire(single(1), hints, signal)
      const other = world.store()
      await snapshotWhere(other, ({ leases }) => leases.has(first.lease.id))
      const seen = watched(other, ({ leases }) => [...leases.keys()].some((id) => id.includes('&')))
      const gained = await store.publish(first, both(1), { network: dual }, signal)
      assert.match(gained.lease.id, new RegExp(`^${first.lease.id.replaceAll('.', '\\.')}&fc00:0:0:[0-9a-f]+::-64$`))
      assert.deepEqual([gained.lease.node, gained.lease.families.get(6)?.publicIp], ['n1', v6(1)])
      assert.equal(await world.value(first.lease.id), undefined)
      assert.equal(await world.expires(gained.lease.id), true)
      for (const ids of await seen) assert.equal(ids.length, 1, ids.join())
      const renewed = await store.publish(gained, both(1), { network: dual }, signal)
      assert.deepEqual([renewed.lease.id, renewed.lacks], [gained.lease.id, undefined])
      const left = await store.publish(renewed, single(1), { network }, signal)
      assert.deepEqual([left.lease.id, [...left.lease.families.keys()]], [first.lease.id, [4 as Family]])
      assert.equal(await world.value(gained.lease.id), undefined)
      assert.equal(
        await world.value(left.lease.id),
        `{"PublicIP":"${v4(1)}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"},"NodeID":"n1","Since":"${Number(first.lease.age)}"}`,
      )
    })

    it('leave it the age that it had, also where it is written again, and by the next run', async () => {
      const store = world.store()
      const first = await store.acquire(single(1), hints, signal)
      const { age } = first.lease
      const younger = await world.store().acquire(single(2), hints, signal)
      await snapshotWhere(store, ({ leases }) => leases.has(younger.lease.id))
      let own = await store.publish(first, both(1), { network: dual }, signal)
      for (const write of [
        async () => await store.publish(own, both(1), { network: dual }, signal),
        async () => await store.publish(own, single(1), { network }, signal),
        async () => await store.publish(own, both(1), { network: dual }, signal),
        async () => await world.store().acquire(both(1), { ...hints, network: dual }, signal),
        async () => await world.store().acquire(single(1), hints, signal),
      ]) {
        assert.equal(own.lease.age, age)
        own = await write()
      }
      assert.equal(own.lease.age, age)
      assert.ok(own.lease.age < younger.lease.age)
      // Who deletes it ends it.
      await world.delete(own.lease.id)
      await snapshotWhere(store, ({ leases }) => !leases.has(own.lease.id))
      const again = await store.publish(own, single(1), { network }, signal)
      assert.deepEqual([again.lease.id, again.lease.age > younger.lease.age], [own.lease.id, true])
    })

    it('goes on at the next start, where the last run did not come to it', async () => {
      const first = await world.store().acquire(single(1), hints, signal)
      const gained = await world.store().acquire(both(1), { ...hints, network: dual }, signal)
      assert.equal(gained.lease.id.split('&')[0], first.lease.id)
      const left = await world.store().acquire(single(1), hints, signal)
      assert.equal(left.lease.id, first.lease.id)
    })

    it('of flannel keep their subnet, too', async () => {
      const value = `{"PublicIP":"${v4(1)}","PublicIPv6":null,"BackendType":"vxlan"}`
      await world.put('10.5.52.0-24', value, { reserved: false })
      const own = await world.store().acquire(both(1), { ...hints, network: dual }, signal)
      assert.match(own.lease.id, /^10\.5\.52\.0-24&fc00/)
      assert.equal(await world.value('10.5.52.0-24'), undefined)
    })

    it('give two that gain one at once different subnets', async () => {
      for (let round = 0; round < 5; round += 1) {
        const numbers = [2 * round + 1, 2 * round + 2]
        const stores = numbers.map(() => world.store())
        const firsts = await Promise.all(
          stores.map((store, at) => store.acquire(single(numbers[at] ?? 0), hints, signal)),
        )
        const gained = await Promise.all(
          firsts.map((own, at) => stores[at]?.publish(own, both(numbers[at] ?? 0), { network: two }, signal)),
        )
        const subnets = new Set(gained.map((own) => own?.lease.families.get(6)?.subnet))
        assert.deepEqual([...subnets].sort(), ['fc00:0:0:1::/64', 'fc00:0:0:2::/64'])
        for (const own of gained) await world.delete(own?.lease.id ?? '')
      }
    })

    it('stay as they are without a free subnet, with the reason, and nothing is written until there is one', async () => {
      const [store, other] = [world.store(), world.store()]
      const holder = await other.acquire(both(2), { ...hints, network: one }, signal)
      const first = await store.acquire(single(1), hints, signal)
      await snapshotWhere(store, ({ leases }) => leases.has(holder.lease.id))
      const short = await store.publish(first, both(1), { network: one }, signal)
      assert.equal(short.lease.id, first.lease.id)
      assert.match(short.lacks?.text ?? '', /no IPv6 subnet: no free subnet is left between fc00:0:0:1:: and/)
      const again = await store.publish(short, both(1), { network: one, retryOf: short }, signal)
      assert.equal(again, short)
      assert.equal((await world.store().acquire(both(1), { ...hints, network: one }, signal)).lease.id, first.lease.id)
      await world.delete(holder.lease.id)
      await snapshotWhere(store, ({ leases }) => !leases.has(holder.lease.id))
      const current = { ...short, version: store.entry(short.lease.id)?.version ?? '' }
      const had = await store.publish(current, both(1), { network: one, retryOf: current }, signal)
      assert.deepEqual([had.lease.families.get(6)?.subnet, had.lacks], ['fc00:0:0:1::/64', undefined])
    })

    for (const starts of [false, true])
      it(`stay${starts ? ' at a start' : ''} where somebody else stands at the key that would be left, with the reason, until he goes`, async () => {
        const store = world.store()
        const own = await store.acquire(both(1), { ...hints, network: dual }, signal)
        const left = own.lease.id.split('&')[0] ?? ''
        await world.put(left, `{"PublicIP":"${v4(9)}","PublicIPv6":null,"BackendType":"vxlan"}`, { reserved: false })
        await snapshotWhere(store, ({ leases }) => leases.has(left))
        const kept = starts
          ? await store.acquire(single(1), hints, signal)
          : await store.publish(own, single(1), { network }, signal)
        assert.deepEqual([kept.lease.id, kept.lease.families.get(6)], [own.lease.id, own.lease.families.get(6)])
        assert.match(kept.lacks?.text ?? '', /cannot change: the subnet of lease \S+ is now held by another node/)
        assert.equal(await store.publish(kept, single(1), { network, retryOf: kept }, signal), kept)
        await world.delete(left)
        await snapshotWhere(store, ({ leases }) => !leases.has(left))
        const gone = await store.publish(kept, single(1), { network, retryOf: kept }, signal)
        assert.deepEqual([gone.lease.id, gone.lacks], [left, undefined])
      })

    describe('that a run has got at the same moment as another node, and was not told', () => {
      let first: OwnLease
      let other: OwnLease
      let store: LeaseStore
      let moved: string

      beforeEach(async () => {
        store = world.store()
        first = await store.acquire(single(1), hints, signal)
        other = await world.store().acquire(both(2), { ...hints, network: dual }, signal)
        const second = other.lease.id.split('&')[1]
        moved = `${first.lease.id}&${second}`
        const value = await world.value(first.lease.id)
        await world.put(moved, (value ?? '').replace('"PublicIPv6":null', `"PublicIPv6":"${v6(1)}"`), {
          reserved: false,
        })
        await world.delete(first.lease.id)
        await snapshotWhere(store, ({ leases }) => leases.has(moved) && !leases.has(first.lease.id))
      })

      const known = (families: readonly Family[]) => {
        const [v4, v6] = [first.lease.families.get(4)?.subnet, other.lease.families.get(6)?.subnet]
        assert.ok(v4 && v6)
        return new Map([[4, v4] as const, [6, v6] as const].filter(([family]) => families.includes(family)))
      }

      it('is given up for another one, where the answer was lost', async () => {
        const own = await store.publish(first, both(1), { network: dual }, signal)
        assert.equal(own.lease.families.get(4)?.subnet, first.lease.families.get(4)?.subnet)
        assert.notEqual(own.lease.families.get(6)?.subnet, other.lease.families.get(6)?.subnet)
        assert.equal(await world.value(moved), undefined)
      })

      it('is given up for another one by the next run, where the last one was killed', async () => {
        const asked = { ...hints, network: dual, previous: known([4]) }
        const own = await world.store().acquire(both(1), asked, signal)
        assert.equal(own.lease.families.get(4)?.subnet, first.lease.families.get(4)?.subnet)
        assert.notEqual(own.lease.families.get(6)?.subnet, other.lease.families.get(6)?.subnet)
        assert.equal(await world.value(moved), undefined)
      })

      it('stays where it was used already', async () => {
        const asked = { ...hints, network: dual, previous: known([4, 6]) }
        assert.equal((await world.store().acquire(both(1), asked, signal)).lease.id, moved)
      })

      it('stays where the other one was not the first', async () => {
        await world.delete(other.lease.id)
        const value = `{"PublicIP":"${v4(2)}","PublicIPv6":"${v6(2)}","BackendType":"vxlan","NodeID":"n2"}`
        await world.put(other.lease.id, value, { reserved: false })
        await snapshotWhere(store, ({ leases }) => (leases.get(other.lease.id)?.age ?? '') > other.lease.age)
        assert.equal((await store.publish(first, both(1), { network: dual }, signal)).lease.id, moved)
      })
    })
  })
}
