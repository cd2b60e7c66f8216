import assert from 'node:assert/strict'
import type { ClusterNode } from '../../lab/cluster/node.ts'
import type { Cidr } from '../../lib/address.ts'
import { familyOf } from '../../lib/address.ts'

/** The rules that flannel's end-to-end suite expects on a node, in the words of `iptables -S` and `nft list`. */

/** A node's podCIDR and the network that it lies in. */
export interface Range {
  readonly own: Cidr
  readonly network: Cidr
}

const masq = '-m comment --comment "flanneld masq"'
const forward = '-m comment --comment "flanneld forward"'
const kubeProxys = [
  '-P FORWARD ACCEPT',
  '-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
  '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
  '-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
  '-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES',
]

export async function hasIptablesRules(node: ClusterNode, { own, network }: Range): Promise<void> {
  const program = familyOf(network) === 4 ? 'iptables' : 'ip6tables'
  const multicast = familyOf(network) === 4 ? '224.0.0.0/4' : 'ff00::/8'
  const chain = async (...args: string[]) =>
    (await node.exec([program, '-t', ...args])).stdout.split('\n').filter((line) => line !== '')
  const jump = (await chain('nat', '-S', 'POSTROUTING')).filter((line) => line.includes('FLANNEL'))
  assert.deepEqual(
    [...jump, ...(await chain('nat', '-S', 'FLANNEL-POSTRTG'))],
    [
      `-A POSTROUTING ${masq} -j FLANNEL-POSTRTG`,
      '-N FLANNEL-POSTRTG',
      `-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 ${masq} -j RETURN`,
      `-A FLANNEL-POSTRTG -s ${own} -d ${network} ${masq} -j RETURN`,
      `-A FLANNEL-POSTRTG -s ${network} -d ${own} ${masq} -j RETURN`,
      `-A FLANNEL-POSTRTG ! -s ${network} -d ${own} ${masq} -j RETURN`,
      `-A FLANNEL-POSTRTG -s ${network} ! -d ${multicast} ${masq} -j MASQUERADE --random-fully`,
      `-A FLANNEL-POSTRTG ! -s ${network} -d ${network} ${masq} -j MASQUERADE --random-fully`,
    ],
  )
  assert.deepEqual(
    [...(await chain('filter', '-S', 'FORWARD')), ...(await chain('filter', '-S', 'FLANNEL-FWD'))],
    [
      ...kubeProxys,
      `-A FORWARD ${forward} -j FLANNEL-FWD`,
      '-N FLANNEL-FWD',
      `-A FLANNEL-FWD -s ${network} ${forward} -j ACCEPT`,
      `-A FLANNEL-FWD -d ${network} ${forward} -j ACCEPT`,
    ],
  )
}

/**
 * Two of flannel's rules are wrong, and ours differ: its mark has no mask, and its fourth rule leaves the sixth nothing to match. Comments
 * are left out: ours number the rules, and chains have none with an nft as old as Debian 12's.
 */
export async function hasNftChains(node: ClusterNode, { own, network }: Range): Promise<void> {
  const [ip, table] = familyOf(network) === 4 ? (['ip', 'flannel-ipv4'] as const) : (['ip6', 'flannel-ipv6'] as const)
  const multicast = ip === 'ip' ? '224.0.0.0/4' : 'ff00::/8'
  const chain = async (name: string) =>
    (await node.exec(['nft', 'list', 'chain', ip, table, name])).stdout
      .split('\n')
      .map((line) => line.trim().replace(/ ?comment ".*"$/, ''))
      .filter((line) => line !== '' && line !== '}')
  assert.deepEqual(await chain('postrtg'), [
    `table ${ip} ${table} {`,
    'chain postrtg {',
    'type nat hook postrouting priority srcnat; policy accept;',
    'meta mark & 0x00004000 == 0x00004000 return',
    `${ip} saddr ${own} ${ip} daddr ${network} return`,
    `${ip} saddr ${network} ${ip} daddr ${own} return`,
    `${ip} saddr != ${network} ${ip} daddr ${own} return`,
    `${ip} saddr ${network} ${ip} daddr != ${multicast} masquerade fully-random`,
    `${ip} saddr != ${network} ${ip} daddr ${network} masquerade fully-random`,
  ])
  assert.deepEqual(await chain('forward'), [
    `table ${ip} ${table} {`,
    'chain forward {',
    'type filter hook forward priority filter; policy accept;',
    `${ip} saddr ${network} accept`,
    `${ip} daddr ${network} accept`,
  ])
}
