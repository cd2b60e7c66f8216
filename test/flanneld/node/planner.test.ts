import assert from 'node:assert/strict'
import fc from 'fast-check'
import { ipip } from '../../../backends/ipip.ts'
import type { AnyBackend } from '../../../backends/registry.ts'
import { udp } from '../../../backends/udp/backend.ts'
import { vxlan } from '../../../backends/vxlan/backend.ts'
import type { VtepIdentity } from '../../../backends/vxlan/plan.ts'
import type { Way } from '../../../backends/way.ts'
import { type NodePlan, Planner } from '../../../flanneld/node/planner.ts'
import type { PlannerInput } from '../../../flanneld/node/planner-input.ts'
import { commandsFor } from '../../../kernel/kinds/words.ts'
import { contains, type Family, type IpAddr } from '../../../lib/address.ts'
import { acceptPeers } from '../../../subnet/peer-rules.ts'
import { emptySurroundings } from '../../../subnet/surroundings.ts'
import type { Lease } from '../../../subnet/types.ts'
import { facts, lease, MACS, network, vxlanPath, wayOf } from '../../backends/world.ts'
import { planNode } from './plan-node.ts'

const own = lease('10.5.1.0/24 192.168.64.11', vxlanPath(MACS.own))
const identity: VtepIdentity = new Map([[4, MACS.own]])

interface Change {
  readonly blackholeRoute?: boolean
  readonly directRouting?: boolean
}

function inputOf(peers: readonly Lease[], change: Change = {}): PlannerInput {
  const onLink = new Map(peers.map((peer) => [publicIp(peer), { onLink: 'eth0', answered: true }]))
  return {
    network: network(4),
    ways: [wayOf(vxlan as AnyBackend, { config: { DirectRouting: change.directRouting ?? false }, identity })],
    own,
    peers: byId(peers),
    facts: { ...facts(), reach: onLink },
    scope: { devices: new Set(['flannel.1']), networks: [] },
    complete: true,
    options: { subnetFile: '/run/flannel/subnet.env', ipMasq: false, blackholeRoute: change.blackholeRoute ?? false },
  }
}

function plan(peers: readonly Lease[], change: Change = {}): NodePlan {
  return planNode(inputOf(peers, change))
}

function byId(leases: readonly Lease[]): ReadonlyMap<string, Lease> {
  return new Map(leases.map((each) => [each.id, each]))
}

function publicIp(peer: Lease): IpAddr {
  return peer.families.get(4)?.publicIp ?? ('' as IpAddr)
}

function text(planned: NodePlan): string {
  const objects = [...planned.desired.objects].sort(([a], [b]) => (a < b ? -1 : 1))
  return objects.flatMap(([, object]) => commandsFor({ verb: 'create', object })).join('\n')
}

/** Leases as strangers may write them: duplicates, overlaps, addresses from everywhere. */
const anyLease = fc
  .record({
    second: fc.constantFrom(4, 5, 6),
    third: fc.integer({ min: 0, max: 6 }),
    length: fc.constantFrom(0, 8, 16, 23, 24, 25, 32),
    host: fc.integer({ min: 0, max: 20 }),
    mac: fc.integer({ min: 0, max: 9 }),
    age: fc.integer({ min: 1, max: 5 }),
    type: fc.constantFrom('vxlan', 'vxlan', 'vxlan', 'host-gw', 'ipip', ''),
  })
  .map(({ second, third, length, host, mac, age, type }) => {
    const subnet = length === 24 ? `10.${second}.${third}.0/24` : `10.${second}.0.0/${length}`
    const made = lease(`${subnet} 192.168.64.${host}`, { ...vxlanPath(`02:00:00:00:01:0${mac}`), backend: type })
    return { ...made, age: String(age) }
  })

/** The same leases twice: each once, as the store would have them, and in any order with repetitions. */
function shuffled(leases: readonly Lease[]): fc.Arbitrary<[Lease[], Lease[]]> {
  const once = [...new Map(leases.map((each) => [each.id, each])).values()]
  return fc.tuple(fc.constant(once), fc.shuffledSubarray([...once, ...once], { minLength: 2 * once.length }))
}

function accepted(leases: readonly Lease[]): readonly Lease[] {
  const snapshot = { revision: '1', leases: byId(leases), unreadable: [] }
  const rules = { network: network(4), own, surroundings: emptySurroundings, protectedRanges: [] }
  return [...acceptPeers({ ...rules, snapshot }).accepted.values()]
}

