import assert from 'node:assert/strict'
import { setMaxListeners } from 'node:events'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import { parseNetworkConfig } from '../../subnet/network-config.ts'
import {
  type AcquireHints,
  type LeaseAttrs,
  type LeaseConflict,
  LeaseConflictError,
  type LeaseSnapshot,
  type LeaseStore,
  type LeaseWait,
  type OwnLease,
} from '../../subnet/types.ts'
import { until } from '../until.ts'
import type { AnyLeaseWorld } from './any-lease-store.ts'

/** A store under test: stores of several nodes on it, and a hand that changes entries behind their back. */
export interface LeaseWorld {
  /** Running until `close`; a holder may object for half a second at least. */
  store(): LeaseStore
  put(id: string, value: string, options: { reserved: boolean }): Promise<void>
  delete(id: string): Promise<void>
  /** Undefined: no such entry. */
  value(id: string): Promise<string | undefined>
  /** Whether the entry would run out by itself. */
  expires(id: string): Promise<boolean>
  close(): Promise<void>
}

export const network = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}', 'test')
const dual = parseNetworkConfig(
  '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}',
  'test',
)
const v6only = parseNetworkConfig(
  '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}',
  'test',
)
const tiny = parseNetworkConfig('{"Network":"10.5.0.0/28","Backend":{"Type":"vxlan"}}', 'test')

export function attrs(node: string, ...publicIps: string[]): LeaseAttrs {
  return {
    node,
    primary: { backend: 'vxlan', data: new Map<Family, unknown>([[4, { VNI: 1, VtepMAC: '02:00:00:00:00:01' }]]) },
    accepts: [],
    publicIps: new Map(publicIps.map((ip) => [ip.includes(':') ? 6 : 4, ip as IpAddr])),
    tunnelIps: new Map(),
  }
}

export const hints: AcquireHints = { network, previous: new Map() }
const previous = (...subnets: string[]) =>
  new Map(subnets.map((s) => [s.includes(':') ? 6 : 4, s as Cidr] as [Family, Cidr]))
const flannels = (publicIp: string) =>
  `{"PublicIP":"${publicIp}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}`
const ours = (node: string, publicIp: string) => `{"PublicIP":"${publicIp}","PublicIPv6":null,"NodeID":"${node}"}`

/** The first snapshot that satisfies the question; fails after `ms`. */
export async function snapshotWhere(
  store: LeaseStore,
  good: (snapshot: LeaseSnapshot) => boolean,
  ms = 30_000,
): Promise<LeaseSnapshot> {
  const signal = AbortSignal.timeout(ms)
  let last: LeaseSnapshot | undefined
  for await (const snapshot of store.watch(signal)) {
    last = snapshot
    if (good(snapshot)) return snapshot
  }
  assert.fail(
    `no such snapshot within ${ms} ms; the last had ${JSON.stringify([...(last?.leases.keys() ?? [])].slice(0, 10))}`,
  )
}

export function conflict(type: LeaseConflict['type'], about: Partial<Record<string, unknown>> = {}) {
  return (error: unknown) => {
    assert.ok(error instanceof LeaseConflictError, String(error))
    assert.equal(error.conflict.type, type)
    for (const [key, value] of Object.entries(about))
      assert.equal((error.conflict as Record<string, unknown>)[key], value)
    return true
  }
}

const sees = (store: LeaseStore, { lease }: OwnLease) => snapshotWhere(store, ({ leases }) => leases.has(lease.id))
const taken = (node: string, id: string) => conflict('public-address-taken', { node, id, publicIp: '192.168.64.1' })

/** The same world for what any store promises. */
export function anyWorld(world: LeaseWorld): AnyLeaseWorld {
  return {
    store: () => world.store(),
    spoil: async (n, { id }) => {
      const value = `{"PublicIP":"192.168.64.${n}","PublicIPv6":null,"BackendType":"host-gw","NodeID":"id${n}"}`
      await world.put(id, value, { reserved: false })
    },
    clutter: async () => {
      await world.put('notes', 'hello', { reserved: false })
      await world.put('10.5.200.0-24', '{"PublicIP":', { reserved: false })
      return ['notes', '10.5.200.0-24']
    },
    close: () => world.close(),
  }
}

