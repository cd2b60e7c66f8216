import assert from 'node:assert/strict'
import { alloc } from '../../../backends/alloc.ts'
import type { HostFacts, Reach } from '../../../backends/backend.ts'
import { hostGw } from '../../../backends/host-gw.ts'
import { ipip } from '../../../backends/ipip.ts'
import type { AnyBackend } from '../../../backends/registry.ts'
import { udp } from '../../../backends/udp/backend.ts'
import { vxlan } from '../../../backends/vxlan/backend.ts'
import type { GuardOptions } from '../../../flanneld/node/guard-rules.ts'
import { judgedLinks, PeerTraits } from '../../../flanneld/node/peer-traits.ts'
import type { NodePlan } from '../../../flanneld/node/planner.ts'
import type { GuardChains } from '../../../kernel/kinds/guard-chains/kind.ts'
import type { GuardPeer } from '../../../kernel/kinds/guard-peer/kind.ts'
import { commandsFor } from '../../../kernel/kinds/words.ts'
import type { Cidr, Family, IpAddr } from '../../../lib/address.ts'
import { changesBetween } from '../../../lib/persistent-map.ts'
import type { Lease, PeerPath } from '../../../subnet/types.ts'
import { facts, lease, MACS, NO_DATA, network, vxlanPath, wayOf } from '../../backends/world.ts'
import { planNode } from './plan-node.ts'

const COUNT: GuardOptions = { mode: 'count', allow: [], instance: '' }
const near: Partial<HostFacts> = { onLink: ['192.168.64.0/24' as Cidr, '2001:db8::/64' as Cidr] }

interface World {
  readonly backend: unknown
  readonly config?: unknown
  readonly identity?: unknown
  readonly families?: readonly Family[]
  readonly path?: PeerPath
  readonly peers: readonly string[]
  readonly facts?: Partial<HostFacts>
  readonly guard?: GuardOptions | undefined
}

function planOf(world: World): NodePlan {
  const backend = world.backend as AnyBackend
  const families = world.families ?? [4]
  const path = world.path ?? vxlanPath('02:00:00:00:00:12', '02:00:00:00:06:12')
  const own = lease(`10.5.1.0/24 192.168.64.11${families.includes(6) ? ' fc00:0:0:1::/64 2001:db8::11' : ''}`, path)
  const peers = world.peers.map((text, index): [string, Lease] => {
    const mac = (family: string) => `02:00:00:00:${family}:${String(20 + index)}`
    const peer = lease(text, world.path ?? vxlanPath(mac('00'), mac('06')))
    return [peer.id, peer]
  })
  return planNode({
    network: network(...families),
    ways: [wayOf(backend, world)],
    own,
    peers: new Map(peers),
    facts: { ...facts(), ...near, ...world.facts },
    scope: { devices: new Set(), networks: [] },
    complete: true,
    options: { subnetFile: '/s', ipMasq: false, blackholeRoute: false, guard: 'guard' in world ? world.guard : COUNT },
  })
}

const vxlanIdentity = new Map([
  [4, MACS.own],
  [6, MACS.own6],
])
const PEER = '10.5.2.0/24 192.168.64.12'
const FAR = '10.5.3.0/24 172.16.0.13'

/** `CHAIN: rule` for each rule. */
function rules(plan: NodePlan): readonly string[] {
  const chains = plan.own.find((object): object is GuardChains & typeof object => object.kind === 'guard-chains')
  return (chains?.chains ?? []).flatMap(({ name, rules }) => rules.map(({ text }) => `${name}: ${text}`))
}

function guardPeers(plan: NodePlan) {
  return [...plan.desired.objects.values()].filter(
    (object): object is GuardPeer & typeof object => object.kind === 'guard-peer',
  )
}

/** What nobody may claim but its owner, by the name of the element's owner: `NAME key`. */
function claimed(plan: NodePlan): readonly string[] {
  return guardPeers(plan)
    .map(({ name, subnets }) => `${name} ${subnets.join(' ')}`)
    .sort()
}

