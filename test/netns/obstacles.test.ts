import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { ObstacleReader } from '../../kernel/obstacles/obstacle-reader.ts'
import type { PacketPath } from '../../kernel/obstacles/packet-path.ts'
import type { Cidr, IpAddr } from '../../lib/address.ts'
import { ownNamespace } from './own-namespace.ts'

/** A bridge with a container's end in it, on the overlay. */
const overlayBridge = `ip link show ov0 >/dev/null 2>&1 || {
  ip link add ov0 type bridge; ip addr add 10.5.1.1/24 dev ov0; ip link add ov1 type veth peer name ov2
  ip link set ov1 master ov0; ip link set ov1 up; ip link set ov2 up; ip link set ov0 up
  until ip -o link show ov0 | grep -q LOWER_UP; do sleep 0.05; done; }`
const docker29 = (rule: string) => `nft 'table ip docker-bridges {
  map filter-forward-in-jumps { type ifname : verdict; elements = { "ov0" : jump filter-forward-in__ov0, "docker0" : jump filter-forward-in__docker0 }; }
  chain filter-forward-in__docker0 { ct state established,related counter accept; iifname "docker0" counter accept comment "ICC"; counter drop comment "UNPUBLISHED PORT DROP"; }
  chain filter-forward-in__ov0 { ct state established,related counter accept; ${rule} iifname "ov0" counter accept comment "ICC"; counter drop comment "UNPUBLISHED PORT DROP"; }
  chain filter-FORWARD { type filter hook forward priority filter; policy accept; oifname vmap @filter-forward-in-jumps; }
  chain raw-PREROUTING { type filter hook prerouting priority raw; policy accept; }
}'`

const path: PacketPath = { hook: 'forward', family: 4, network: '10.5.0.0/16' as Cidr }