describe('node plan', () => {
  it('writes subnet.env', () => {
    const lines = text(plan([])).split('\n')
    const begin = lines.findIndex((line) => line.startsWith('install'))
    assert.deepEqual(lines.slice(begin, begin + 6), [
      "install -D -m 0644 /dev/stdin /run/flannel/subnet.env <<'END'",
      'FLANNEL_NETWORK=10.5.0.0/16',
      'FLANNEL_SUBNET=10.5.1.1/24',
      'FLANNEL_MTU=1450',
      'FLANNEL_IPMASQ=false',
      'END',
    ])
  })

  it('routes the whole network into the proxy of udp only when it knows that no host of a peer is inside', () => {
    const way = wayOf(udp as AnyBackend, { identity: { engine: 'userspace' } })
    const linesOf = (isAlone: boolean) => text(planNode({ ...inputOf([]), ways: [way], isAlone }))
    const whole = /^ip route add 10\.5\.0\.0\/16 dev flannel0 /m
    assert.match(linesOf(false), whole)
    assert.doesNotMatch(linesOf(true), whole)
  })

  it('holds a blackhole for the own subnet behind the route of the bridge, when asked for', () => {
    assert.match(
      text(plan([], { blackholeRoute: true })),
      /^ip route add blackhole 10\.5\.1\.0\/24 proto 102 metric 4294967294$/m,
    )
    assert.doesNotMatch(text(plan([])), /blackhole/)
  })

  it('with two families lets each stand alone: what only one of them needs may fail while the other is whole', () => {
    const dual = lease('10.5.1.0/24 192.168.64.11 fc00:0:0:1::/64 2001:db8::11', vxlanPath(MACS.own, MACS.own6))
    const traffic = {
      masquerade: true,
      randomFully: true,
      exempt: [],
      forward: true,
      tool: 'nftables',
      world: 'nft',
      instance: '',
    } as const
    const roles = (families: readonly Family[], way: Way) => {
      const input = { ...inputOf([], { blackholeRoute: true }), network: network(...families), own: dual, ways: [way] }
      return planNode({ ...input, options: { ...input.options, traffic } }).own.flatMap(({ kind, role }) =>
        role.class === 'required' ? [`${kind} ${role.family ?? 'all'}/${role.instead?.join() ?? ''}`] : [],
      )
    }
    const both = wayOf(vxlan as AnyBackend, { identity: new Map([...identity, [6, MACS.own6]]) })
    const parts = (family: Family, instead: string) =>
      ['address', 'link', 'nft-table', 'route'].map((kind) => `${kind} ${family}/${instead}`)
    assert.deepEqual(roles([4, 6], both).sort(), [...parts(4, '6'), ...parts(6, '4'), 'file all/'].sort())
    // The table of the family that is not enabled is no reason to stay away; the other has nothing to stand in for it.
    assert.deepEqual(roles([4], both).sort(), [...parts(4, ''), 'nft-table 6/4', 'file all/', 'route 6/4'].sort())
    const tunnel = wayOf(ipip as AnyBackend)
    assert.deepEqual(roles([4, 6], tunnel).sort(), [...parts(4, ''), 'nft-table 6/4', 'route 6/4', 'file all/'].sort())
  })

  it('skips a peer of another backend and names both', () => {
    const other = lease('10.5.2.0/24 192.168.64.12', { backend: 'host-gw', data: new Map() })
    assert.deepEqual(plan([other]).skipped, [
      { id: other.id, reason: 'other-backend', text: 'the node uses host-gw, this one vxlan' },
    ])
  })

  it('takes a way that a peer accepts besides its primary one', () => {
    const both = { ...lease('10.5.2.0/24 192.168.64.12', { backend: 'host-gw', data: new Map() }) }
    const accepts = [both.primary, vxlanPath('02:00:00:00:00:12')]
    assert.equal(plan([{ ...both, accepts }]).paths.get(both.id), 'tunnel')
  })

  it('prefers the older of two peers with one MAC, whatever their names', () => {
    const older = { ...lease('10.5.9.0/24 192.168.64.19', vxlanPath('02:00:00:00:00:99')), age: '1' }
    const younger = { ...lease('10.5.2.0/24 192.168.64.12', vxlanPath('02:00:00:00:00:99')), age: '2' }
    assert.deepEqual([...plan([younger, older]).paths.keys()], [older.id])
  })

  it('is independent of the order and of repetition of what it is given', () => {
    fc.assert(
      fc.property(fc.array(anyLease, { maxLength: 12 }).chain(shuffled), ([leases, other]) => {
        assert.equal(text(plan(accepted(other))), text(plan(accepted(leases))))
      }),
    )
  })

  it('never leads outside the network nor into the own subnet', () => {
    fc.assert(
      fc.property(fc.array(anyLease, { maxLength: 12 }), fc.boolean(), (leases, directRouting) => {
        const outer = network(4).families.get(4)?.network
        const mine = own.families.get(4)?.subnet
        for (const object of plan(accepted(leases), { directRouting }).desired.objects.values()) {
          if (object.kind !== 'route') continue
          assert.ok(outer !== undefined && contains(outer, object.dst), object.dst)
          assert.ok(mine !== undefined && !contains(mine, object.dst) && !contains(object.dst, mine), object.dst)
        }
      }),
    )
  })

  it('is made anew when anything but the peers differs', () => {
    const planner = new Planner()
    const first = inputOf([])
    planner.plan(first)
    const renamed = { ...first, options: { ...first.options, subnetFile: '/elsewhere' } }
    assert.ok(planner.plan(renamed).desired.objects.has('file /elsewhere'))
    const smaller = { ...first, facts: { ...first.facts, external: { ...first.facts.external, mtu: 1400 } } }
    assert.equal(planner.plan(smaller).mtu, 1350)
  })
})
