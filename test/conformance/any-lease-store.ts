import assert from 'node:assert/strict'
import { setMaxListeners } from 'node:events'
import type { Family } from '../../lib/address.ts'
import { parseNetworkConfig } from '../../subnet/network-config.ts'
import type { Lease, LeaseAttrs, LeaseSnapshot, LeaseStore } from '../../subnet/types.ts'
import { until } from '../until.ts'
import { attrs, snapshotWhere } from './lease-store.ts'

/** Stores of several nodes on one world, and a hand that changes entries behind their back. */
export interface AnyLeaseWorld {
  /** Of the node `n`, from 1 on, as a process of its own; running until `close`. */
  store(n: number): LeaseStore
  /** Writes another backend, `host-gw`, over what the node `n` says. */
  spoil(n: number, lease: Lease): Promise<void>
  /** Two entries that cannot be read as leases, with these ids. */
  clutter(): Promise<readonly string[]>
  close(): Promise<void>
}

const network = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}', 'test')
const dual = parseNetworkConfig(
  '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}',
  'test',
)
const want = (n: number, address = `192.168.64.${n}`): LeaseAttrs => attrs(`id${n}`, address)

/** What any lease store promises, whether it chooses subnets, as in etcd, or is given them, as in Kubernetes. */
export function describeAnyLeaseStore(name: string, open: () => Promise<AnyLeaseWorld>): void {
  describe(`any lease store: ${name}`, function () {
    this.timeout(30_000)
    let world: AnyLeaseWorld
    let stop: AbortController
    beforeEach(async () => {
      stop = new AbortController()
      setMaxListeners(0, stop.signal)
      world = await open()
    })
    afterEach(async () => {
      stop.abort()
      await world.close()
    })

    const acquire = (store: LeaseStore, attrs: LeaseAttrs) =>
      store.acquire(attrs, { network, previous: new Map() }, stop.signal)
    const sees = (store: LeaseStore, good: (snapshot: LeaseSnapshot) => boolean) => snapshotWhere(store, good, 10_000)

    it('shows a lease to others, and to who holds it, as it was acquired', async () => {
      const [holder, other] = [world.store(1), world.store(2)]
      const own = await acquire(holder, want(1))
      for (const store of [holder, other]) {
        const { leases } = await sees(store, ({ leases }) => leases.has(own.lease.id))
        assert.deepEqual(leases.get(own.lease.id), own.lease)
      }
      assert.deepEqual(holder.entry(own.lease.id)?.lease, own.lease)
      assert.equal(own.lease.node, 'id1')
      assert.equal(own.lease.families.get(4)?.publicIp, '192.168.64.1')
    })

    it('gives several that come at once a lease each', async () => {
      const all = await Promise.all([1, 2, 3].map((n) => acquire(world.store(n), want(n))))
      assert.equal(new Set(all.map(({ lease }) => lease.families.get(4)?.subnet)).size, 3)
      await sees(world.store(1), ({ leases }) => leases.size === 3)
    })

    it('gives a process that starts again the lease that it had', async () => {
      const first = await acquire(world.store(1), want(1))
      const again = await acquire(world.store(1), want(1, '192.168.64.9'))
      assert.deepEqual([again.lease.id, again.lease.age], [first.lease.id, first.lease.age])
      assert.equal(again.lease.families.get(4)?.publicIp, '192.168.64.9')
    })

    it('shows what is published', async () => {
      const [holder, other] = [world.store(1), world.store(2)]
      const own = await acquire(holder, want(1))
      const accepts = [want(1).primary, { backend: 'host-gw', data: new Map<Family, unknown>() }]
      const tunnelIps = want(1).publicIps
      const next = { ...want(1, '203.0.113.1'), accepts, sends: accepts.slice(1), tunnelIps }
      const changed = await holder.publish(own, next, { network }, stop.signal)
      assert.equal(changed.lease.id, own.lease.id)
      const { leases } = await sees(other, (s) => s.leases.get(own.lease.id)?.accepts.length === 2)
      const { tunnelIp, publicIp } = leases.get(own.lease.id)?.families.get(4) ?? {}
      assert.deepEqual([publicIp, tunnelIp], ['203.0.113.1', '192.168.64.1'])
      const back = await holder.publish(changed, want(1), { network }, stop.signal)
      const { leases: later } = await sees(other, (s) => s.leases.get(own.lease.id)?.accepts.length === 0)
      assert.deepEqual(later.get(own.lease.id), back.lease)
    })

    it('tells who holds a lease that another has written over it, and writes it again', async () => {
      const [holder, other] = [world.store(1), world.store(2)]
      const own = await acquire(holder, want(1))
      await sees(holder, ({ leases }) => leases.has(own.lease.id))
      await world.spoil(1, own.lease)
      const isSpoilt = ({ leases }: LeaseSnapshot) => leases.get(own.lease.id)?.primary.backend === 'host-gw'
      await sees(holder, isSpoilt)
      await until(5_000, 'its entry is another', async () => {
        const entry = holder.entry(own.lease.id)
        assert.notEqual(entry?.version, own.version)
        assert.notEqual(entry?.lease?.primary.backend, 'vxlan')
      })
      await sees(other, isSpoilt)
      const again = await holder.publish(own, want(1), { network }, stop.signal)
      assert.equal(again.lease.primary.backend, 'vxlan')
      await sees(other, ({ leases }) => leases.get(own.lease.id)?.primary.backend === 'vxlan')
    })

    it('has leases of two families', async () => {
      const both = attrs('id1', '192.168.64.1', 'fd00::1')
      const own = await world.store(1).acquire(both, { network: dual, previous: new Map() }, stop.signal)
      assert.deepEqual([...own.lease.families.keys()], [4, 6])
      const { leases } = await sees(world.store(2), ({ leases }) => leases.has(own.lease.id))
      assert.deepEqual(leases.get(own.lease.id), own.lease)
    })

    it('shows good leases among what is none', async () => {
      const ids = await world.clutter()
      const store = world.store(1)
      const own = await acquire(store, want(1))
      const { leases, unreadable } = await sees(store, (s) => s.leases.size === 1 && s.unreadable.length === ids.length)
      assert.deepEqual([...leases.keys()], [own.lease.id])
      assert.deepEqual(unreadable.map(({ id }) => id).sort(), [...ids].sort())
    })
  })
}