describe('what stands in the way of forwarded packets', function () {
  this.timeout(20_000)
  const namespace = ownNamespace(this)

  it('is a stranger’s chain, never one of ours, the ingress guards of all instances included', async () => {
    const { sets, monitor } = namespace.kernel.rules
    const drops = (table: string) => {
      namespace.run(`nft add table inet ${table}`)
      namespace.run(`nft add chain inet ${table} forward { type filter hook forward priority 0 ; policy drop ; }`)
    }
    for (const table of ['flanneld-guard', 'flanneld-guard-0badcafe', 'wall']) drops(table)
    const [found] = await new ObstacleReader({ sets }).read([path])
    assert.deepEqual([...monitor.chainsOfOthers], ['inet wall forward'])
    assert.deepEqual(
      found?.map(({ text }) => /inet (\S+)/.exec(text)?.[1]),
      ['wall'],
    )
  })

  const input: PacketPath = {
    ...path,
    hook: 'input',
    outer: { protocol: 'udp', port: 8472, device: 'uplink', local: '192.168.64.11' as IpAddr },
  }
  const sh = (script: string) => execFileSync('sh', ['-ec', script], { encoding: 'utf8', stdio: 'pipe' })

  for (const [what, look, close, found, open] of [
    [
      'a drop of a set, which iptables shows without it',
      path,
      `iptables-nft -P FORWARD ACCEPT; nft add set ip filter bad '{ type ipv4_addr; }'; nft add rule ip filter FORWARD ip saddr @bad drop`,
      undefined,
    ],
    [
      'a drop of all beside it',
      path,
      `iptables-nft -P FORWARD ACCEPT; nft add set ip filter bad '{ type ipv4_addr; }'; nft add rule ip filter FORWARD ip saddr @bad drop; iptables-nft -A FORWARD -j DROP`,
      /^rule 2 of iptables-nft FORWARD drops/,
    ],
    [
      'a policy in a table that iptables cannot show',
      path,
      'iptables-nft -P FORWARD DROP; nft add rule ip filter FORWARD ct state established accept',
      /^the policy of iptables-nft FORWARD drops/,
    ],
    [
      'Docker 28 in front of a container of the overlay',
      path,
      'iptables-nft -t raw -A PREROUTING -d 10.5.1.2/32 ! -i docker0 -j DROP',
      /^iptables-nft -t raw PREROUTING drops what peers send to 10\.5\.1\.2 /,
    ],
    [
      'Docker 28 in front of its own containers',
      path,
      'iptables-nft -t raw -A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP',
      undefined,
    ],
    [
      'Docker 29 by nftables',
      path,
      `nft 'table ip docker-bridges {
        map filter-forward-in-jumps { type ifname : verdict; elements = { "docker0" : jump filter-forward-in__docker0 }; }
        chain filter-forward-in__docker0 { ct state established,related counter accept; counter drop; }
        chain filter-FORWARD { type filter hook forward priority filter; policy accept; oifname vmap @filter-forward-in-jumps; }
        chain raw-PREROUTING { type filter hook prerouting priority raw; policy accept; ip daddr 10.5.1.2 iifname != "docker0" counter drop comment "DROP DIRECT ACCESS"; }
      }'`,
      /^chain ip docker-bridges raw-PREROUTING drops what peers send/,
    ],
    [
      'Docker 29 by nftables, which drops for its whole network',
      path,
      `nft 'table ip docker-bridges {
        chain raw-PREROUTING { type filter hook prerouting priority raw; policy accept; ip daddr 10.5.1.0/24 iifname != { "docker0", "lo" } counter drop comment "SUBNET DROP EXTERNAL"; }
      }'`,
      /^chain ip docker-bridges raw-PREROUTING drops what peers send to 10\.5\.1\.0\/24 /,
    ],
    [
      'Docker 29 by nftables, whose network trusts a device',
      path,
      `nft 'table ip docker-bridges {
        chain raw-PREROUTING { type filter hook prerouting priority raw; policy accept; ip daddr 10.5.1.0/24 iifname != { "docker0", "lo", "flannel.1" } counter drop; }
      }'`,
      undefined,
    ],
    [
      'Docker 29 by nftables with direct routing, in front of its bridge on the overlay',
      path,
      `${overlayBridge}; ${docker29('')}`,
      /^chain ip docker-bridges filter-forward-in__ov0 drops what peers send to containers of ov0/,
    ],
    [
      'Docker 29 by nftables with direct routing and a mark',
      path,
      `${overlayBridge}; ${docker29('meta mark and 4096 == 4096 counter accept;')}`,
      undefined,
    ],
    [
      'a reject at the end of the input',
      input,
      'iptables-nft -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT; iptables-nft -A INPUT -i lo -j ACCEPT; iptables-nft -A INPUT -j REJECT --reject-with icmp-host-prohibited',
      /^rule 3 of iptables-nft INPUT .*closes 8472\/udp/,
      true,
    ],
    [
      'a firewall of nft',
      input,
      `nft 'table inet filter { chain input { type filter hook input priority 0; policy drop; ct state vmap { established : accept, related : accept, invalid : drop }; iif lo accept; meta l4proto { icmp, ipv6-icmp } accept; tcp dport 22 accept; }; }'`,
      /^the policy of chain inet filter input closes 8472\/udp/,
      true,
    ],
    [
      'NetBird, which drops on its own interface only',
      path,
      `nft 'table ip netbird {
        chain netbird-rt-fwd { counter drop; }
        chain netbird-acl-forward-filter { type filter hook forward priority filter; policy accept; ct state established,related accept; iifname "wt0" jump netbird-rt-fwd; iifname "wt0" drop; }
        chain netbird-acl-input-filter { type filter hook input priority filter; policy accept; iifname "wt0" ct state established,related accept; iifname "wt0" drop; }
      }'`,
      undefined,
    ],
    [
      'NetBird at the input',
      input,
      `nft 'table ip netbird {
        chain netbird-acl-input-filter { type filter hook input priority filter; policy accept; iifname "wt0" ct state established,related accept; iifname "wt0" drop; }
      }'`,
      undefined,
    ],
    [
      'Kilo, which accepts its own',
      path,
      `iptables-nft -N KILO-IPIP; iptables-nft -A INPUT -p ipencap -m comment --comment "Kilo: jump to IPIP chain" -j KILO-IPIP; iptables-nft -A KILO-IPIP -s 192.168.64.12/32 -m comment --comment "Kilo: allow IPIP traffic" -j ACCEPT; iptables-nft -A INPUT -p ipencap -m comment --comment "Kilo: reject other IPIP traffic" -j DROP`,
      undefined,
    ],
  ] as const) {
    it(`is ${found === undefined ? 'not ' : ''}${what}`, async () => {
      sh('nft flush ruleset')
      const { sets } = namespace.kernel.rules
      sh(close)
      const reader = new ObstacleReader({ sets })
      const obstacles = async () => (await reader.read([look]))[0] ?? []
      const [first, ...more] = await obstacles()
      assert.deepEqual(more, [])
      if (found === undefined) assert.equal(first, undefined)
      else assert.match(first?.text ?? '', found)
      if (!open) return
      sh(first?.command ?? 'false')
      assert.deepEqual(await obstacles(), [])
    })
  }
})
