import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import type { Reach } from '../../../backends/backend.ts'
import { hostGw } from '../../../backends/host-gw.ts'
import { ipip } from '../../../backends/ipip.ts'
import type { AnyBackend } from '../../../backends/registry.ts'
import { udp } from '../../../backends/udp/backend.ts'
import { vxlan } from '../../../backends/vxlan/backend.ts'
import type { Way } from '../../../backends/way.ts'
import { type NodePlan, Planner } from '../../../flanneld/node/planner.ts'
import type { PlannerInput } from '../../../flanneld/node/planner-input.ts'
import type { Cidr, Family, IpAddr } from '../../../lib/address.ts'
import { PersistentMap } from '../../../lib/persistent-map.ts'
import type { Lease } from '../../../subnet/types.ts'
import { facts, lease, MACS, network, vxlanPath, wayOf } from '../../backends/world.ts'
import { planNode } from './plan-node.ts'

const own = lease('10.5.1.0/24 192.168.64.11', vxlanPath(MACS.own))
const identity = new Map([[4, MACS.own]])
const GUARD = { mode: 'on', allow: [], instance: '' } as const

function basisOf(ways: readonly Way[]): PlannerInput {
  return {
    network: network(4),
    ways,
    own,
    peers: PersistentMap.from<Lease>([]),
    facts: { ...facts(), reach: PersistentMap.from<Reach>([]) },
    scope: { devices: new Set(['flannel.1']), networks: [] },
    complete: true,
    options: { subnetFile: '/run/flannel/subnet.env', ipMasq: false, blackholeRoute: false, guard: GUARD },
  }
}

function byId(leases: readonly Lease[]): PersistentMap<Lease> {
  return PersistentMap.from(new Map(leases.map((each) => [each.id, each])))
}

function addressOf(peer: Lease): string {
  return peer.families.get(4)?.publicIp ?? ''
}

const vxlan1 = wayOf(vxlan as AnyBackend, { identity })
const vxlan2 = wayOf(vxlan as AnyBackend, { config: { VNI: 2 }, identity })
const direct = wayOf(vxlan as AnyBackend, { config: { DirectRouting: true }, identity })
const onLink = wayOf(hostGw as AnyBackend)
const inIp = wayOf(ipip as AnyBackend, { config: { DirectRouting: true } })
const proxy = wayOf(udp as AnyBackend, { identity: { engine: 'userspace' } })
const WAYS: readonly (readonly Way[])[] = [
  [vxlan1],
  [direct],
  [onLink],
  [inIp],
  [proxy],
  [vxlan1, vxlan2],
  [vxlan2, vxlan1],
  [direct, onLink],
  [vxlan1, inIp],
  [onLink, proxy],
]

/**
 * Leases that nobody has judged, with few hardware addresses and with subnets of which several begin at one address: they exclude each
 * other in pairs and in chains. Each has an address of its own, some of them inside the network.
 */
const anyPool = fc
  .uniqueArray(
    fc.record({
      third: fc.integer({ min: 2, max: 5 }),
      length: fc.constantFrom(22, 23, 24, 24, 25),
      host: fc.integer({ min: 0, max: 20 }),
      inside: fc.constantFrom(false, false, true),
      mac: fc.integer({ min: 1, max: 4 }),
      age: fc.integer({ min: 1, max: 5 }),
      says: fc.constantFrom('vxlan', 'vxlan', 'vxlan', 'both', 'host-gw', 'ipip', ''),
      vni: fc.constantFrom(1, 1, 1, 0, 2),
    }),
    { minLength: 1, maxLength: 10, selector: ({ host }) => host },
  )
  .map((sketches) => {
    const leases = sketches.map(({ third, length, host, inside, mac, age, says, vni }) => {
      const path = vxlanPath(`02:00:00:00:01:0${mac}`, undefined, vni)
      const address = inside ? `10.5.200.${host}` : `192.168.64.${host}`
      const made = lease(`10.5.${third}.0/${length} ${address}`, { ...path, backend: says === 'both' ? 'vxlan' : says })
      const accepts = says === 'both' ? [path, { backend: 'host-gw', data: new Map<Family, unknown>() }] : []
      return { ...made, accepts, age: String(age) }
    })
    return [...byId(leases).values()]
  })

type Step = (before: PlannerInput) => PlannerInput

const anyReach = fc.record({
  onLink: fc.constantFrom('eth0', 'eth0', undefined, 'eth1', 'eth2'),
  answered: fc.boolean(),
})