/** What is let in of each peer: `NAME outer | inner`. */
function peers(plan: NodePlan): readonly string[] {
  return guardPeers(plan)
    .filter(({ role }) => role.class === 'peer')
    .map(({ name, vteps, aliases = [], senders }) => {
      const inner = senders.map(({ device, source }) => `${device} ${source}`)
      return `${name} ${[...vteps, ...aliases].join(' ')} | ${inner.join(', ')}`
    })
    .sort()
}

const refusing = (set: string, counter: string, ip = 'ip') =>
  `${set}: counter name "${counter}" update @${set} { iifname . ${ip} saddr counter }`

describe('rules of the ingress guard', () => {
  it('vxlan: outer packets by the port, inner ones by the device, the uplink by the network', () => {
    const plan = planOf({ backend: vxlan, identity: vxlanIdentity, peers: [PEER, FAR] })
    assert.deepEqual(rules(plan), [
      refusing('outer4', 'outer-source'),
      refusing('inner4', 'inner-source'),
      refusing('direct4', 'direct-source'),
      refusing('container4', 'container'),
      refusing('inner6', 'inner-source', 'ip6'),
      'prerouting: iifname "flannel.1" iifname . ip saddr & 255.255.255.0 | 0.0.0.128 != @senders4 ip saddr != @vteps4 goto inner4',
      'prerouting: iifname "flannel.1" meta nfproto ipv6 goto inner6',
      'prerouting: iifname "eth0" meta nfproto ipv4 @nh,96,32 & 0xffffff00 | 0x00000080 @subnets4 iifname . ip saddr & 255.255.255.0 | 0.0.0.128 != @senders4 goto direct4',
      'input: udp dport 8472 @th,96,24 0x000001 ip saddr != @vteps4 goto outer4',
      'input: udp dport 8472 @th,96,24 0x000001 @th,224,16 0x0800 ip saddr . @th,336,32 & 0xffffff00 | 0x00000080 != @paths4 @th,336,32 & 0xffffff00 | 0x00000080 @subnets4 goto inner4',
      'forward: udp dport 8472 @th,96,24 0x000001 @nh,96,32 & 0xffffff00 | 0x00000080 @subnets4 ip daddr @vteps4 goto container4',
    ])
    assert.deepEqual(peers(plan), [
      '10.5.2.0/24 192.168.64.12 | flannel.1 10.5.2.128, eth0 10.5.2.128',
      '10.5.3.0/24 172.16.0.13 | flannel.1 10.5.3.128',
    ])
  })

  it('two families have a device and sets each', () => {
    const both = `${PEER} fc00:0:0:2::/64 2001:db8::12`
    const plan = planOf({ backend: vxlan, identity: vxlanIdentity, families: [4, 6], peers: [both] })
    const of6 = rules(plan).filter((rule) => rule.includes('senders6'))
    assert.deepEqual(of6, [
      'prerouting: iifname { "flannel.1", "flannel-v6.1" } iifname . ip6 saddr & ffff:ffff:ffff:ffff:: | ::8000:0:0:0 != @senders6 ip6 saddr != @vteps6 goto inner6',
      'prerouting: iifname "eth0" meta nfproto ipv6 @nh,64,128 & 0xffffffffffffffff0000000000000000 | 0x00000000000000008000000000000000 @subnets6 iifname . ip6 saddr & ffff:ffff:ffff:ffff:: | ::8000:0:0:0 != @senders6 goto direct6',
    ])
    assert.deepEqual(peers(plan), [
      '10.5.2.0/24 192.168.64.12 | flannel.1 10.5.2.128, eth0 10.5.2.128',
      'fc00:0:0:2::/64 2001:db8::12 | flannel-v6.1 fc00:0:0:2:8000::, eth0 fc00:0:0:2:8000::',
    ])
  })

  it('leases of several lengths live side by side: each rule asks once for each, and no key stands for two prefixes', () => {
    const mixed = ['10.5.2.0/24 192.168.64.12', '10.5.3.0/26 192.168.64.13', '10.5.3.192/26 192.168.64.14']
    const plan = planOf({ backend: vxlan, identity: vxlanIdentity, peers: mixed })
    const masks = ['255.255.255.192 | 0.0.0.32', '255.255.255.0 | 0.0.0.128']
    const raw = ['0xffffffc0 | 0x00000020', '0xffffff00 | 0x00000080']
    const not = (set: string, lead: string, values: readonly string[]) =>
      values.map((value) => `${lead} & ${value} != @${set}`)
    assert.deepEqual(
      rules(plan).filter((rule) => /senders4|paths4|container4$/.test(rule)),
      [
        `prerouting: iifname "flannel.1" ${not('senders4', 'iifname . ip saddr', masks).join(' ')} ip saddr != @vteps4 goto inner4`,
        ...raw.map((value, at) => {
          const [sender] = not('senders4', 'iifname . ip saddr', [masks[at] ?? ''])
          return `prerouting: iifname "eth0" meta nfproto ipv4 @nh,96,32 & ${value} @subnets4 ${sender} goto direct4`
        }),
        ...raw.map((value) => {
          const [path] = not('paths4', 'ip saddr . @th,336,32', [value])
          return `input: udp dport 8472 @th,96,24 0x000001 @th,224,16 0x0800 ${path} @th,336,32 & ${value} @subnets4 goto inner4`
        }),
        ...raw.map(
          (value) =>
            `forward: udp dport 8472 @th,96,24 0x000001 @nh,96,32 & ${value} @subnets4 ip daddr @vteps4 goto container4`,
        ),
      ],
    )
    assert.deepEqual(claimed(plan), [
      '10.5.1.0/24 10.5.1.128',
      '10.5.2.0/24 10.5.2.128',
      '10.5.3.0/26 10.5.3.32',
      '10.5.3.192/26 10.5.3.224',
    ])
    // The last of a length takes its rules along.
    const alone = planOf({ backend: vxlan, identity: vxlanIdentity, peers: mixed.slice(0, 1) })
    assert.ok(!rules(alone).some((rule) => rule.includes('255.255.255.192')))
  })

  it('a host inside the network is no container: nothing compares with the network, and peers’ containers speak to it', () => {
    const addresses = new Map<Family, IpAddr>([[4, '10.5.200.11' as IpAddr]])
    // The bridge's, the tunnel's, and what an earlier subnet has left on it are no host's.
    const others = ['10.5.1.0', '10.5.1.1', '10.5.99.0', '10.5.200.11'] as IpAddr[]
    const { external } = facts({}, { addresses, publicIps: addresses })
    const inside = { external, ownAddresses: new Set(others) }
    const plan = planOf({ backend: vxlan, identity: vxlanIdentity, peers: ['10.5.2.0/24 10.5.200.12'], facts: inside })
    assert.ok(!rules(plan).some((rule) => /10\.5\.0\.0|0x0a050000/.test(rule)))
    assert.deepEqual(
      rules(plan).filter((rule) => rule.includes('"eth0"')),
      [
        'prerouting: iifname "eth0" ip saddr 10.5.1.0/24 goto direct4',
        'prerouting: iifname "eth0" meta nfproto ipv4 @nh,96,32 & 0xffffff00 | 0x00000080 @subnets4 iifname . ip saddr & 255.255.255.0 | 0.0.0.128 != @senders4 ip daddr != 10.5.200.11 goto direct4',
      ],
    )
  })

  it('only `on` drops, and is required', () => {
    const on = planOf({ backend: vxlan, identity: vxlanIdentity, peers: [], guard: { ...COUNT, mode: 'on' } })
    const count = planOf({ backend: vxlan, identity: vxlanIdentity, peers: [] })
    const drops = (plan: NodePlan) => rules(plan).filter((rule) => rule.endsWith(': drop'))
    assert.deepEqual(
      drops(on),
      ['outer4', 'inner4', 'direct4', 'container4', 'inner6'].map((name) => `${name}: drop`),
    )
    assert.deepEqual(drops(count), [])
    const roles = (plan: NodePlan) =>
      plan.own.filter(({ kind }) => kind.startsWith('guard')).map(({ role }) => role.class)
    assert.deepEqual(
      [roles(on), roles(count)],
      [
        ['required', 'required', 'required'],
        ['advisory', 'advisory', 'advisory'],
      ],
    )
  })

  it('off: nothing, and of alloc nothing comes in', () => {
    const off = planOf({ backend: vxlan, identity: vxlanIdentity, peers: [PEER], guard: undefined })
    const none = planOf({ backend: alloc, path: { backend: '', data: NO_DATA }, peers: [PEER], guard: COUNT })
    for (const plan of [off, none]) assert.deepEqual([rules(plan), peers(plan), claimed(plan)], [[], [], []])
  })

  it('what is allowed is let in before it is counted, in its family', () => {
    const allow = ['10.9.0.0/16', 'fd00::/8'] as Cidr[]
    const plan = planOf({ backend: vxlan, identity: vxlanIdentity, peers: [], guard: { ...COUNT, allow } })
    const accepts = rules(plan).filter((rule) => rule.includes('accept'))
    assert.deepEqual(accepts, [
      ...['outer4', 'inner4', 'direct4', 'container4'].map((name) => `${name}: ip saddr 10.9.0.0/16 accept`),
      'inner6: ip6 saddr fd00::/8 accept',
    ])
  })

  it('host-gw: nothing but the links by which peers come', () => {
    const reach = {
      '192.168.64.12': { onLink: 'eth0', answered: true },
      '172.16.0.13': { onLink: 'eth1', answered: true },
    }
    const path = { backend: 'host-gw', data: NO_DATA }
    const plan = planOf({ backend: hostGw, path, peers: [PEER, FAR], facts: { reach: facts(reach).reach } })
    assert.deepEqual(rules(plan), [
      refusing('direct4', 'direct-source'),
      'prerouting: iifname { "eth0", "eth1" } meta nfproto ipv4 @nh,96,32 & 0xffffff00 | 0x00000080 @subnets4 iifname . ip saddr & 255.255.255.0 | 0.0.0.128 != @senders4 goto direct4',
    ])
    assert.deepEqual(peers(plan), ['10.5.2.0/24  | eth0 10.5.2.128', '10.5.3.0/24  | eth1 10.5.3.128'])
  })

  it('ipip: the protocol stands for the port', () => {
    const path = { backend: 'ipip', data: NO_DATA }
    const found = rules(planOf({ backend: ipip, path, peers: [PEER] })).filter((rule) => /^(input|forward)/.test(rule))
    assert.deepEqual(found, [
      'input: ip protocol 4 ip saddr != @vteps4 goto outer4',
      'input: ip protocol 4 ip saddr . @th,96,32 & 0xffffff00 | 0x00000080 != @paths4 @th,96,32 & 0xffffff00 | 0x00000080 @subnets4 goto inner4',
      'forward: ip protocol 4 @nh,96,32 & 0xffffff00 | 0x00000080 @subnets4 ip daddr @vteps4 goto container4',
    ])
  })

  it('udp: in the kernel the device takes bare packets, too; the proxy speaks for its own device', () => {
    const path = { backend: '', data: NO_DATA }
    const of = (engine: string) => rules(planOf({ backend: udp, path, identity: { engine }, peers: [PEER] }))
    assert.deepEqual(
      of('kernel').filter((rule) => rule.startsWith('input')),
      [
        'input: udp dport 8285 ip saddr != @vteps4 goto outer4',
        'input: udp dport 8285 ip saddr . @th,160,32 & 0xffffff00 | 0x00000080 != @paths4 @th,160,32 & 0xffffff00 | 0x00000080 @subnets4 goto inner4',
        'input: ip protocol 4 ip saddr != @vteps4 goto outer4',
        'input: ip protocol 4 ip saddr . @th,96,32 & 0xffffff00 | 0x00000080 != @paths4 @th,96,32 & 0xffffff00 | 0x00000080 @subnets4 goto inner4',
      ],
    )
    assert.deepEqual(
      of('userspace').filter((rule) => /^input|accept/.test(rule)),
      [
        'prerouting: iifname "flannel0" ip saddr 10.5.1.0 accept',
        'input: udp dport 8285 ip saddr != @vteps4 goto outer4',
        'input: udp dport 8285 ip saddr . @th,160,32 & 0xffffff00 | 0x00000080 != @paths4 @th,160,32 & 0xffffff00 | 0x00000080 @subnets4 goto inner4',
      ],
    )
  })

  it('another instance has a table of its own', () => {
    const plan = planOf({
      backend: vxlan,
      identity: vxlanIdentity,
      peers: [PEER],
      guard: { ...COUNT, instance: '0a1b2c3d' },
    })
    const tables = [...plan.desired.objects.values()].flatMap((object) =>
      object.kind.startsWith('guard') && 'table' in object ? [object.table] : [],
    )
    assert.deepEqual(new Set(tables), new Set(['flanneld-guard-0a1b2c3d']))
  })

  it('is printed as commands', () => {
    const plan = planOf({ backend: vxlan, identity: vxlanIdentity, peers: [PEER] })
    const text = [...plan.desired.objects.values()]
      .filter(({ kind }) => kind.startsWith('guard'))
      .flatMap((object) => commandsFor({ verb: 'create', object }))
      .join('\n')
    assert.match(
      text,
      /^nft 'add element inet flanneld-guard vteps4 \{ 192\.168\.64\.12 comment "10\.5\.2\.0\/24" \}'$/m,
    )
    assert.match(text, /^\tset senders4 \{\n\t\ttype ifname \. ipv4_addr;$/m)
    assert.match(text, /^\tchain input \{\n\t\ttype filter hook input priority -150; policy accept;$/m)
  })

  it('a lease that names the address its packets come from lets that in, too', () => {
    const peer = lease(PEER, vxlanPath('02:00:00:00:00:12'))
    const part = peer.families.get(4)
    assert(part !== undefined)
    const natted: Lease = {
      ...peer,
      families: new Map([[4, { ...part, tunnelIp: '10.99.0.5' as typeof part.publicIp }]]),
    }
    const plan = planNode({
      network: network(4),
      ways: [wayOf(vxlan as AnyBackend, { identity: vxlanIdentity })],
      own: lease('10.5.1.0/24 192.168.64.11', vxlanPath(MACS.own)),
      peers: new Map([[natted.id, natted]]),
      facts: { ...facts(), onLink: ['10.99.0.0/24' as Cidr] },
      scope: { devices: new Set(), networks: [] },
      complete: true,
      options: { subnetFile: '/s', ipMasq: false, blackholeRoute: false, guard: COUNT },
    })
    assert.deepEqual(peers(plan), ['10.5.2.0/24 192.168.64.12 10.99.0.5 | flannel.1 10.5.2.128, eth0 10.5.2.128'])
  })

  it('is the same in whatever order the host tells how its peers are reached', () => {
    const [first, second] = [
      { onLink: 'eth2', answered: true },
      { onLink: 'eth1', answered: false },
    ]
    const links = (reach: Record<string, Reach>) => {
      const traits = new PeerTraits(network(4))
      traits.change([], changesBetween(new Map(), new Map(Object.entries(reach))))
      return judgedLinks('eth0', traits.words)
    }
    const third = { onLink: 'eth0', answered: true }
    assert.deepEqual(links({ '192.0.2.1': first, '192.0.2.2': second, '192.0.2.3': third }), ['eth0', 'eth1', 'eth2'])
    assert.deepEqual(links({ '192.0.2.2': second, '192.0.2.1': first }), ['eth0', 'eth1', 'eth2'])
  })
})
