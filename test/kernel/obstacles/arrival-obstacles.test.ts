import assert from 'node:assert/strict'
import type { ForeignChain } from '../../../kernel/obstacles/foreign-rules.ts'
import type { NftExpressions } from '../../../kernel/obstacles/nft-rule.ts'
import { obstaclesOf } from '../../../kernel/obstacles/obstacles.ts'
import { parseSaved } from '../../../kernel/rules/iptables-text.ts'
import * as the from '../fixtures.ts'

/** What is said where packets come in by flannel.7, that have come in by flannel.1. */
function find({ rules = '', chains = [] as readonly ForeignChain[] }): readonly string[] {
  const arrival = { device: 'flannel.7', instead: 'flannel.1', to: the.cidr('10.5.1.0/24') }
  const path = { hook: 'forward', family: 4, network: the.cidr('10.5.0.0/16'), arrival } as const
  const iptables = rules === '' ? [] : [{ world: 'nft' as const, rules: parseSaved(`*filter\n${rules}\nCOMMIT\n`) }]
  return obstaclesOf(path, { iptables, chains }).map(({ text, command }) => `${text} | ${command}`)
}

const FORWARD = (policy: string, ...rules: string[]) => ({
  rules: [`:FORWARD ${policy} [0:0]`, ':FLANNEL-FWD - [0:0]', ...rules.map((rule) => `-A FORWARD ${rule}`)].join('\n'),
})
const match = (key: string, right: unknown) => ({ match: { op: '==', left: { meta: { key } }, right } })
const accept = { accept: null }
const side = (field: string, addr: string, len: number) => ({
  match: { op: '==', left: { payload: { protocol: 'ip', field } }, right: { prefix: { addr, len } } },
})
const chain = (policy: 'accept' | 'drop', rules: readonly NftExpressions[], more: Partial<ForeignChain> = {}) => ({
  chains: [{ name: 'inet fw f', hook: 'forward', policy, rules, ...more } satisfies ForeignChain],
})
/** As firewalld has it: zones by device, and a rejection at the end of the one of all others. */
const FIREWALLD = (...trusted: readonly string[]) =>
  chain(
    'accept',
    [
      [{ match: { op: 'in', left: { ct: { key: 'state' } }, right: ['established', 'related'] } }, accept],
      [match('iifname', 'lo'), accept],
      [{ jump: { target: 'filter_FORWARD_ZONES' } }],
      [{ reject: { type: 'icmpx' } }],
    ],
    {
      name: 'inet firewalld filter_FORWARD',
      inner: new Map<string, readonly NftExpressions[]>([
        [
          'filter_FORWARD_ZONES',
          [
            ...trusted.map((device) => [match('iifname', device), { goto: { target: 'filter_FWD_trusted' } }]),
            [match('iifname', 'cni0'), { goto: { target: 'filter_FWD_trusted' } }],
            [{ goto: { target: 'filter_FWD_public' } }],
          ],
        ],
        ['filter_FWD_trusted', [[accept]]],
        ['filter_FWD_public', [[match('iifname', 'eth0'), accept], [{ reject: { type: 'icmpx' } }]]],
      ]),
    },
  )

describe('what forwarding does to packets that come in by another device', () => {
  const policy =
    /^the policy of iptables-nft FORWARD drops what comes in by flannel.7, and not what comes in by flannel.1 \| iptables-nft -I FORWARD -i flannel.7 -d 10.5.1.0\/24 -j ACCEPT$/
  const cases: readonly [what: string, host: Parameters<typeof find>[0], ...found: readonly RegExp[]][] = [
    ['nothing where no rule asks for it', FORWARD('ACCEPT')],
    ['nothing where all is dropped before, too', FORWARD('DROP')],
    ['nothing behind our own rules', FORWARD('DROP', '-i flannel.1 -j ACCEPT', '-j FLANNEL-FWD')],
    ['it is dropped where a rule names the device', FORWARD('DROP', '-i flannel.1 -j ACCEPT'), policy],
    ['nothing where the rule names all of them', FORWARD('DROP', '-i flannel+ -j ACCEPT')],
    ['nothing where the rule names another subnet', FORWARD('DROP', '-i flannel.1 -d 192.0.2.0/24 -j ACCEPT')],
    [
      'it is dropped by a rejection, established or not',
      FORWARD('ACCEPT', '-m conntrack --ctstate ESTABLISHED -j ACCEPT', '-i flannel.1 -j ACCEPT', '-j REJECT'),
      /^rule 3 of iptables-nft FORWARD drops what comes in by flannel.7/,
    ],
    [
      'it is dropped on the way out',
      FORWARD('DROP', '-i flannel.7 -j ACCEPT', '-o flannel.1 -j ACCEPT', '-i flannel.1 -j ACCEPT'),
      /drops what goes out by flannel.7, .* \| iptables-nft -I FORWARD -s 10.5.1.0\/24 -o flannel.7 -j ACCEPT$/,
    ],
    ['nothing is said of what may be', FORWARD('DROP', '-i flannel.1 -j ACCEPT', '-m mark --mark 0x1 -j ACCEPT')],
    [
      'it is dropped by a chain of nftables',
      chain('drop', [[match('iifname', { set: ['flannel.1', 'cni0'] }), accept]]),
      /^the policy of chain inet fw f drops what comes in by flannel.7, .* \| nft insert rule inet fw f iifname flannel.7 accept$/,
    ],
    ['nothing by one that lets the network through', chain('drop', [[side('daddr', '10.0.0.0', 8), accept]])],
    [
      'nothing by one that may',
      chain('drop', [
        [match('iifname', 'flannel.1'), accept],
        [match('mark', 1), accept],
      ]),
    ],
    [
      'it is dropped by firewalld, whose zone has the other one',
      FIREWALLD('flannel.1'),
      /^chain inet firewalld filter_FWD_public .* \| firewall-cmd --permanent --zone=trusted --add-interface=flannel.7 /,
    ],
    ['nothing by firewalld with both', FIREWALLD('flannel.1', 'flannel.7')],
    ['nothing by firewalld with all', FIREWALLD('flannel*')],
  ]
  for (const [what, host, ...found] of cases)
    it(what, () => {
      const texts = find(host)
      assert.equal(texts.length, found.length, texts.join('\n'))
      for (const [index, pattern] of found.entries()) assert.match(texts[index] ?? '', pattern)
    })
})
