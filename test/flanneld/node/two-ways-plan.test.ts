import assert from 'node:assert/strict'
import { hostGw } from '../../../backends/host-gw.ts'
import { ipip } from '../../../backends/ipip.ts'
import type { AnyBackend } from '../../../backends/registry.ts'
import { vxlan } from '../../../backends/vxlan/backend.ts'
import type { Way } from '../../../backends/way.ts'
import { type NodePlan, Planner } from '../../../flanneld/node/planner.ts'
import type { PlannerInput } from '../../../flanneld/node/planner-input.ts'
import { commandsFor } from '../../../kernel/kinds/words.ts'
import type { Family, IpAddr } from '../../../lib/address.ts'
import type { Lease, PeerPath } from '../../../subnet/types.ts'
import { facts, lease, MACS, NO_DATA, network, vxlanPath, wayOf } from '../../backends/world.ts'
import { planNode } from './plan-node.ts'

const identity = new Map([[4, MACS.own]])
const vxlan1 = wayOf(vxlan as AnyBackend, { identity })
const vxlan2 = wayOf(vxlan as AnyBackend, { config: { VNI: 2 }, identity })
const onLink = wayOf(hostGw as AnyBackend)
const inIp = wayOf(ipip as AnyBackend)

const own = lease('10.5.1.0/24 192.168.64.11', vxlanPath(MACS.own))
const plain = (backend: string): PeerPath => ({ backend, data: NO_DATA })

/** Peer `n` of this primary way, which accepts these beside. */
function peer(n: number, primary: PeerPath, accepts: readonly PeerPath[] = []): Lease {
  return { ...lease(`10.5.${n}.0/24 192.168.64.1${n}`, primary), accepts }
}

function vni(n: number, number: number): PeerPath {
  return vxlanPath(`02:00:00:00:00:1${n}`, undefined, number)
}

const TRAFFIC = { masquerade: true, randomFully: true, exempt: [], forward: false, world: 'nft', instance: '' } as const

function inputOf(ways: readonly Way[], peers: readonly Lease[], more: Partial<PlannerInput> = {}): PlannerInput {
  const reach = peers.map((each) => [each.families.get(4)?.publicIp ?? '', { onLink: 'eth0', answered: true }] as const)
  return {
    network: network(4),
    ways,
    own,
    peers: new Map(peers.map((each) => [each.id, each])),
    facts: { ...facts(), reach: new Map(reach) },
    scope: { devices: new Set(), networks: [] },
    complete: true,
    options: {
      subnetFile: '/s',
      ipMasq: false,
      blackholeRoute: false,
      guard: { mode: 'on', allow: [], instance: '' },
      traffic: { ...TRAFFIC, tool: 'nftables' },
    },
    ...more,
  }
}

function lines(plan: NodePlan, start: RegExp): readonly string[] {
  const commands = [...plan.desired.objects.values()].flatMap((object) => commandsFor({ verb: 'create', object }))
  return commands
    .flatMap((text) => text.split('\n'))
    .filter((line) => start.test(line))
    .sort()
}

const DEVICES = /^ip (link|address) add|^FLANNEL_MTU/
const ROUTES = /^ip route|^bridge fdb/

/** Device and key of what each peer may send, `SUBNET device...`. */
function senders(plan: NodePlan): readonly string[] {
  return [...plan.desired.objects.values()].flatMap((object) => {
    if (object.kind !== 'guard-peer' || object.role.class !== 'peer') return []
    return [`${object.name} ${object.senders.map(({ device }) => device).join(' ')}`]
  })
}

function guardRules(plan: NodePlan, chain: string): readonly string[] {
  return plan.own.flatMap((object) => {
    if (object.kind !== 'guard-chains') return []
    return object.chains.flatMap(({ name, rules }) => (name === chain ? rules.map(({ text }) => text) : []))
  })
}