/** What every lease store that chooses subnets promises; run on the fake and on the real one, so that the fake cannot lie. */
export function describeLeaseStore(name: string, open: () => Promise<LeaseWorld>): void {
  describe(`lease store: ${name}`, function () {
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

    it('leases a free subnet, writes it as flannel does and shows it', async () => {
      const store = world.store()
      const before = Date.now()
      const own = await store.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      assert.match(own.lease.id, /^10\.5\.([1-9]\d?|100)\.0-24$/)
      assert.ok(Math.abs((own.expiresAt ?? 0) - before - 86_400_000) < 10_000)
      assert.equal(
        await world.value(own.lease.id),
        '{"PublicIP":"192.168.64.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"},"NodeID":"n1"}',
      )
      assert.equal(await world.expires(own.lease.id), true)
      const { leases } = await snapshotWhere(store, (snapshot) => snapshot.leases.size === 1)
      assert.deepEqual(leases.get(own.lease.id), own.lease)
    })

    it('finds the lease of a NodeID again whatever its address, and keeps its age', async () => {
      const store = world.store()
      const first = await store.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      const again = await world.store().acquire(attrs('n1', '192.168.64.9'), hints, signal)
      assert.equal(again.lease.id, first.lease.id)
      assert.equal(again.lease.age, first.lease.age)
      assert.equal(again.lease.families.get(4)?.publicIp, '192.168.64.9')
      assert.notEqual(again.version, first.version)
    })

    it('takes over the lease that flannel made for the same address', async () => {
      await world.put('10.5.52.0-24', flannels('192.168.64.1'), { reserved: false })
      const own = await world.store().acquire(attrs('n1', '192.168.64.1'), hints, signal)
      assert.equal(own.lease.id, '10.5.52.0-24')
      assert.equal(own.lease.node, 'n1')
    })

    it('claims a reservation, which stays one over renewals', async () => {
      await world.put('10.5.77.0-24', '{"PublicIP":"192.168.64.1"}', { reserved: true })
      const store = world.store()
      const own = await store.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      assert.deepEqual([own.lease.id, own.lease.reserved, own.expiresAt], ['10.5.77.0-24', true, undefined])
      const renewed = await store.publish(own, attrs('n1', '192.168.64.1'), { network }, signal)
      assert.equal(renewed.expiresAt, undefined)
      assert.equal(await world.expires('10.5.77.0-24'), false)
    })

    it('leaves a reservation for another address alone', async () => {
      await world.put('10.5.0.4-30', '{"PublicIP":"192.168.64.7"}', { reserved: true })
      await world.put('10.5.0.8-30', '{"PublicIP":"192.168.64.8"}', { reserved: true })
      const own = await world.store().acquire(attrs('n1', '192.168.64.1'), { ...hints, network: tiny }, signal)
      assert.equal(own.lease.id, '10.5.0.12-30')
    })

    it('gets the lease of another NodeID with its address after a silence, and nothing else of it is changed before', async () => {
      const value = `${ours('old', '192.168.64.1').slice(0, -1)},"Later":[1.0,{"b":"<&>"}]}`
      await world.put('10.5.52.0-24', value, { reserved: false })
      const waits: (string | undefined)[] = []
      const asking = { ...hints, waiting: (wait?: LeaseWait) => void waits.push(wait?.text) }
      const claiming = world.store().acquire(attrs('n1', '192.168.64.1'), asking, signal)
      await until(5_000, 'it is claimed', async () => {
        const { Claim, ...rest } = JSON.parse((await world.value('10.5.52.0-24')) ?? '{}')
        assert.equal(Claim?.NodeID, 'n1')
        assert.deepEqual(rest, JSON.parse(value))
        assert.equal(await world.expires('10.5.52.0-24'), true)
      })
      assert.match(waits[0] ?? '', /10\.5\.52\.0-24 .*192\.168\.64\.1 .*old.*n1/)
      const own = await claiming
      assert.deepEqual([own.lease.id, own.lease.node, own.lease.claim], ['10.5.52.0-24', 'n1', undefined])
      assert.equal(waits.at(-1), undefined)
    })

    it('is refused by a holder that writes, and does not write again at the next tries', async () => {
      const [holder, second] = [world.store(), world.store()]
      const own = await holder.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      await sees(second, own)
      const claiming = second.acquire(attrs('n2', '192.168.64.1'), hints, signal)
      const refused = assert.rejects(claiming, taken('n1', own.lease.id))
      await snapshotWhere(holder, ({ leases }) => leases.get(own.lease.id)?.claim?.node === 'n2')
      const again = await holder.publish(own, attrs('n1', '192.168.64.1'), { network }, signal)
      assert.deepEqual([again.lease.refused, again.lease.claim, again.lease.age], [['n2'], undefined, own.lease.age])
      await refused
      const value = await world.value(own.lease.id)
      for (let start = 0; start < 5; start += 1) {
        const next = world.store().acquire(attrs('n2', '192.168.64.1'), hints, signal)
        await assert.rejects(next, taken('n1', own.lease.id))
      }
      assert.equal(holder.entry(own.lease.id)?.version, again.version)
      assert.equal(await world.value(own.lease.id), value)
      const moved = await holder.publish(again, attrs('n1', '192.168.64.7'), { network }, signal)
      assert.equal(moved.lease.refused, undefined)
    })

    /** What a second host with the same address meets: the lease of one that answers. */
    const claimAndHold = async (node: string, during: AbortSignal) => {
      const store = world.store()
      const want = attrs(node, '192.168.64.1')
      let own = await store.acquire(want, hints, signal)
      const answering = async () => {
        for await (const _ of store.watch(during)) {
          if (store.entry(own.lease.id)?.lease?.claim !== undefined)
            own = await store.publish(own, want, { network }, signal)
        }
      }
      answering().catch(() => {})
      return own.lease
    }

    for (const [title, before] of [
      ['claim at once', '10.5.52.0-24'],
      ['start at once', undefined],
    ] as const) {
      it(`is got by one of two with one address that ${title}; the other names it`, async () => {
        if (before !== undefined) await world.put(before, ours('old', '192.168.64.1'), { reserved: false })
        const over = new AbortController()
        const ends = await Promise.allSettled([claimAndHold('n1', over.signal), claimAndHold('n2', over.signal)])
        over.abort()
        const [winner] = ends.filter((end) => end.status === 'fulfilled')
        const [loser] = ends.filter((end) => end.status === 'rejected')
        assert.ok(winner !== undefined && loser !== undefined)
        assert.ok(taken(winner.value.node, winner.value.id)(loser.reason))
        const store = world.store()
        const { leases } = await snapshotWhere(store, ({ revision }) => revision !== '0')
        assert.deepEqual(
          [...leases.values()].map(({ node }) => node),
          [winner.value.node],
        )
      })
    }

    it('replaces a claim whose host has died', async () => {
      const claimed = `${ours('old', '192.168.64.1').slice(0, -1)},"Claim":{"NodeID":"dead","Nonce":"1"}}`
      await world.put('10.5.52.0-24', claimed, { reserved: false })
      const store = world.store()
      const began = Date.now()
      const waits: (string | undefined)[] = []
      const asking = { ...hints, waiting: (wait?: LeaseWait) => void waits.push(wait?.text) }
      const claiming = store.acquire(attrs('n1', '192.168.64.1'), asking, signal)
      await snapshotWhere(store, ({ leases }) => leases.get('10.5.52.0-24')?.claim?.node === 'n1')
      // The other one would have been done by then.
      assert.ok(Date.now() - began >= 500, `after ${Date.now() - began} ms`)
      const own = await claiming
      assert.deepEqual([own.lease.id, own.lease.node], ['10.5.52.0-24', 'n1'])
      assert.match(
        waits[0] ?? '',
        /^lease 10\.5\.52\.0-24 of node old .* is claimed by node dead, too; .* within [\d.]+ seconds$/,
      )
      assert.match(waits[1] ?? '', /belongs to node old, this node is n1; .* within [\d.]+ seconds$/)
      assert.equal(waits.at(-1), undefined)
    })

    for (const [what, answer, who] of [
      ['any write of the holder', ours('old', '192.168.64.1'), 'old'],
      [
        'the claim of a third host over its own',
        `${ours('old', '192.168.64.1').slice(0, -1)},"Claim":{"NodeID":"third","Nonce":"1"}}`,
        'third',
      ],
    ] as const) {
      it(`takes ${what} for an objection`, async () => {
        const id = '10.5.52.0-24'
        await world.put(id, ours('old', '192.168.64.1'), { reserved: false })
        const store = world.store()
        const refused = assert.rejects(store.acquire(attrs('n1', '192.168.64.1'), hints, signal), taken(who, id))
        await snapshotWhere(store, ({ leases }) => leases.get(id)?.claim?.node === 'n1')
        await world.put(id, answer, { reserved: false })
        await refused
        assert.equal(await world.value(id), answer)
      })
    }

    it('keeps its own subnet and removes the lease of a silent node with its address', async () => {
      await world.put('10.5.52.0-24', ours('old', '192.168.64.1'), { reserved: false })
      await world.put('10.5.53.0-24', ours('n1', '192.168.64.9'), { reserved: false })
      const own = await world.store().acquire(attrs('n1', '192.168.64.1'), hints, signal)
      assert.equal(own.lease.id, '10.5.53.0-24')
      assert.equal(await world.value('10.5.52.0-24'), undefined)
    })

    it('does not take an address of another node that lives, while it runs', async () => {
      const [holder, second] = [world.store(), world.store()]
      const first = await holder.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      const own = await second.acquire(attrs('n2', '192.168.64.2'), hints, signal)
      const moving = assert.rejects(
        second.publish(own, attrs('n2', '192.168.64.1'), { network }, signal),
        taken('n1', first.lease.id),
      )
      await snapshotWhere(holder, ({ leases }) => leases.get(first.lease.id)?.claim?.node === 'n2')
      await holder.publish(first, attrs('n1', '192.168.64.1'), { network }, signal)
      await moving
      assert.match((await world.value(own.lease.id)) ?? '', /192\.168\.64\.2/)
    })

    it('yields to another process with its NodeID and address when it is told to', async () => {
      const [store, copy] = [world.store(), world.store()]
      const own = await store.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      await sees(copy, own)
      const other = await copy.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      assert.deepEqual([other.lease.id, other.over], [own.lease.id, 'same-node'])
      await assert.rejects(
        store.publish(own, attrs('n1', '192.168.64.1'), { network, yieldTo: new Set(['same-node']) }, signal),
        conflict('identity-shared', { publicIp: '192.168.64.1' }),
      )
      assert.equal((await store.publish(own, attrs('n1', '192.168.64.1'), { network }, signal)).over, 'same-node')
    })

    it('writes its NodeID again over a flannel, unless it is told to yield', async () => {
      const store = world.store()
      const own = await store.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      await world.put(own.lease.id, flannels('192.168.64.1'), { reserved: false })
      await assert.rejects(
        store.publish(own, attrs('n1', '192.168.64.1'), { network, yieldTo: new Set(['flannel']) }, signal),
        conflict('public-address-shared', { publicIp: '192.168.64.1' }),
      )
      const again = await store.publish(own, attrs('n1', '192.168.64.1'), { network }, signal)
      assert.deepEqual([again.lease.node, again.over], ['n1', 'flannel'])
    })

    it('deletes an own lease that does not fit, and wishes for the subnet of the last run', async () => {
      await world.put('10.5.52.0-25', flannels('192.168.64.1'), { reserved: false })
      const own = await world
        .store()
        .acquire(attrs('n1', '192.168.64.1'), { ...hints, previous: previous('10.5.72.0/24') }, signal)
      assert.equal(own.lease.id, '10.5.72.0-24')
      assert.equal(await world.value('10.5.52.0-25'), undefined)
    })

    it('does not take the subnet of the last run when another has it', async () => {
      await world.put('10.5.72.0-24', ours('n2', '192.168.64.2'), { reserved: false })
      const own = await world
        .store()
        .acquire(attrs('n1', '192.168.64.1'), { ...hints, previous: previous('10.5.72.0/24') }, signal)
      assert.notEqual(own.lease.id, '10.5.72.0-24')
    })

    it('gives two that join at once different subnets in each family', async () => {
      const own = await Promise.all(
        [1, 2].map((number) => {
          const hints = { network: dual, previous: previous(`10.5.${50 + number}.0/24`, 'fc00:0:0:7::/64') }
          const want = attrs(`n${number}`, `192.168.64.${number}`, `2001:db8::${number}`)
          return world.store().acquire(want, hints, signal)
        }),
      )
      const subnets = own.flatMap(({ lease }) => [...lease.families.values()].map(({ subnet }) => subnet))
      assert.equal(new Set(subnets).size, 4, subnets.join(' '))
    })

    it('gives many that join at once different subnets', async () => {
      const stores = Array.from({ length: 5 }, () => world.store())
      const joins = Array.from({ length: 50 }, (_unused, n) =>
        (stores[n % 5] as LeaseStore).acquire(attrs(`n${n}`, `192.168.64.${n + 1}`), hints, signal),
      )
      const ids = new Set((await Promise.all(joins)).map(({ lease }) => lease.id))
      assert.equal(ids.size, 50)
    }).timeout(90_000)

    it('names an exhausted pool and succeeds when a subnet is freed', async () => {
      for (const at of ['4', '8', '12'])
        await world.put(`10.5.0.${at}-30`, ours(`o${at}`, `192.168.65.${at}`), { reserved: false })
      const store = world.store()
      const few = { ...hints, network: tiny }
      await assert.rejects(store.acquire(attrs('n1', '192.168.64.1'), few, signal), conflict('pool-exhausted'))
      await world.delete('10.5.0.8-30')
      await snapshotWhere(store, ({ leases }) => leases.size === 2)
      assert.equal((await store.acquire(attrs('n1', '192.168.64.1'), few, signal)).lease.id, '10.5.0.8-30')
    })

    it('leases in the network that each call names', async () => {
      const store = world.store()
      const small = await store.acquire(attrs('n1', '192.168.64.1'), { ...hints, network: tiny }, signal)
      assert.match(small.lease.id, /^10\.5\.0\.\d+-30$/)
      await sees(store, small)
      const large = await store.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      assert.match(large.lease.id, /^10\.5\.\d+\.0-24$/)
      assert.equal(await world.value(small.lease.id), undefined)
    })

    it('writes and reads dual stack leases, both families free', async () => {
      await world.put('10.5.1.0-24&fc00:0:0:1::-64', ours('n2', '192.168.64.2'), { reserved: false })
      const store = world.store()
      const both = { network: dual, previous: previous('10.5.7.0/24', 'fc00:0:0:1::/64') }
      const own = await store.acquire(attrs('n1', '192.168.64.1', 'fd00::1'), both, signal)
      assert.match(own.lease.id, /^10\.5\.7\.0-24&fc00:0:0:[1-9a-f][0-9a-f]?::-64$/)
      assert.doesNotMatch(own.lease.id, /fc00:0:0:1::/)
      assert.equal(own.lease.families.get(6)?.publicIp, 'fd00::1')
    })

    it('tells nodes apart by their IPv6 address where there is no other', async () => {
      const [a, b] = [world.store(), world.store()]
      const alone = { ...hints, network: v6only }
      const first = await a.acquire(attrs('', 'fd00::1'), alone, signal)
      const second = await b.acquire(attrs('', 'fd00::2'), alone, signal)
      assert.match(first.lease.id, /^0\.0\.0\.0-0&fc00:/)
      assert.notEqual(first.lease.id, second.lease.id)
      assert.equal((await b.acquire(attrs('', 'fd00::1'), alone, signal)).lease.id, first.lease.id)
    })

    it('makes a deleted own lease again, the same subnet', async () => {
      const store = world.store()
      const own = await store.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      await world.delete(own.lease.id)
      await snapshotWhere(store, ({ leases }) => leases.size === 0)
      const again = await store.publish(own, attrs('n1', '192.168.64.1'), { network }, signal)
      assert.equal(again.lease.id, own.lease.id)
      assert.equal(await world.expires(own.lease.id), true)
    })

    it('never overwrites an own lease that has become another node\u2019s', async () => {
      const store = world.store()
      const own = await store.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      await world.put(own.lease.id, ours('n2', '192.168.64.2'), { reserved: false })
      await assert.rejects(
        store.publish(own, attrs('n1', '192.168.64.1'), { network }, signal),
        conflict('subnet-taken', { holder: 'n2' }),
      )
      const only = new Map([[4, own.lease.families.get(4)?.subnet as Cidr] as [Family, Cidr]])
      await snapshotWhere(store, ({ leases }) => leases.get(own.lease.id)?.node === 'n2')
      await assert.rejects(
        store.acquire(attrs('n1', '192.168.64.1'), { ...hints, only }, signal),
        conflict('subnet-taken', { holder: 'n2' }),
      )
      assert.equal(await world.value(own.lease.id), ours('n2', '192.168.64.2'))
    })

    it('never overwrites flannel\u2019s lease of another address', async () => {
      const store = world.store()
      const own = await store.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      await world.put(own.lease.id, flannels('192.168.64.2'), { reserved: false })
      await assert.rejects(
        store.publish(own, attrs('n1', '192.168.64.1'), { network }, signal),
        conflict('subnet-taken', { holder: '192.168.64.2' }),
      )
    })

    it('does not make a lost lease again where another one overlaps it', async () => {
      const store = world.store()
      const own = await store.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      await world.put(own.lease.id.replace('-24', '-25'), ours('n2', '192.168.64.2'), { reserved: false })
      await world.delete(own.lease.id)
      await snapshotWhere(store, ({ leases }) => leases.size === 1 && !leases.has(own.lease.id))
      await assert.rejects(
        store.publish(own, attrs('n1', '192.168.64.1'), { network }, signal),
        conflict('subnet-taken'),
      )
    })

    it('stops when its NodeID stands on its lease with another address', async () => {
      const store = world.store()
      const own = await store.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      await world.put(own.lease.id, ours('n1', '192.168.64.99'), { reserved: false })
      await assert.rejects(
        store.publish(own, attrs('n1', '192.168.64.1'), { network }, signal),
        conflict('identity-shared', { publicIp: '192.168.64.99' }),
      )
    })

    it('renews over a change that left the lease ours', async () => {
      const store = world.store()
      const own = await store.acquire(attrs('n1', '192.168.64.1'), hints, signal)
      await world.put(own.lease.id, ours('n1', '192.168.64.1'), { reserved: false })
      const renewed = await store.publish(own, attrs('n1', '192.168.64.1'), { network }, signal)
      assert.equal(renewed.lease.primary.backend, 'vxlan')
    })

    it('shows good leases among foreign keys and garbage', async () => {
      await world.put('10.5.9.0-24', ours('n9', '192.168.64.9'), { reserved: false })
      for (const [id, value] of [
        ['notes', 'hello'],
        ['10.5.10.0-24', '{"PublicIP":'],
        ['10.5.11.0-24', '{"PublicIP":[]}'],
        ['10.5.12.3-24', ours('n12', '192.168.64.12')],
      ] as const) {
        await world.put(id, value, { reserved: false })
      }
      const store = world.store()
      const { leases, unreadable } = await snapshotWhere(store, (s) => s.leases.size + s.unreadable.length === 5)
      assert.deepEqual([...leases.keys()], ['10.5.9.0-24'])
      assert.deepEqual(unreadable.map(({ id, reason }) => `${id} ${reason}`).sort(), [
        '10.5.10.0-24 unreadable',
        '10.5.11.0-24 unreadable',
        '10.5.12.3-24 unreadable',
        'notes foreign-key',
      ])
    })
  })
}
