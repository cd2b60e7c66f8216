import type { KernelObject, ObjectKind } from '../../../kernel/objects.ts'
import * as the from '../fixtures.ts'

/** What the kernel holds, and what is wanted at the same key. */
type Pair = readonly [actual: KernelObject, desired: KernelObject]

const conflist = (plugins: string) => ({ ...the.file(`{"name":"cbr0","plugins":${plugins}}\n`), mode: 0o644 })
const wantedConflist: KernelObject = {
  ...conflist('[{"type":"bridge","mtu":1450},{"type":"portmap"}]'),
  mode: 0o600,
  keeps: 'chained plugins',
}
const chain: KernelObject = {
  kind: 'iptables-chain',
  world: 'nft',
  family: 4,
  table: 'filter',
  name: 'FLANNEL-FWD',
  rules: ['-s 10.64.0.0/10 -m comment --comment "flanneld forward" -j ACCEPT', '-d 10.64.0.0/10 -j ACCEPT'],
  jumps: [
    { from: 'FORWARD', rule: '-m comment --comment "flanneld forward" -j FLANNEL-FWD', place: 'last' },
    { from: 'DOCKER-USER', rule: '-j FLANNEL-FWD', place: 'first', optional: true },
  ],
}
const table: KernelObject = {
  kind: 'nft-table',
  family: 6,
  name: 'flannel-ipv6',
  chains: [
    {
      name: 'forward',
      type: 'filter',
      hook: 'forward',
      priority: 0,
      policy: 'accept',
      rules: [{ text: 'ip6 saddr fc00::/48 accept', mark: 'flanneld forward 1/1 0123abcd' }],
    },
  ],
}
const sets: KernelObject = {
  kind: 'guard-sets',
  table: 'flanneld-guard',
  sets: [{ name: 'vteps4', body: 'type ipv4_addr;', mark: 'flanneld guard 0123abcd' }],
  counters: ['inner-source'],
}
const guardPeer: KernelObject = {
  kind: 'guard-peer',
  table: 'flanneld-guard',
  family: 4,
  name: '10.64.2.0/24',
  subnets: [the.ip('10.64.2.128')],
  vteps: [the.ip('192.0.2.2')],
  paths: [{ outer: the.ip('192.0.2.2'), source: the.ip('10.64.2.0') }],
  senders: [{ device: 'flannel.1', source: the.ip('10.64.2.0') }],
}
const chains: KernelObject = {
  kind: 'guard-chains',
  table: 'flanneld-guard',
  chains: [
    {
      name: 'prerouting',
      base: { hook: 'prerouting', priority: -150 },
      rules: [{ text: 'iifname "flannel.1" jump inner4', mark: 'flanneld guard 1/1 0123abcd' }],
    },
    { name: 'inner4', rules: [{ text: 'drop', mark: 'flanneld guard 1/1 4567cdef' }] },
  ],
}
const proxy: KernelObject = {
  kind: 'udp-proxy',
  device: 'flannel0',
  local: the.ip('192.0.2.1'),
  port: 8285,
  own: the.ip('10.64.1.0'),
}
const fou = (port: number) =>
  the.ipip('flannel0', { encapsulation: { sourcePort: port, port }, local: the.ip('192.0.2.1') })
const subnet = the.cidr('10.64.2.0/24')

