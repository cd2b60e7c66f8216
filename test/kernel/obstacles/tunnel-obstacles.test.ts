import assert from 'node:assert/strict'
import type { ForeignChain } from '../../../kernel/obstacles/foreign-rules.ts'
import type { NftExpressions } from '../../../kernel/obstacles/nft-rule.ts'
import { obstaclesOf } from '../../../kernel/obstacles/obstacles.ts'
import type { OuterPacket } from '../../../kernel/obstacles/packet-fate.ts'
import { parseSaved } from '../../../kernel/rules/iptables-text.ts'
import type { IpAddr } from '../../../lib/address.ts'
import * as the from '../fixtures.ts'

const vxlan: OuterPacket = { protocol: 'udp', port: 8472, device: 'eth0', local: '192.0.2.1' as IpAddr }
const udp: OuterPacket = { ...vxlan, port: 8285 }
const ipip: OuterPacket = { protocol: 'ipip', device: 'eth0', local: '192.0.2.1' as IpAddr }

function find(outer: OuterPacket, { rules = '', chains = [] as readonly ForeignChain[] }): string | undefined {
  const path = { hook: 'input', family: 4, network: the.cidr('10.5.0.0/16'), outer } as const
  const iptables = rules === '' ? [] : [{ world: 'nft' as const, rules: parseSaved(`*filter\n${rules}\nCOMMIT\n`) }]
  const [first] = obstaclesOf(path, { iptables, chains })
  return first === undefined ? undefined : `${first.text} | ${first.command}`
}

/** As images of RHEL and of Oracle's cloud have it. */
const RHEL = (...more: string[]) =>
  [
    ':INPUT ACCEPT [0:0]',
    '-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT',
    '-A INPUT -p icmp -j ACCEPT',
    '-A INPUT -i lo -j ACCEPT',
    '-A INPUT -p udp -m udp --sport 123 -j ACCEPT',
    '-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT',
    ...more.map((rule) => `-A INPUT ${rule}`),
    '-A INPUT -j REJECT --reject-with icmp-host-prohibited',
  ].join('\n')

/** As Debian's ufw 0.36 has it, shortened. */
const UFW = (...user: string[]) =>
  [
    ':INPUT DROP [0:0]',
    ...['before-input', 'after-input', 'reject-input', 'user-input', 'not-local', 'logging-deny'].map(
      (name) => `:ufw-${name} - [0:0]`,
    ),
    ':ufw-skip-to-policy-input - [0:0]',
    '-A INPUT -j ufw-before-input',
    '-A INPUT -j ufw-after-input',
    '-A INPUT -j ufw-reject-input',
    '-A ufw-before-input -i lo -j ACCEPT',
    '-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    '-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny',
    '-A ufw-before-input -m conntrack --ctstate INVALID -j DROP',
    '-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT',
    '-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT',
    '-A ufw-before-input -j ufw-not-local',
    '-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT',
    '-A ufw-before-input -j ufw-user-input',
    '-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input',
    '-A ufw-after-input -m addrtype --dst-type BROADCAST -j ufw-skip-to-policy-input',
    '-A ufw-logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "',
    '-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN',
    '-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN',
    '-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny',
    '-A ufw-not-local -j DROP',
    '-A ufw-skip-to-policy-input -j DROP',
    ...user.map((rule) => `-A ufw-user-input ${rule}`),
  ].join('\n')

const match = (left: object, right: unknown, op = '==') => ({ match: { op, left, right } })
const meta = (key: string) => ({ meta: { key } })
const ct = (key: string) => ({ ct: { key } })
const dport = (protocol: string) => ({ payload: { protocol, field: 'dport' } })
/** As the default configuration of nftables in many distributions. */
const NFT = (...more: NftExpressions[]): ForeignChain => ({
  name: 'inet filter input',
  hook: 'input',
  policy: 'drop',
  rules: [
    [
      {
        vmap: {
          key: ct('state'),
          data: {
            set: [
              ['invalid', { drop: null }],
              ['established', { accept: null }],
            ],
          },
        },
      },
    ],
    [match(meta('iif'), 'lo'), { accept: null }],
    [match(meta('l4proto'), { set: ['icmp', 'ipv6-icmp'] }), { accept: null }],
    [match(dport('tcp'), 22), { accept: null }],
    ...more,
    [match(meta('pkttype'), 'host'), { limit: { rate: 5, per: 'second' } }, { reject: { type: 'icmpx' } }],
  ],
})

