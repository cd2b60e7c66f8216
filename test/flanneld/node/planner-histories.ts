import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { alloc } from '../../../backends/alloc.ts'
import type { Reach } from '../../../backends/backend.ts'
import { hostGw } from '../../../backends/host-gw.ts'
import { ipip } from '../../../backends/ipip.ts'
import type { AnyBackend } from '../../../backends/registry.ts'
import { udp } from '../../../backends/udp/backend.ts'
import { vxlan } from '../../../backends/vxlan/backend.ts'
import type { Way } from '../../../backends/way.ts'
import type { PlannerInput } from '../../../flanneld/node/planner-input.ts'
import type { Cidr, Family, IpAddr } from '../../../lib/address.ts'
import { PersistentMap } from '../../../lib/persistent-map.ts'
import type { Lease } from '../../../subnet/types.ts'
import { facts, lease, MACS, network, vxlanPath, wayOf } from '../../backends/world.ts'

const own = lease('10.5.1.0/24 192.168.64.11 fc00:0:0:1::/64 2001:db8::11', vxlanPath(MACS.own, MACS.own6))
export const identity = new Map([
  [4, MACS.own],
  [6, MACS.own6],
])
const GUARD = { mode: 'on', allow: [], instance: '' } as const

export function basisOf(ways: readonly Way[]): PlannerInput {
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

export function byId(leases: readonly Lease[]): PersistentMap<Lease> {
  return PersistentMap.from(new Map(leases.map((each) => [each.id, each])))
}

export function addressOf(peer: Lease): string {
  return peer.families.get(4)?.publicIp ?? ''
}

const vxlan1 = wayOf(vxlan as AnyBackend, { identity })
const vxlan2 = wayOf(vxlan as AnyBackend, { config: { VNI: 2 }, identity })
const direct = wayOf(vxlan as AnyBackend, { config: { DirectRouting: true }, identity })
const onLink = wayOf(hostGw as AnyBackend)
const inIp = wayOf(ipip as AnyBackend, { config: { DirectRouting: true } })
const proxy = wayOf(udp as AnyBackend, { identity: { engine: 'userspace' } })
const fou = wayOf(udp as AnyBackend, { identity: { engine: 'kernel' } })
const none = wayOf(alloc as AnyBackend)
export const WAYS: readonly (readonly Way[])[] = [
  [vxlan1],
  [direct],
  [onLink],
  [inIp],
  [proxy],
  [fou],
  [none],
  [vxlan1, vxlan2],
  [vxlan2, vxlan1],
  [direct, onLink],
  [vxlan1, inIp],
  [onLink, proxy],
  [none, fou, vxlan2],
]

/**
 * Leases that nobody has judged, with few hardware addresses and with subnets of which several begin at one address: they exclude each
 * other in pairs and in chains. Each has an address of its own, some of them inside the network.
 */
export const anyPool = fc
  .uniqueArray(
    fc.record({
      third: fc.integer({ min: 2, max: 5 }),
      length: fc.constantFrom(22, 23, 24, 24, 25),
      host: fc.integer({ min: 0, max: 20 }),
      inside: fc.constantFrom(false, false, true),
      dual: fc.boolean(),
      mac: fc.integer({ min: 1, max: 4 }),
      age: fc.integer({ min: 1, max: 5 }),
      says: fc.constantFrom('vxlan', 'vxlan', 'vxlan', 'both', 'host-gw', 'ipip', ''),
      vni: fc.constantFrom(1, 1, 1, 0, 2),
    }),
    { minLength: 1, maxLength: 10, selector: ({ host }) => host },
  )
  .map((sketches) => {
    const leases = sketches.map(({ third, length, host, inside, dual, mac, age, says, vni }) => {
      const path = vxlanPath(`02:00:00:00:01:0${mac}`, `02:00:00:00:06:0${mac}`, vni)
      const address = inside ? `10.5.200.${host}` : `192.168.64.${host}`
      const second = dual ? ` fc00:0:0:${third}::/64 2001:db8::1:${host}` : ''
      const made = lease(`10.5.${third}.0/${length} ${address}${second}`, {
        ...path,
        backend: says === 'both' ? 'vxlan' : says,
      })
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
export function anyStep(pool: readonly Lease[]): fc.Arbitrary<Step> {
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
    const primary = vxlanPath(`02:00:00:00:01:0${mac}`, `02:00:00:00:06:0${mac}`)
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
        const ways = new Map([[4 as Family, way]])
        return { ...before, current: new Map([...ids].map((id) => [id, { node: nodeOf(before, id), ways }])) }
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
  const nexthops = fc.boolean().map(
    (are): Step =>
      (before) => {
        return { ...before, facts: { ...before.facts, nexthops: are } }
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
        return { ...before, network: is ? network(4, 6) : network(4), own: { ...own, age: is ? '2' : '3' } }
      },
  )
  const peers = [leases, one, one, rewritten, reach]
  return fc.oneof(...peers, ...peers, ways, current, uplink, link, addresses, strict, nexthops, guard, rest)
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

function nodeOf({ peers }: PlannerInput, id: string): string {
  return peers.get(id)?.node ?? ''
}
