import assert from 'node:assert/strict'
import fc from 'fast-check'
import { ownChains } from '../../../kernel/kinds/iptables-chain/own-chains.ts'
import { parseSaved } from '../../../kernel/rules/iptables-text.ts'
import { canonicalRule, ruleWords } from '../../../kernel/rules/iptables-words.ts'
import { instanceOfChain, namedFor } from '../../../kernel/rules/names.ts'

describe('text of iptables', () => {
  it('is split into words, quotes gone', () => {
    assert.deepEqual(ruleWords('-m comment --comment "a \\"b\\" c" -j X'), [
      '-m',
      'comment',
      '--comment',
      'a "b" c',
      '-j',
      'X',
    ])
  })

  for (const [a, b, same] of [
    ['-s 10.0.0.0/8 -m comment --comment "x y" -j RETURN', '-m comment --comment "x y" -s 10.0.0.0/8 -j RETURN', true],
    ['! -s 10.0.0.0/8 -j RETURN', '-s 10.0.0.0/8 -j RETURN', false],
    ['! -s 10.0.0.0/8 -d 10.1.0.0/16 -j RETURN', '-s 10.0.0.0/8 ! -d 10.1.0.0/16 -j RETURN', false],
    ['-m comment --comment x -j A', '-m comment --comment "x" -j A', true],
    ['-j MASQUERADE --random-fully', '-j MASQUERADE', false],
    ['-m mark --mark 0x4000/0x4000 -j RETURN', '-m mark ! --mark 0x4000/0x4000 -j RETURN', false],
  ] as const) {
    it(`${same ? 'means the same' : 'differs'}: ${a} | ${b}`, () =>
      assert.equal(canonicalRule(a) === canonicalRule(b), same))
  }

  it('is read into tables, chains and rules', () => {
    const saved = parseSaved(
      '# x\n*nat\n:POSTROUTING ACCEPT [1:2]\n:A - [0:0]\n-A POSTROUTING -j A\n-A A -s 10.0.0.0/8 -j RETURN\n-A A\nCOMMIT\n',
    )
    assert.deepEqual(saved.get('nat')?.get('POSTROUTING'), { policy: 'ACCEPT', rules: ['-j A'] })
    assert.deepEqual(saved.get('nat')?.get('A'), { policy: undefined, rules: ['-s 10.0.0.0/8 -j RETURN', ''] })
  })

  it('of any kind is read without an error', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.array(fc.constantFrom('*nat', ':A - [0:0]', '-A A -j "x', '-A ', 'COMMIT', '-A B', '*', ':'), {
          maxLength: 12,
        }),
        (junk, lines) => {
          const text = [...lines, junk].join('\n')
          try {
            ownChains(parseSaved(text), { world: 'nft', family: 4 })
          } catch (cause) {
            // Only of a table that does not end.
            assert(cause instanceof SyntaxError && text.lastIndexOf('*') >= 0)
          }
        },
      ),
    )
  })
})

describe('names of chains', () => {
  it('tell their instance', () => {
    for (const instance of ['', '0a1b2c3d'])
      assert.equal(instanceOfChain(namedFor(instance, 'FLANNEL-POSTRTG')), instance)
    for (const other of ['FLANNEL-POSTRTG-x', 'FLANNEL', 'POSTROUTING', 'FLANNEL-FWD-0a1b2c3d4']) {
      assert.equal(instanceOfChain(other), undefined)
    }
  })
})