/** Of every kind pairs of what its comparison tells apart. */
export const SAMPLES: Readonly<Record<ObjectKind, readonly Pair[]>> = {
  'fou-port': [
    [the.fouPort(8285), the.fouPort(8285)],
    [the.fouPort(8285, { local: the.ip('192.0.2.1') }), the.fouPort(8285)],
  ],
  link: [
    [the.vxlan(), the.vxlan()],
    [
      the.vxlan('flannel.1', { mtu: 9000, up: false, mac: the.mac(7) }, { local: the.ip('192.0.2.7'), learning: true }),
      the.vxlan(),
    ],
    [the.vxlan('flannel.1', {}, { vni: 7, gbp: true }), the.vxlan()],
    [
      the.ipip('flannel.ipip', { ttl: 9, pathMtuDiscovery: true, underlay: 'eth0' }),
      the.ipip('flannel.ipip', { underlay: 'eth0' }),
    ],
    [the.ipip('flannel.ipip', { remote: the.ip('192.0.2.7') }), the.ipip('flannel.ipip')],
    [fou(8285), fou(8285)],
    [the.tun('flannel0', false), the.tun()],
    [the.tun(), fou(8285)],
    [the.bridge('flannel.1'), the.vxlan()],
  ],
  sysctl: [
    [the.sysctl('net/ipv4/conf/flannel.1/rp_filter', '0'), the.sysctl('net/ipv4/conf/flannel.1/rp_filter', '2')],
    [the.sysctl('net/ipv4/ip_forward', '1'), the.sysctl('net/ipv4/ip_forward', '1')],
  ],
  address: [
    [the.address('10.64.1.0/32'), the.address('10.64.1.0/32')],
    [the.address('fc00:0:0:1::/128'), the.address('fc00:0:0:1::/128')],
    [the.address('10.64.1.0/32', 'lo'), the.address('10.64.1.0/32', 'lo')],
    [the.address('fc00:0:0:1::/128', 'lo'), the.address('fc00:0:0:1::/128', 'lo')],
  ],
  'guard-sets': [
    [sets, sets],
    [{ ...sets, counters: [] }, sets],
  ],
  'guard-peer': [
    [guardPeer, guardPeer],
    [
      { ...guardPeer, vteps: [the.ip('192.0.2.7')], paths: [] },
      { ...guardPeer, aliases: [the.ip('192.0.2.3')] },
    ],
  ],
  'udp-peer': [
    [
      { kind: 'udp-peer', device: 'flannel0', subnet, publicIp: the.ip('192.0.2.7') },
      { kind: 'udp-peer', device: 'flannel0', subnet, publicIp: the.ip('192.0.2.2') },
    ],
  ],
  'udp-proxy': [
    [proxy, proxy],
    [{ ...proxy, own: the.ip('10.64.7.0') }, proxy],
    [{ ...proxy, port: 8286 }, proxy],
  ],
  'probe-route': [
    [the.probeRoute('10.64.2.0/24'), the.probeRoute('10.64.2.0/24')],
    [
      the.probeRoute('10.64.2.0/24', { device: 'flannel0' }),
      the.probeRoute('10.64.2.0/24', { via: the.ip('192.0.2.2'), onLink: true }),
    ],
    [the.probeRoute('fc00:0:0:2::/64'), the.probeRoute('fc00:0:0:2::/64')],
  ],
  'probe-rule': [
    [the.probeRule('10.64.1.0'), the.probeRule('10.64.1.0')],
    [the.probeRule('fc00:0:0:1::'), the.probeRule('fc00:0:0:1::')],
    [the.probeRule('10.64.1.0', 'unreachable'), the.probeRule('10.64.1.0', 'unreachable')],
    [the.probeRule('fc00:0:0:1::', 'unreachable'), the.probeRule('fc00:0:0:1::', 'unreachable')],
  ],
  neighbour: [
    [the.neighbour('10.64.2.0', the.mac(7)), the.neighbour('10.64.2.0', the.mac(2))],
    [the.neighbour('fc00:0:0:2::', the.mac(2)), the.neighbour('fc00:0:0:2::', the.mac(2))],
  ],
  fdb: [
    [the.fdb(the.mac(2), '192.0.2.7'), the.fdb(the.mac(2), '192.0.2.2')],
    [the.fdb(the.mac(2), '2001:db8::2'), the.fdb(the.mac(2), '2001:db8::2')],
  ],
  nexthop: [
    [the.nexthop('10.64.2.0'), the.nexthop('10.64.2.0')],
    [{ ...the.nexthop('fc00:0:0:2::'), id: 0x66000007 }, the.nexthop('fc00:0:0:2::')],
  ],
  route: [
    [the.peerRoute('10.64.2.0/24'), the.peerRoute('10.64.2.0/24')],
    [
      the.route('10.64.2.0/24', { protocol: 3, via: the.ip('192.0.2.2'), device: 'eth0' }),
      the.peerRoute('10.64.2.0/24'),
    ],
    [the.route('10.64.2.0/24', { protocol: 2, scope: 'link', device: 'cni0' }), the.peerRoute('10.64.2.0/24')],
    [
      the.route('10.64.1.0/24', { type: 'blackhole', metric: 4_294_967_294 }),
      the.route('10.64.1.0/24', { type: 'blackhole', metric: 4_294_967_294 }),
    ],
    [the.throughNexthop(the.peerRoute('10.64.2.0/24')), the.throughNexthop(the.peerRoute('10.64.2.0/24'))],
    [the.peerRoute('10.64.2.0/24'), the.throughNexthop(the.peerRoute('10.64.2.0/24'))],
    [{ ...the.peerRoute('10.64.2.0/24'), nexthop: 'other' }, the.throughNexthop(the.peerRoute('10.64.2.0/24'))],
    [the.peerRoute('fc00:0:0:2::/64'), the.route('fc00:0:0:2::/64', { via: the.ip('2001:db8::2'), device: 'eth0' })],
  ],
  'iptables-chain': [
    [chain, chain],
    [{ ...chain, rules: [], jumps: [{ from: 'DOCKER-USER', rule: '', place: 'last', nowhere: true }] }, chain],
    [
      { ...chain, world: 'legacy', family: 6 },
      { ...chain, world: 'legacy', family: 6, onlyBeside: 'DOCKER-USER', rules: [] },
    ],
  ],
  'nft-table': [
    [table, table],
    [{ ...table, chains: [] }, table],
  ],
  'guard-chains': [
    [chains, chains],
    [
      { ...chains, chains: chains.chains.slice(1) },
      { ...chains, chains: chains.chains.slice(0, 1) },
    ],
  ],
  file: [
    [the.file('FLANNEL_MTU=1450\n'), the.file('FLANNEL_MTU=1450\n')],
    [the.file('FLANNEL_MTU=1450\n'), { ...the.file('FLANNEL_MTU=1400\n'), mode: 0o600 }],
    [
      the.file('FLANNEL_MTU=1450\nDOCKER_OPTS=" --mtu=1450"\n'),
      { ...the.file('FLANNEL_MTU=1450\n'), keeps: 'docker options' },
    ],
    [
      the.file('DOCKER_OPTS=" --mtu=1450"\nFLANNEL_MTU=1450\nDOCKER_OPTS=$(reboot)\n'),
      { ...the.file('FLANNEL_MTU=1400\n'), keeps: 'docker options' },
    ],
    [conflist('[{"type":"bridge","mtu":1400},{"type":"portmap"},{"type":"istio-cni"}]'), wantedConflist],
    [conflist('[{"mtu":1450,"type":"bridge"},{"type":"portmap"},{"type":"istio-cni"}]'), wantedConflist],
  ],
}
