import assert from 'node:assert/strict'
import { ownChains } from '../../../kernel/kinds/iptables-chain/own-chains.ts'
import { restoreText, unreadableJumps } from '../../../kernel/kinds/iptables-chain/script.ts'
import type { ForeignRules } from '../../../kernel/obstacles/foreign-rules.ts'
import { obstaclesOf } from '../../../kernel/obstacles/obstacles.ts'
import { parseSaved } from '../../../kernel/rules/iptables-text.ts'
import { iptablesWords, savedFromNft, withUnshown } from '../../../kernel/rules/nft-saved.ts'
import { nftName } from '../../../kernel/rules/nft-text.ts'
import * as the from '../fixtures.ts'

const xt = (name: string, type = 'match') => ({ xt: { type, name } })
const counter = { counter: { packets: 3, bytes: 4 } }
const side = (field: string, right: unknown, op = '==') => ({
  match: { op, left: { payload: { protocol: 'ip', field } }, right },
})
const device = (key: string, right: unknown, op = '==') => ({ match: { op, left: { meta: { key } }, right } })
const jump = { jump: { target: 'FLANNEL-FWD' } }
const rule = (chain: string, handle: number, ...expr: object[]) => ({ rule: { chain, handle, expr } })
const listing = (...items: object[]) => JSON.stringify({ nftables: items })
const native = { match: { op: 'in', left: { ct: { key: 'state' } }, right: ['established', 'related'] } }

describe('rules of iptables as nft shows them', () => {
  for (const [words, ...expressions] of [
    ['-s 10.0.0.0/8 -j ACCEPT', side('saddr', { prefix: { addr: '10.0.0.0', len: 8 } }), counter, { accept: null }],
    [
      '! -d 10.1.2.3 ! -i docker0 -j DROP',
      side('daddr', '10.1.2.3', '!='),
      device('iifname', 'docker0', '!='),
      { drop: null },
    ],
    ['-m comment --comment "flanneld forward" -j FLANNEL-FWD', xt('comment'), counter, jump],
    ['-j KUBE-FORWARD', xt('comment'), { jump: { target: 'KUBE-FORWARD' } }],
    ['-g A', { goto: { target: 'A' } }],
    ['-j MASQUERADE', { masquerade: { flags: 'fully-random' } }],
    ['-j REJECT', xt('REJECT', 'target')],
    ['-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT', native, { accept: null }],
    ['-m unshown -j ACCEPT', device('mark', 7), { accept: null }],
    ['-m unshown -j DROP', side('saddr', '@blocked'), { drop: null }],
    ['-m unshown -j DROP', side('saddr', { set: ['10.0.0.1'] }), { drop: null }],
    ['-m unshown', { vmap: { key: {}, data: '@map' } }],
    ['-m unshown -j DROP', xt('conntrack'), { drop: null }],
    ['-m unshown -j DROP', { xt: null }, { drop: null }],
  ] as const) {
    it(words, () => assert.equal(iptablesWords(expressions), words))
  }

  const FORWARD = { chain: { name: 'FORWARD', hook: 'forward', policy: 'accept' } }
  const OWN = { chain: { name: 'FLANNEL-FWD' } }
  const table = () =>
    savedFromNft(
      listing(
        { metainfo: {} },
        FORWARD,
        OWN,
        rule('FORWARD', 5, native, { accept: null }),
        rule('FORWARD', 7, xt('comment'), counter, jump),
        rule('FORWARD', 9, xt('comment'), counter, jump),
      ),
    )

  it('tell of our jumps, which are taken away by their numbers', () => {
    const [actual] = ownChains(new Map([['filter', table()]]), { world: 'nft', family: 4 })
    assert(actual !== undefined)
    assert.deepEqual(
      actual.jumps.map(({ from, handle }) => `${from} ${handle}`),
      ['FORWARD 7', 'FORWARD 9'],
    )
    const wanted = {
      ...actual,
      jumps: [{ from: 'FORWARD', rule: '-m comment --comment "flanneld forward" -j FLANNEL-FWD', place: 'last' }],
    } as const
    assert.equal(unreadableJumps(actual, wanted), 'delete rule ip filter FORWARD handle 9\n')
    assert.doesNotMatch(
      restoreText(wanted, actual, () => true),
      /-[AID] FORWARD/,
    )
    assert.equal(unreadableJumps(actual, undefined).split('\n').length, 3)
  })

  it('are no listing in anything else', () => {
    for (const text of ['', '{}', 'Error', '[]']) assert.throws(() => savedFromNft(text), SyntaxError)
  })

  it('are cut off where a table does not end', () => {
    for (const text of ['*filter\n:FORWARD ACCEPT\n', '*nat\n*filter\nCOMMIT\n'])
      assert.throws(() => parseSaved(text), SyntaxError)
  })
})