describe('two ways at once', () => {
  it('vxlan with two VNIs: both devices are there, and each peer goes by the VNI that its lease accepts', () => {
    const peers = [peer(2, vni(2, 1)), peer(3, vni(3, 2)), peer(4, vni(4, 1), [vni(4, 1), vni(4, 2)])]
    const plan = planNode(inputOf([vxlan2, vxlan1], peers))
    assert.deepEqual(lines(plan, DEVICES), [
      'FLANNEL_MTU=1450',
      'ip address add 10.5.1.0/32 dev flannel.1',
      'ip address add 10.5.1.0/32 dev flannel.2',
      'ip link add flannel.1 address 02:00:00:00:00:11 mtu 1450 type vxlan id 1 local 192.168.64.11 dev eth0 dstport 8472 nolearning ttl auto',
      'ip link add flannel.2 address 02:00:00:00:00:11 mtu 1450 type vxlan id 2 local 192.168.64.11 dev eth0 dstport 8472 nolearning ttl auto',
    ])
    assert.deepEqual(lines(plan, ROUTES), [
      'bridge fdb add 02:00:00:00:00:12 dev flannel.1 dst 192.168.64.12 self permanent',
      'bridge fdb add 02:00:00:00:00:13 dev flannel.2 dst 192.168.64.13 self permanent',
      'bridge fdb add 02:00:00:00:00:14 dev flannel.2 dst 192.168.64.14 self permanent',
      'ip route add 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 102 onlink',
      'ip route add 10.5.3.0/24 via 10.5.3.0 dev flannel.2 proto 102 onlink',
      'ip route add 10.5.4.0/24 via 10.5.4.0 dev flannel.2 proto 102 onlink',
    ])
    assert.deepEqual(plan.skipped, [])
  })

  it('what the kernel does now stays until the peer no longer accepts it', () => {
    const both = [vni(4, 1), vni(4, 2)]
    const planner = new Planner()
    const current = (way: Way, node: string) =>
      new Map([['10.5.4.0-24', { node, ways: new Map([[4 as Family, way]]) }]])
    const node = peer(4, vni(4, 1)).node
    const device = (accepts: readonly PeerPath[], now?: Way, by = node) => {
      const input = inputOf([vxlan2, vxlan1], [peer(4, vni(4, 1), accepts)])
      const plan = planner.plan(now === undefined ? input : { ...input, current: current(now, by) })
      return lines(plan, /^ip route/).map((line) => line.match(/dev (\S+)/)?.[1])
    }
    assert.deepEqual(device(both, vxlan1), ['flannel.1'])
    assert.deepEqual(device(both, vxlan2), ['flannel.2'])
    assert.deepEqual(device(both, vxlan1, 'another node'), ['flannel.2'])
    assert.deepEqual(device(both), ['flannel.2'])
    assert.deepEqual(device([vni(4, 2)], vxlan1), ['flannel.2'])
  })

  it('that make one device differently: it is as the preferred one says', () => {
    const other = wayOf(vxlan as AnyBackend, { config: { Port: 4789 }, identity })
    const port = (ways: readonly Way[]) =>
      lines(planNode(inputOf(ways, [])), /^ip link add/)
        .join()
        .match(/dstport \d+/)?.[0]
    assert.deepEqual([port([vxlan1, other]), port([other, vxlan1])], ['dstport 8472', 'dstport 4789'])
  })

  it('vxlan and host-gw: the smaller MTU, and containers of a peer may come by either', () => {
    const peers = [peer(2, vni(2, 1)), peer(3, plain('host-gw')), peer(4, vni(4, 1), [vni(4, 1), plain('host-gw')])]
    const plan = planNode(inputOf([onLink, vxlan1], peers))
    assert.deepEqual(lines(plan, /^FLANNEL_MTU|^ip route/), [
      'FLANNEL_MTU=1450',
      'ip route add 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 102 onlink',
      'ip route add 10.5.3.0/24 via 192.168.64.13 dev eth0 proto 102',
      'ip route add 10.5.4.0/24 via 192.168.64.14 dev eth0 proto 102',
    ])
    assert.deepEqual(
      ['10.5.2.0-24', '10.5.3.0-24', '10.5.4.0-24'].map((id) => plan.paths.get(id)),
      ['tunnel', 'direct', 'direct'],
    )
    assert.deepEqual(
      senders(plan),
      [2, 3, 4].map((n) => `10.5.${n}.0/24 flannel.1 eth0`),
    )
  })

  it('host-gw and vxlan: a peer behind a gateway goes by vxlan, and the change is told that host-gw does not lead to it', () => {
    const peers = [peer(2, plain('host-gw'), [plain('host-gw'), vni(2, 1)]), peer(3, plain('host-gw'))]
    const behind = new Map(
      ['192.168.64.12', '192.168.64.13'].map((address) => [address, { onLink: undefined, answered: false }]),
    )
    const input = inputOf([onLink, vxlan1], peers, { facts: { ...facts(), reach: behind } })
    const planner = new Planner()
    const plans = [planner.plan({ ...input, change: { target: vxlan1, isTold: true } }), planner.plan(input)]
    for (const plan of plans) {
      assert.deepEqual(lines(plan, /^ip route/), [
        'ip route add 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 102 onlink',
      ])
      assert.deepEqual(
        plan.skipped.map(({ id, reason }) => [id, reason]),
        [['10.5.3.0-24', 'not-on-link']],
      )
    }
    const [changing, after] = plans
    const refused = [{ family: 4, way: onLink }]
    assert.deepEqual(
      [...(changing?.refused ?? [])],
      [
        ['10.5.2.0-24', refused],
        ['10.5.3.0-24', refused],
      ],
    )
    assert.deepEqual(after?.refused.size, 0)
  })

  it('vxlan and ipip: guard and firewall are asked about what either brings', () => {
    const peers = [peer(2, vni(2, 1)), peer(3, plain('ipip'))]
    const plan = planNode(inputOf([vxlan1, inIp], peers))
    assert.deepEqual(lines(plan, /^FLANNEL_MTU|^ip (link|route)/), [
      'FLANNEL_MTU=1450',
      'ip link add flannel.1 address 02:00:00:00:00:11 mtu 1450 type vxlan id 1 local 192.168.64.11 dev eth0 dstport 8472 nolearning ttl auto',
      'ip link add flannel.ipip mtu 1480 type ipip local 192.168.64.11 ttl inherit nopmtudisc',
      'ip link set flannel.1 up',
      'ip link set flannel.ipip up',
      'ip route add 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 102 onlink',
      'ip route add 10.5.3.0/24 via 192.168.64.13 dev flannel.ipip proto 102 onlink',
    ])
    assert.deepEqual(
      senders(plan),
      [2, 3].map((n) => `10.5.${n}.0/24 flannel.1 flannel.ipip flannel-ipip flannel0 flannel1 eth0`),
    )
    assert.match(guardRules(plan, 'prerouting').join('\n'), /^iifname \{ "flannel\.1", "flannel\.ipip" \} /)
    assert.deepEqual(
      guardRules(plan, 'input').filter((rule) => rule.endsWith(' goto outer4')),
      [
        'udp dport 8472 @th,96,24 0x000001 ip saddr != @vteps4 goto outer4',
        'ip protocol 4 ip saddr != @vteps4 goto outer4',
      ],
    )
    const inward = plan.packetPaths.flatMap((path) => (path.hook === 'input' ? [path.outer?.protocol] : []))
    assert.deepEqual(inward, ['udp', 'ipip'])
  })

  it('with two families a way that carries one of them leaves the other to the other way', () => {
    const dual = lease('10.5.1.0/24 192.168.64.11 fc00:0:0:1::/64 2001:db8::11', vxlanPath(MACS.own, MACS.own6))
    const more = { network: network(4, 6), own: dual }
    assert.deepEqual(
      planNode(inputOf([inIp], [], more)).notices.map(({ code }) => code),
      ['ipv6-not-carried'],
    )
    assert.deepEqual(planNode(inputOf([inIp, vxlan1], [], more)).notices, [])
  })

  it('a host inside the network is masqueraded into either tunnel, and nowhere else', () => {
    const addresses = new Map<Family, IpAddr>([[4, '10.5.200.11' as IpAddr]])
    const host = { ...facts({}, { addresses, publicIps: addresses }), ownAddresses: new Set(addresses.values()) }
    const rules = (tool: 'nftables' | 'iptables') => {
      const input = inputOf([vxlan1, inIp], [], { facts: host })
      const plan = planNode({ ...input, options: { ...input.options, traffic: { ...TRAFFIC, tool } } })
      return JSON.stringify(plan.own)
    }
    assert.match(
      rules('nftables'),
      /"ip saddr 10\.5\.200\.11\/32 oifname \\"flannel\.1\\" masquerade.*"ip saddr 10\.5\.200\.11\/32 oifname \\"flannel\.ipip\\" masquerade.*"ip saddr 10\.5\.200\.11\/32 return/,
    )
    assert.match(
      rules('iptables'),
      /-s 10\.5\.200\.11\/32 -o flannel\.1 .*?-j MASQUERADE.*-s 10\.5\.200\.11\/32 -o flannel\.ipip .*?-j MASQUERADE.*-s 10\.5\.200\.11\/32 -m .*?-j RETURN/,
    )
  })
})
