import assert from 'node:assert/strict'
import type { VxlanDriver } from '../../../kernel/kinds/link/drivers/vxlan.ts'
import { deleteAddress, writeAddress } from '../../../kernel/netlink/address-messages.ts'
import { addFouPort, deleteFouPort } from '../../../kernel/netlink/fou-messages.ts'
import { changeDriver, changeLink, createLink, deleteLink } from '../../../kernel/netlink/link-messages.ts'
import { deleteFdb, deleteNeighbour, writeFdb, writeNeighbour } from '../../../kernel/netlink/neighbour-messages.ts'
import { deleteNexthop, writeNexthop } from '../../../kernel/netlink/nexthop-messages.ts'
import { deleteRoute, writeRoute } from '../../../kernel/netlink/route-messages.ts'
import type { Address, Fdb, IpipDriver, Link, Neighbour, Route } from '../../../kernel/objects.ts'
import type { Cidr, IpAddr, MacAddr } from '../../../lib/address.ts'

const ip = (text: string) => text as IpAddr
const mac = (text: string) => text as MacAddr
const INDEX = 5
/** Of the family "fou"; the kernel gives another one each time. */
const FOU = 32

const driver: VxlanDriver = {
  type: 'vxlan',
  vni: 1,
  underlay: 'uplink',
  local: ip('192.168.64.11'),
  port: 8472,
  learning: false,
  gbp: true,
}
const link: Link = { kind: 'link', name: 'flannel.1', mtu: 1450, mac: mac('02:11:22:33:44:55'), up: true, driver }
const ipip: IpipDriver = { type: 'ipip', local: ip('192.168.64.11'), ttl: 0, pathMtuDiscovery: false }
const fou: IpipDriver = {
  ...ipip,
  underlay: 'uplink',
  ttl: 64,
  pathMtuDiscovery: true,
  encapsulation: { sourcePort: 8285, port: 8285 },
}
const tunnel = (name: string, mtu: number, made: IpipDriver): Link => ({
  kind: 'link',
  name,
  mtu,
  up: true,
  driver: made,
})
const address: Address = { kind: 'address', device: 'flannel.1', family: 4, address: ip('10.5.72.0'), length: 32 }
const address6: Address = { ...address, family: 6, address: ip('fd00:5:72::'), length: 128 }
const spare: Address = { ...address, device: 'lo' }
const spare6: Address = { ...address6, device: 'lo' }
const route: Route = {
  kind: 'route',
  family: 4,
  dst: '10.5.3.0/24' as Cidr,
  metric: 0,
  type: 'unicast',
  device: 'flannel.1',
  via: ip('10.5.3.0'),
  onLink: true,
  protocol: 102,
}
const route6: Route = { ...route, family: 6, dst: 'fd00:5:3::/64' as Cidr, via: ip('fd00:5:3::'), metric: 1024 }
const linkRoute: Route = {
  kind: 'route',
  family: 4,
  dst: '10.6.3.0/24' as Cidr,
  metric: 0,
  type: 'unicast',
  device: 'flannel.1',
  scope: 'link',
  protocol: 102,
}
const blackhole: Route = {
  kind: 'route',
  family: 4,
  dst: '10.5.0.0/16' as Cidr,
  metric: 4294967294,
  type: 'blackhole',
  protocol: 102,
}
const neighbour: Neighbour = {
  kind: 'neighbour',
  family: 4,
  device: 'flannel.1',
  address: ip('10.5.3.0'),
  mac: mac('02:00:00:00:00:02'),
}
const neighbour6: Neighbour = { ...neighbour, family: 6, address: ip('fd00:5:3::') }
const fdb: Fdb = { kind: 'fdb', device: 'flannel.1', mac: mac('02:00:00:00:00:02'), dst: ip('192.168.64.12') }

const NEXTHOP = 0x66000001
const nexthop = {
  id: NEXTHOP,
  protocol: 102,
  gateway: { index: INDEX, via: ip('10.5.3.0'), onLink: true },
}
const nexthop6 = { ...nexthop, gateway: { ...nexthop.gateway, via: ip('fd00:5:3::') } }