describe('a rule of which iptables leaves conditions out', () => {
  const path = { hook: 'forward', family: 4, network: the.cidr('10.5.0.0/16') } as const
  const judged = (policy: string, ...rules: (readonly [string, ...object[]])[]) => {
    const text = ['*filter', `:FORWARD ${policy} [0:0]`, ...rules.map(([words]) => `-A FORWARD ${words}`), 'COMMIT']
    const json = listing(...rules.map(([, ...expr], index) => rule('FORWARD', index, ...expr)))
    const saved = parseSaved(text.join('\n')).get('filter')
    assert(saved !== undefined)
    const foreign: ForeignRules = {
      iptables: [{ world: 'nft', rules: new Map([['filter', withUnshown(saved, json)]]) }],
      chains: [],
    }
    return obstaclesOf(path, foreign).length
  }

  for (const [what, policy, rules, count] of [
    ['a drop of a set', 'ACCEPT', [['-j DROP', side('saddr', '@blocked'), { drop: null }]], 0],
    [
      'a drop of some devices',
      'ACCEPT',
      [['-j DROP', device('iifname', { set: ['eth0', 'eth1'] }), { drop: null }]],
      0,
    ],
    ['a drop of all', 'ACCEPT', [['-j DROP', counter, { drop: null }]], 1],
    ['a reject of all', 'ACCEPT', [['-j REJECT', counter, xt('REJECT', 'target')]], 1],
    ['an accept of a set before a policy', 'DROP', [['-j ACCEPT', side('saddr', '@pods'), { accept: null }]], 0],
    ['an accept of a port before a policy', 'DROP', [['-p tcp -m tcp --dport 22 -j ACCEPT', { accept: null }]], 1],
  ] as const) {
    it(what, () => assert.equal(judged(policy, ...(rules as never as [string, ...object[]][])), count))
  }

  it('is told apart only where both lists are as long', () => {
    const saved = parseSaved('*filter\n:FORWARD ACCEPT\n-A FORWARD -j DROP\n-A FORWARD -j DROP\nCOMMIT\n').get('filter')
    assert(saved !== undefined)
    const marked = withUnshown(saved, listing(rule('FORWARD', 1, { drop: null })))
    assert.deepEqual(marked.get('FORWARD')?.rules, ['-j DROP -m unshown', '-j DROP -m unshown'])
  })
})

describe('a device in a script of nft', () => {
  for (const [name, text] of [
    ['eth0', '"eth0"'],
    ['a*', '"a\\*"'],
    ['a*b', '"a*b"'],
    ['a;}b', '"a;}b"'],
  ] as const)
    it(name, () => assert.equal(nftName(name), text))
})

describe('what Docker drops in raw PREROUTING', () => {
  const path = { hook: 'forward', family: 4, network: the.cidr('10.5.0.0/16') } as const
  const raw = (...rules: string[]): ForeignRules => ({
    iptables: [
      {
        world: 'nft',
        rules: parseSaved(
          ['*raw', ':PREROUTING ACCEPT', ...rules.map((r) => `-A PREROUTING ${r}`), 'COMMIT'].join('\n'),
        ),
      },
    ],
    chains: [],
  })
  const nft = (...expr: object[]): ForeignRules => ({
    iptables: [],
    chains: [
      { name: 'ip docker-bridges raw-PREROUTING', hook: 'prerouting', policy: 'accept', rules: [expr as never] },
    ],
  })
  for (const [what, rules, found] of [
    ['its own network', raw('-d 172.17.0.2/32 ! -i docker0 -j DROP'), false],
    ['a container of the overlay', raw('-d 10.5.1.2/32 ! -i docker0 -j DROP'), true],
    [
      'one that trusts an interface',
      raw('-d 10.5.1.2/32 -i flannel.1 -j ACCEPT', '-d 10.5.1.2/32 ! -i docker0 -j DROP'),
      false,
    ],
    [
      'one that trusts none for another',
      raw('-d 10.5.1.3/32 -i x -j ACCEPT', '-d 10.5.1.2/32 ! -i docker0 -j DROP'),
      true,
    ],
    ['one of a published port (28.0)', raw('-d 10.5.1.2/32 ! -i br-1 -p tcp -m tcp --dport 80 -j DROP'), true],
    ['one that trusts lo only', raw('-d 10.5.1.2/32 -i lo -j ACCEPT', '-d 10.5.1.2/32 ! -i br-1 -j DROP'), true],
    ['an nft rule', nft(side('daddr', '10.5.1.2'), device('iifname', 'docker0', '!='), counter, { drop: null }), true],
    [
      'an nft rule of its own network',
      nft(side('daddr', '172.17.0.2'), device('iifname', 'docker0', '!='), { drop: null }),
      false,
    ],
    [
      'an nft rule with trusted interfaces',
      nft(side('daddr', '10.5.1.2'), device('iifname', { set: ['docker0', 'flannel.1'] }, '!='), { drop: null }),
      false,
    ],
  ] as const) {
    it(`${found ? 'is named' : 'is no matter'}: ${what}`, () => {
      const [first, ...more] = obstaclesOf(path, rules)
      assert.equal(more.length, 0)
      if (!found) assert.equal(first, undefined)
      else {
        assert.match(first?.text ?? '', /raw.PREROUTING drops what peers send to 10\.5\.1\.2 /)
        assert.match(first?.command ?? '', /"allow-direct-routing": true.*trusted_host_interfaces/)
      }
    })
  }
})