describe('the input of a host', () => {
  const rhel =
    /^rule \d+ of iptables-nft INPUT \(-j REJECT .*\) closes 8472\/udp.*\| iptables-nft -I INPUT -p udp --dport 8472 -j ACCEPT$/
  for (const [what, outer, host, found] of [
    ['that ends in a reject', vxlan, { rules: RHEL() }, rhel],
    ['opened by port', vxlan, { rules: RHEL('-p udp -m udp --dport 8472 -j ACCEPT') }, undefined],
    ['opened by a range', vxlan, { rules: RHEL('-p udp -m udp --dport 8000:9000 -j ACCEPT') }, undefined],
    ['opened by several ports', vxlan, { rules: RHEL('-p udp -m multiport --dports 53,8472 -j ACCEPT') }, undefined],
    ['opened for another port', vxlan, { rules: RHEL('-p udp -m udp --dport 8285 -j ACCEPT') }, rhel],
    ['opened for all but a port', vxlan, { rules: RHEL('-p udp -m udp ! --dport 53 -j ACCEPT') }, undefined],
    ['opened for tcp', vxlan, { rules: RHEL('-p tcp -m tcp --dport 8472 -j ACCEPT') }, rhel],
    ['opened for sources of peers', vxlan, { rules: RHEL('-s 192.0.2.0/24 -j ACCEPT') }, undefined],
    ['opened for the host itself', vxlan, { rules: RHEL('-s 127.0.0.0/8 -j ACCEPT') }, rhel],
    ['opened by device', vxlan, { rules: RHEL('-i eth+ -j ACCEPT') }, undefined],
    ['opened by another device', vxlan, { rules: RHEL('-i tun0 -j ACCEPT') }, rhel],
    ['opened by a set', vxlan, { rules: RHEL('-m set --match-set peers src -j ACCEPT') }, undefined],
    ['opened by what iptables does not show', vxlan, { rules: RHEL('-m unshown -j ACCEPT') }, undefined],
    ['opened by a mark', vxlan, { rules: RHEL('-m mark --mark 0x1/0x1 -j ACCEPT') }, undefined],
    [
      'closed to ipip',
      ipip,
      { rules: RHEL() },
      /closes ipip \(IP protocol 4\).*\| iptables-nft -I INPUT -p 4 -j ACCEPT/,
    ],
    ['opened to ipip', ipip, { rules: RHEL('-p ipencap -j ACCEPT') }, undefined],
    ['opened to udp only', ipip, { rules: RHEL('-p udp -j ACCEPT') }, /closes ipip/],
    ['closed to udp', udp, { rules: RHEL() }, /closes 8285\/udp/],
    ['without rules', vxlan, { rules: ':INPUT ACCEPT [0:0]' }, undefined],
    ['of a policy', vxlan, { rules: ':INPUT DROP [0:0]' }, /^the policy of iptables-nft INPUT closes/],
    ['of ufw', vxlan, { rules: UFW() }, /^the policy of iptables-nft INPUT closes 8472.*\| ufw allow 8472\/udp$/],
    ['of ufw for ipip', ipip, { rules: UFW() }, /\| iptables-nft -I INPUT -p 4 -j ACCEPT$/],
    ['of ufw, opened', vxlan, { rules: UFW('-p udp -m udp --dport 8472 -j ACCEPT') }, undefined],
    ['of ufw, closed by hand', vxlan, { rules: UFW('-p udp -m udp --dport 8472 -j DROP') }, /rule 1 .*ufw-user-input/],
    [
      'of firewalld in iptables',
      vxlan,
      {
        rules:
          ':INPUT ACCEPT [0:0]\n:INPUT_ZONES - [0:0]\n:IN_public - [0:0]\n-A INPUT -j INPUT_ZONES\n-A INPUT_ZONES -g IN_public\n-A IN_public -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -j REJECT',
      },
      /\| firewall-cmd --permanent --add-port=8472\/udp && firewall-cmd --reload$/,
    ],
    [
      'that drops what may not be ours',
      vxlan,
      { rules: ':INPUT ACCEPT [0:0]\n-A INPUT -m recent --name bad -j DROP\n-A INPUT ! -s 192.0.2.0/24 -j DROP' },
      undefined,
    ],
    [
      'of nftables',
      vxlan,
      { chains: [NFT()] },
      /^the policy of chain inet filter input closes 8472.*\| nft insert rule inet filter input udp dport 8472 accept$/,
    ],
    ['of nftables, opened', vxlan, { chains: [NFT([match(dport('udp'), 8472), { accept: null }])] }, undefined],
    [
      'of nftables, opened by a set',
      vxlan,
      { chains: [NFT([match(dport('udp'), { set: [53, 8472] }), { accept: null }])] },
      undefined,
    ],
    [
      'of nftables, opened by a named set',
      vxlan,
      { chains: [NFT([match(dport('udp'), '@open'), { accept: null }])] },
      undefined,
    ],
    [
      'of nftables, opened for another',
      vxlan,
      { chains: [NFT([match(dport('udp'), 8473), { accept: null }])] },
      /closes 8472/,
    ],
    ['of nftables, for ipip', ipip, { chains: [NFT()] }, /\| nft insert rule inet filter input ip protocol 4 accept$/],
    [
      'of nftables, opened for ipip',
      ipip,
      { chains: [NFT([match(meta('l4proto'), 'ipencap'), { accept: null }])] },
      undefined,
    ],
    [
      'of nftables, by a named map',
      vxlan,
      { chains: [NFT([{ vmap: { key: dport('udp'), data: '@ports' } }])] },
      undefined,
    ],
    [
      'of firewalld',
      vxlan,
      {
        chains: [
          {
            name: 'inet firewalld filter_INPUT',
            hook: 'input',
            policy: 'accept',
            rules: [
              [match(ct('state'), { set: ['established', 'related'] }), { accept: null }],
              [match(ct('status'), 'dnat'), { accept: null }],
              [{ jump: { target: 'filter_INPUT_ZONES' } }],
              [{ reject: { type: 'icmpx' } }],
            ],
            inner: new Map([
              ['filter_INPUT_ZONES', [[match(meta('iifname'), 'eth0'), { goto: { target: 'filter_IN_public' } }]]],
              ['filter_IN_public', [[match(dport('tcp'), 22), { accept: null }], [{ reject: { type: 'icmpx' } }]]],
            ]),
          },
        ],
      },
      /^chain inet firewalld filter_IN_public closes 8472.*\| firewall-cmd --permanent --add-port=8472\/udp && firewall-cmd --reload$/,
    ],
  ] as const) {
    it(what, () => {
      const text = find(outer, host as Parameters<typeof find>[1])
      if (found === undefined) assert.equal(text, undefined)
      else assert.match(text ?? '', found)
    })
  }

  it('through chains that call each other comes to an end', () => {
    assert.equal(find(vxlan, { rules: ':INPUT ACCEPT [0:0]\n:A - [0:0]\n-A INPUT -j A\n-A A -j A' }), undefined)
  })
})