/** Messages of iproute2 6.1 as `strace -e write=3` shows them; `difference` says where ours is another one on purpose. */
const golden: readonly { command: string; ours: Uint8Array; hex: string; difference?: [at: number, hex: string] }[] = [
  {
    command:
      'ip link add flannel.1 address 02:11:22:33:44:55 mtu 1450 up type vxlan id 1 dev uplink local 192.168.64.11 dstport 8472 nolearning gbp',
    ours: createLink(link, driver, 3),
    hex: `84000000 10000506 00000000 00000000 00000000 00000000 01000000 01000000 0a000100 02112233 44550000 08000400
      aa050000 0e000300 666c616e 6e656c2e 31000000 40001200 09000100 76786c61 6e000000 30000200 08000300 03000000
      04001700 08000100 01000000 08000400 c0a8400b 05000700 00000000 06000f00 21180000`,
  },
  {
    command: 'ip fou add port 8285 ipproto 4',
    ours: addFouPort(FOU, { kind: 'fou-port', port: 8285, protocol: 4 }),
    hex: '34000000 20000500 00000000 00000000 01010000 06000100 205d0000 05000400 01000000 05000200 02000000 05000300 04000000',
  },
  {
    command: 'ip fou del port 8285',
    ours: deleteFouPort(FOU, { kind: 'fou-port', port: 8285, protocol: 4 }),
    hex: '2c000000 20000500 00000000 00000000 02010000 06000100 205d0000 05000400 01000000 05000200 02000000',
  },
  {
    command: 'ip link set dev flannel.1 mtu 1400 address 02:11:22:33:44:66 up',
    ours: changeLink(INDEX, { ...link, mtu: 1400, mac: mac('02:11:22:33:44:66') }, { ...link, up: false }),
    hex: '34000000 10000500 00000000 00000000 00000000 05000000 01000000 01000000 08000400 78050000 0a000100 02112233 44660000',
  },
  {
    command: 'ip link set dev flannel.1 type vxlan dev uplink local 192.168.64.12 learning',
    ours: changeDriver(INDEX, { ...driver, local: ip('192.168.64.12'), learning: true }, 3),
    hex: `4c000000 10000500 00000000 00000000 00000000 05000000 00000000 00000000 2c001200 09000100 76786c61 6e000000
      1c000200 08000300 03000000 08000400 c0a8400c 05000700 01000000`,
  },
  {
    command: 'ip link add flannel.ipip mtu 1480 up type ipip local 192.168.64.11 ttl inherit nopmtudisc',
    ours: createLink(tunnel('flannel.ipip', 1480, ipip), ipip, 0),
    hex: `a4000000 10000506 00000000 00000000 00000000 00000000 01000000 01000000 08000400 c8050000 11000300 666c616e
      6e656c2e 69706970 00000000 68001200 08000100 69706970 5c000200 05000900 00000000 08000200 c0a8400b 05000a00
      00000000 05000500 00000000 05000400 00000000 08000100 00000000 08001400 00000000 06000f00 00000000 06001000
      00000000 06001100 00000000 06001200 00000000`,
  },
  {
    command:
      'ip link add flannel0 mtu 1472 up type ipip local 192.168.64.11 dev uplink ttl 64 encap fou encap-sport 8285 encap-dport 8285',
    ours: createLink(tunnel('flannel0', 1472, fou), fou, 3),
    hex: `a0000000 10000506 00000000 00000000 00000000 00000000 01000000 01000000 08000400 c0050000 0d000300 666c616e
      6e656c30 00000000 68001200 08000100 69706970 5c000200 05000900 00000000 08000200 c0a8400b 05000a00 01000000
      05000500 00000000 05000400 40000000 08000100 03000000 08001400 00000000 06000f00 01000000 06001000 00000000
      06001100 205d0000 06001200 205d0000`,
  },
  {
    command: 'ip link del flannel.1',
    ours: deleteLink(INDEX),
    hex: '20000000 11000500 00000000 00000000 00000000 05000000 00000000 00000000',
  },
  {
    command: 'ip addr add 10.5.72.0/32 dev flannel.1',
    ours: writeAddress(address, INDEX, 'create'),
    hex: '28000000 14000506 00000000 00000000 02200000 05000000 08000200 0a054800 08000100 0a054800',
  },
  {
    command: 'ip addr add fd00:5:72::/128 dev flannel.1 nodad',
    ours: writeAddress(address6, INDEX, 'create'),
    hex: `40000000 14000506 00000000 00000000 0a800200 05000000 14000200 fd000005 00720000 00000000 00000000
      14000100 fd000005 00720000 00000000 00000000`,
  },
  {
    command: 'ip addr del 10.5.72.0/32 dev flannel.1',
    ours: deleteAddress(address, INDEX),
    hex: '28000000 15000500 00000000 00000000 02200000 05000000 08000200 0a054800 08000100 0a054800',
  },
  {
    command: 'ip route change 10.5.3.0/24 via 10.5.3.0 dev flannel.1 onlink proto 102',
    ours: writeRoute(route, { index: INDEX }, 'replace'),
    hex: '34000000 18000501 00000000 00000000 02180000 fe660001 04000000 08000100 0a050300 08000500 0a050300 08000400 05000000',
  },
  {
    command: 'ip -6 route add fd00:5:3::/64 via fd00:5:3:: dev flannel.1 onlink proto 102 metric 1024',
    ours: writeRoute(route6, { index: INDEX }, 'create'),
    hex: `54000000 18000506 00000000 00000000 0a400000 fe660001 04000000 14000100 fd000005 00030000 00000000 00000000
      14000500 fd000005 00030000 00000000 00000000 08000600 00040000 08000400 05000000`,
  },
  {
    command: 'ip route add 10.6.3.0/24 dev flannel.1 proto 102',
    ours: writeRoute(linkRoute, { index: INDEX }, 'create'),
    hex: '2c000000 18000506 00000000 00000000 02180000 fe66fd01 00000000 08000100 0a060300 08000400 05000000',
  },
  {
    command: 'ip route add blackhole 10.5.0.0/16 metric 4294967294 proto 102',
    ours: writeRoute(blackhole, { index: 0 }, 'create'),
    hex: '2c000000 18000506 00000000 00000000 02100000 fe660006 00000000 08000100 0a050000 08000600 feffffff',
  },
  {
    command: 'ip route del 10.5.3.0/24 via 10.5.3.0 dev flannel.1 onlink proto 102',
    ours: deleteRoute(route, { index: INDEX }),
    hex: '34000000 19000500 00000000 00000000 02180000 fe66ff00 04000000 08000100 0a050300 08000500 0a050300 08000400 05000000',
    // The type is named, so that somebody's blackhole at the same key stays.
    difference: [23, '01'],
  },
  {
    command: 'ip route add 10.5.3.0/24 nhid 1711276033 proto 102',
    ours: writeRoute(route, { nexthop: NEXTHOP }, 'create'),
    hex: '2c000000 18000506 00000000 00000000 02180000 fe660001 00000000 08000100 0a050300 08001e00 01000066',
  },
  {
    command: 'ip -6 route change fd00:5:3::/64 nhid 1711276033 proto 102 metric 1024',
    ours: writeRoute(route6, { nexthop: NEXTHOP }, 'replace'),
    hex: `40000000 18000501 00000000 00000000 0a400000 fe660001 00000000 14000100 fd000005 00030000 00000000 00000000
      08001e00 01000066 08000600 00040000`,
  },
  {
    command: 'ip route del 10.5.3.0/24 nhid 1711276033 proto 102',
    ours: deleteRoute(route, { nexthop: NEXTHOP }),
    hex: '2c000000 19000500 00000000 00000000 02180000 fe66ff00 00000000 08000100 0a050300 08001e00 01000066',
    // As above.
    difference: [23, '01'],
  },
  {
    command: 'ip nexthop add id 1711276033 via 10.5.3.0 dev flannel.1 onlink proto 102',
    ours: writeNexthop(nexthop, 'create'),
    hex: '30000000 68000506 00000000 00000000 02006600 04000000 08000100 01000066 08000600 0a050300 08000500 05000000',
  },
  {
    command: 'ip nexthop replace id 1711276033 via fd00:5:3:: dev flannel.1 onlink proto 102',
    ours: writeNexthop(nexthop6, 'replace'),
    // Without NLM_F_CREATE, as "change" would do if ip had it.
    difference: [7, '01'],
    hex: `3c000000 68000505 00000000 00000000 0a006600 04000000 08000100 01000066 14000600 fd000005 00030000 00000000
      00000000 08000500 05000000`,
  },
  {
    command: 'ip nexthop del id 1711276033',
    ours: deleteNexthop(NEXTHOP),
    hex: '20000000 69000500 00000000 00000000 00000000 00000000 08000100 01000066',
  },
  {
    command: 'ip addr add 10.5.72.0/32 dev lo scope host',
    ours: writeAddress(spare, 1, 'create'),
    hex: '28000000 14000506 00000000 00000000 022000fe 01000000 08000200 0a054800 08000100 0a054800',
  },
  {
    command: 'ip addr add fd00:5:72::/128 dev lo nodad preferred_lft 0',
    ours: writeAddress(spare6, 1, 'create'),
    hex: `54000000 14000506 00000000 00000000 0a800200 01000000 14000200 fd000005 00720000 00000000 00000000
      14000100 fd000005 00720000 00000000 00000000 14000600 00000000 ffffffff 00000000 00000000`,
  },
  {
    command: 'ip neigh add 10.5.3.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent',
    ours: writeNeighbour(neighbour, INDEX, 'create'),
    hex: '30000000 1c000506 00000000 00000000 02000000 05000000 80000000 08000100 0a050300 0a000200 02000000 00020000',
  },
  {
    command: 'ip neigh change fd00:5:3:: lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent',
    ours: writeNeighbour(neighbour6, INDEX, 'replace'),
    hex: `3c000000 1c000501 00000000 00000000 0a000000 05000000 80000000 14000100 fd000005 00030000 00000000 00000000
      0a000200 02000000 00020000`,
  },
  {
    command: 'ip neigh del 10.5.3.0 dev flannel.1',
    ours: deleteNeighbour(neighbour, INDEX),
    hex: '24000000 1d000500 00000000 00000000 02000000 05000000 80000000 08000100 0a050300',
  },
  {
    command: 'bridge fdb add 02:00:00:00:00:02 dev flannel.1 dst 192.168.64.12 self permanent',
    ours: writeFdb(fdb, INDEX, 'create'),
    hex: '30000000 1c000506 00000000 00000000 07000000 05000000 c0000200 0a000200 02000000 00020000 08000100 c0a8400c',
  },
  {
    command: 'bridge fdb replace 02:00:00:00:00:02 dev flannel.1 dst 192.168.64.13 self permanent',
    ours: writeFdb({ ...fdb, dst: ip('192.168.64.13') }, INDEX, 'replace'),
    // Without NLM_F_CREATE, as "change" would do if bridge had it.
    difference: [7, '01'],
    hex: '30000000 1c000505 00000000 00000000 07000000 05000000 c0000200 0a000200 02000000 00020000 08000100 c0a8400d',
  },
  {
    command: 'bridge fdb del 02:00:00:00:00:02 dev flannel.1 dst 192.168.64.13 self permanent',
    ours: deleteFdb({ ...fdb, dst: ip('192.168.64.13') }, INDEX),
    hex: '30000000 1d000500 00000000 00000000 07000000 05000000 c0000200 0a000200 02000000 00020000 08000100 c0a8400d',
  },
]

const NLM_F_ACK = 4

describe('a netlink message', () => {
  for (const { command, ours, hex, difference } of golden) {
    it(`equals that of ${command}`, () => {
      // The acknowledgement flag and the sequence number are set when it is sent.
      const sent = Buffer.from(ours)
      sent.writeUInt16LE(sent.readUInt16LE(6) | NLM_F_ACK, 6)
      const theirs = Buffer.from(hex.replace(/\s/g, ''), 'hex')
      if (difference !== undefined) theirs.write(difference[1], difference[0], 'hex')
      assert.equal(sent.toString('hex'), theirs.toString('hex'))
    })
  }
})