/** One thing changes, and what does not is the same object, as from the levels that the planner is fed by. */
function anyStep(pool: readonly Lease[]): fc.Arbitrary<Step> {
  const all = byId(pool)
  const chosen = fc.subarray([...pool]).map((leases) => new Set(leases.map(({ id }) => id)))
  const leases = chosen.map(
    (ids): Step =>
      (before) => {
        const gone = [...before.peers.keys()].filter((id) => !ids.has(id))
        const come = [...ids].flatMap((id) => (before.peers.has(id) ? [] : [[id, all.get(id) as Lease] as const]))
        return withReach({ ...before, peers: PersistentMap.from(before.peers).patched(gone, come) }, REACHED)
      },
  )
  const one = fc.constantFrom(...pool).map(
    (lease): Step =>
      (before) => {
        const peers = PersistentMap.from(before.peers)
        const isThere = peers.has(lease.id)
        const next = isThere ? peers.patched([lease.id], []) : peers.patched([], [[lease.id, lease]])
        return withReach({ ...before, peers: next }, REACHED)
      },
  )
  const rewritten = fc.tuple(fc.constantFrom(...pool), fc.integer({ min: 1, max: 4 })).map(([lease, mac]): Step => {
    const primary = vxlanPath(`02:00:00:00:01:0${mac}`)
    return (before) => {
      if (!before.peers.has(lease.id)) return before
      return { ...before, peers: PersistentMap.from(before.peers).patched([], [[lease.id, { ...lease, primary }]]) }
    }
  })
  const reach = fc.array(anyReach, { minLength: 21, maxLength: 21 }).map(
    (told): Step =>
      (before) =>
        withReach(before, told),
  )
  const ways = fc.constantFrom(...WAYS).map(
    (list): Step =>
      (before) => ({ ...before, ways: list }),
  )
  const current = fc.tuple(chosen, fc.nat({ max: 1 })).map(
    ([ids, at]): Step =>
      (before) => {
        const way = before.ways[at]
        if (way === undefined) return before
        return { ...before, current: new Map([...ids].map((id) => [id, new Map([[4 as Family, way]])])) }
      },
  )
  const external = fc.constantFrom({ mtu: 1400 }, { mtu: 1500 }, { name: 'eth1' }, { name: 'eth0' })
  const uplink = external.map(
    (change): Step =>
      (before) => {
        return { ...before, facts: { ...before.facts, external: { ...before.facts.external, ...change } } }
      },
  )
  const link = fc.constantFrom(undefined, ['192.168.64.0/28' as Cidr]).map((prefixes): Step => {
    return ({ facts: { onLink: _before, ...rest }, ...before }) => {
      return { ...before, facts: { ...rest, ...(prefixes === undefined ? {} : { onLink: prefixes }) } }
    }
  })
  const addresses = fc.constantFrom('10.5.200.11', '192.168.64.12').map(
    (address): Step =>
      (before) => {
        return { ...before, facts: { ...before.facts, ownAddresses: new Set([address as IpAddr]) } }
      },
  )
  const strict = fc.boolean().map(
    (is): Step =>
      (before) => {
        return { ...before, facts: { ...before.facts, strictReversePath: is } }
      },
  )
  const guard = fc.constantFrom(undefined, GUARD).map(
    (wanted): Step =>
      (before) => {
        return { ...before, options: { ...before.options, guard: wanted } }
      },
  )
  const rest = fc.boolean().map(
    (is): Step =>
      (before) => {
        const borrowed = new Map(is ? [['net/ipv4/conf/eth0/rp_filter', '1']] : [])
        return { ...before, borrowed, network: is ? network(4) : before.network, own: { ...own, age: is ? '2' : '3' } }
      },
  )
  const peers = [leases, one, one, rewritten, reach]
  return fc.oneof(...peers, ...peers, ways, current, uplink, link, addresses, strict, guard, rest)
}

const REACHED: readonly Reach[] = Array.from({ length: 21 }, (_, host) => {
  return { onLink: host % 3 === 0 ? undefined : 'eth0', answered: host % 2 === 0 }
})

/** As the host tells of it: of peers only; peers that it has been asked about keep what was told. */
function withReach(before: PlannerInput, told: readonly Reach[]): PlannerInput {
  const known = before.facts.reach as PersistentMap<Reach>
  const present = new Map(
    [...before.peers.values()].map((peer) => [addressOf(peer), Number(addressOf(peer).split('.')[3])]),
  )
  const come = [...present].flatMap(([address, host]): [string, Reach][] => {
    const value = told[host]
    if (value === undefined || (told === REACHED && known.has(address))) return []
    return isDeepStrictEqual(known.get(address), value) ? [] : [[address, value]]
  })
  const gone = [...known.keys()].filter((address) => !present.has(address))
  return { ...before, facts: { ...before.facts, reach: known.patched(gone, come) } }
}

function contentOf({ desired, paths, ...rest }: NodePlan) {
  return { ...rest, ...desired, objects: new Map(desired.objects), paths: new Map(paths) }
}

describe('a plan that is made from the last one', () => {
  it('is the one that is made from nothing, after any changes of leases, reach, ways and host', () => {
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
      { numRuns: 200 },
    )
  })

  const many = Array.from({ length: 250 }, (_unused, at) =>
    lease(`10.5.${at + 2}.0/24 192.168.65.${at}`, vxlanPath(`02:00:00:00:02:${at.toString(16).padStart(2, '0')}`)),
  )

  /** How often a peer was planned. */
  function counting(config: unknown = {}): { readonly way: Way; count: number } {
    const counted = { way: vxlan1, count: 0 }
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
