import assert from 'node:assert/strict'
import type { ForeignRules } from '../../../kernel/obstacles/foreign-rules.ts'
import { waysOut } from '../../../kernel/obstacles/nft-rule.ts'
import { obstaclesOf } from '../../../kernel/obstacles/obstacles.ts'
import { parseSaved } from '../../../kernel/rules/iptables-text.ts'
import * as the from '../fixtures.ts'

describe('obstacles', () => {
  const forward = { hook: 'forward', family: 4, network: the.cidr('10.5.0.0/16') } as const
  const postrouting = { ...forward, hook: 'postrouting' } as const
  const filter = (policy: string, ...rules: string[]): ForeignRules => ({
    iptables: [
      {
        world: 'nft',
        rules: parseSaved(
          [
            '*filter',
            `:FORWARD ${policy} [0:0]`,
            ':DOCKER-USER - [0:0]',
            ':FW - [0:0]',
            ...rules.map((rule) => `-A ${rule}`),
            'COMMIT',
          ].join('\n'),
        ),
      },
    ],
    chains: [],
  })
  const nat = (...rules: string[]): ForeignRules => ({
    iptables: [
      {
        world: 'legacy',
        rules: parseSaved(
          ['*nat', ':POSTROUTING ACCEPT [0:0]', ...rules.map((rule) => `-A POSTROUTING ${rule}`), 'COMMIT'].join('\n'),
        ),
      },
    ],
    chains: [],
  })
  const ours = '-m comment --comment "flanneld forward" -j FLANNEL-FWD'

  for (const [what, rules, found] of [
    ['an accepting policy', filter('ACCEPT'), undefined],
    ['a dropping policy', filter('DROP'), /the policy of iptables-nft FORWARD/],
    ['a dropping policy behind our jump', filter('DROP', `FORWARD ${ours}`), undefined],
    [
      'a drop before our jump',
      filter('ACCEPT', 'FORWARD -j DROP', `FORWARD ${ours}`),
      /rule 1 of iptables-nft FORWARD/,
    ],
    ['a drop behind our jump', filter('ACCEPT', `FORWARD ${ours}`, 'FORWARD -j DROP'), undefined],
    ['a drop of something else', filter('ACCEPT', 'FORWARD -s 172.16.0.0/12 -j DROP'), undefined],
    ['a drop with a further condition', filter('ACCEPT', 'FORWARD -m conntrack --ctstate INVALID -j DROP'), undefined],
    ['a drop of one device', filter('ACCEPT', 'FORWARD -i docker0 -j DROP'), undefined],
    [
      'a reject of part of the network',
      filter('ACCEPT', 'FORWARD -d 10.5.7.0/24 -j REJECT --reject-with icmp-port-unreachable'),
      /REJECT/,
    ],
    [
      'a policy that was opened by hand',
      filter('DROP', 'FORWARD -s 10.5.0.0/16 -j ACCEPT', 'FORWARD -d 10.5.0.0/16 -j ACCEPT'),
      undefined,
    ],
    ['a policy that was opened one way', filter('DROP', 'FORWARD -s 10.5.0.0/16 -j ACCEPT'), /the policy/],
    ['a policy opened for the loopback device', filter('DROP', 'FORWARD -i lo -j ACCEPT'), /the policy/],
    ['a policy opened in DOCKER-USER', filter('DROP', 'FORWARD -j DOCKER-USER', `DOCKER-USER ${ours}`), undefined],
    ['an accept of all', filter('DROP', 'FORWARD -j ACCEPT'), undefined],
    ['a drop in a chain behind it', filter('ACCEPT', 'FORWARD -j FW', 'FW -j DROP'), /rule 1 of iptables-nft FW drops/],
    ['an accept in a chain behind it', filter('DROP', 'FORWARD -j FW', 'FW -j ACCEPT'), undefined],
    ['a chain that returns', filter('DROP', 'FORWARD -j FW', 'FW -j RETURN', 'FW -j ACCEPT'), /the policy/],
    [
      'a chain that is gone to',
      filter('DROP', 'FORWARD -g FW', 'FORWARD -j ACCEPT', 'FW -p tcp -j DROP'),
      /the policy/,
    ],
    ['a chain for some packets only', filter('ACCEPT', 'FORWARD -p tcp -j FW', 'FW -j DROP'), undefined],
    ['chains that call each other', filter('ACCEPT', 'FORWARD -j FW', 'FW -j FW', 'FW -j DROP'), /FW drops/],
    [
      'a policy opened from within, with answers',
      filter('DROP', 'FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT', 'FORWARD -s 10.0.0.0/8 -j ACCEPT'),
      undefined,
    ],
    [
      'a drop of what comes from the network, with answers',
      filter('ACCEPT', 'FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT', 'FORWARD -s 10.5.0.0/16 -j DROP'),
      /rule 2 of/,
    ],
  ] as const) {
    it(`to forwarding: ${what}`, () => {
      const [first, ...others] = obstaclesOf(forward, rules)
      assert.equal(others.length, 0)
      if (found === undefined) assert.equal(first, undefined)
      else assert.match(first?.text ?? '', found)
    })
  }

  for (const [what, rule, found] of [
    ['Docker’s masquerade of its own network', '-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE', false],
    ['Docker’s masquerade of our subnet', '-s 10.5.72.0/24 ! -o docker0 -j MASQUERADE', true],
    ['a gateway that masquerades everything', '-o eth0 -j MASQUERADE', true],
    ['somebody’s address for one container', '-s 10.5.72.9/32 -j SNAT --to-source 192.0.2.1', true],
    ['all but multicast, as flannel did of old', '-s 10.5.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully', true],
    ['what goes out of the network', '-s 10.5.0.0/16 ! -d 10.0.0.0/8 -j MASQUERADE', false],
    ['what comes from outside', '! -s 10.5.0.0/16 -d 10.5.0.0/16 -j MASQUERADE', false],
    ['all but one node’s', '-s 10.5.0.0/16 ! -d 10.5.7.0/24 -j MASQUERADE', true],
    ['kube-proxy’s jump', '-m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING', false],
  ] as const) {
    it(`to masquerade: ${what}`, () => assert.equal(obstaclesOf(postrouting, nat(rule)).length, found ? 1 : 0))
  }

  it('to masquerade: rules of an old flannel, in their order and out of it, with the way to remove them (flannel#1337)', () => {
    const spared = '-s 10.5.0.0/16 -d 10.5.0.0/16 -j RETURN'
    const masked = '-s 10.5.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE'
    assert.deepEqual(obstaclesOf(postrouting, nat(spared, masked)), [])
    const [found, ...others] = obstaclesOf(postrouting, nat(masked, spared, masked))
    assert.deepEqual([found?.command, others], [`iptables-legacy -t nat -D POSTROUTING ${masked}`, []])
  })

  it('in tables of nft: a final reject, a policy, and the way that was opened', () => {
    const chain = { name: 'inet fw through', policy: 'accept', rules: [] } as const
    const find = (change: object) =>
      obstaclesOf(forward, { iptables: [], chains: [{ ...chain, ...change }] }).map(({ text }) => text)
    assert.deepEqual(find({}), [])
    assert.match(find({ policy: 'drop' })[0] ?? '', /the policy of chain inet fw through/)
    const reject = [{ counter: null }, { reject: { type: 'icmpx' } }]
    assert.match(find({ rules: [reject] })[0] ?? '', /drops what no rule before accepts/)
    const device = (name: string) => [
      { match: { op: '==', left: { meta: { key: 'iifname' } }, right: name } },
      { accept: null },
    ]
    // Firewalld begins with it.
    assert.equal(find({ rules: [device('lo'), reject] }).length, 1)
    assert.equal(find({ rules: [device('eth0'), reject] }).length, 0)
    const open = (field: string) => [
      {
        match: {
          op: '==',
          left: { payload: { protocol: 'ip', field } },
          right: { prefix: { addr: '10.5.0.0', len: 16 } },
        },
      },
      { accept: null },
    ]
    assert.equal(find({ rules: [open('saddr'), reject] }).length, 1)
    assert.equal(find({ rules: [open('saddr'), open('daddr'), reject] }).length, 0)
    // As firewalld's trusted zone has it.
    const inner = new Map([
      ['ZONES', [[...open('saddr').slice(0, 1), { goto: { target: 'TRUSTED' } }], [{ goto: { target: 'PUBLIC' } }]]],
      ['TRUSTED', [[{ accept: null }]]],
      ['PUBLIC', [reject]],
    ])
    const answers = [
      { match: { op: 'in', left: { ct: { key: 'state' } }, right: ['established', 'related'] } },
      { accept: null },
    ]
    const zones = [{ jump: { target: 'ZONES' } }]
    assert.match(find({ rules: [zones, reject], inner })[0] ?? '', /chain inet fw PUBLIC drops/)
    assert.equal(find({ rules: [answers, zones, reject], inner }).length, 0)
    const ipv4 = [{ match: { op: '==', left: { meta: { key: 'nfproto' } }, right: 'ipv4' } }, { drop: null }]
    const ipv6 = [{ match: { op: '==', left: { meta: { key: 'nfproto' } }, right: 'ipv6' } }, { drop: null }]
    assert.equal(find({ rules: [ipv6] }).length, 0)
    assert.equal(find({ rules: [ipv4] }).length, 1)
    assert.deepEqual(waysOut([zones, reject, [...answers.slice(0, 1), ...zones]]), ['ZONES'])
  })
})
