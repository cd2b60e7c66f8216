import assert from 'node:assert/strict'
import { MalformedMessage, MessageWriter } from '../../../kernel/netlink/attributes.ts'
import { eachOtherThanRules } from '../../../kernel/netlink/nftables-messages.ts'
import { RuleSieve } from '../../../kernel/rules/rule-sieve.ts'

// linux/netfilter/nf_tables.h: NFT_MSG_* below NFNL_SUBSYS_NFTABLES.
const [NEWCHAIN, NEWRULE, DELRULE, NEWSETELEM, NEWGEN] = [0xa03, 0xa06, 0xa08, 0xa0c, 0xa0f]

function event(type: number, table: string, chain: string, family = 2): Uint8Array {
  const writer = new MessageWriter().begin(type, 0).u8(family).u8(0).u16(0x1234)
  return writer.putText(1, table).putText(2, chain).putText(7, 'userdata').finish()
}

describe('the sieve before events of rules', () => {
  const buffer = new Uint8Array(8192)
  const sieve = new RuleSieve(buffer, ['POSTROUTING', 'FORWARD'])
  const passes = (events: readonly Uint8Array[], watched: ReadonlySet<string> = new Set()) => {
    let length = 0
    for (const bytes of events) {
      buffer.set(bytes, length)
      length += bytes.length
    }
    return sieve.holdsRulesOfOurs(length, watched)
  }
  const foreign = [event(DELRULE, 'nat', 'KUBE-SVC-1'), event(NEWRULE, 'nat', 'KUBE-SVC-1'), event(NEWGEN, 'x', 'y')]

  for (const [what, event_, expected] of [
    ['rules of others alone', event(NEWRULE, 'nat', 'KUBE-POSTROUTING'), false],
    ['a name that ends like ours', event(NEWRULE, 'filter', 'KUBE-FORWARD'), false],
    ['a name that begins like ours', event(NEWRULE, 'filter', 'FORWARDING'), false],
    ['a rule in a chain of iptables', event(NEWRULE, 'filter', 'FORWARD'), true],
    ['of IPv6, too', event(DELRULE, 'nat', 'POSTROUTING', 10), true],
    ['our chain', event(DELRULE, 'nat', 'FLANNEL-POSTRTG-0123abcd'), true],
    ['our table', event(NEWRULE, 'flannel-ipv4', 'postrtg'), true],
    ['the guard’s table', event(NEWRULE, 'flanneld-guard', 'ingress', 1), true],
  ] as const) {
    it(`${expected ? 'lets through' : 'stops'} ${what}`, () => {
      assert.equal(passes([...foreign, event_]), expected)
      assert.equal(passes([event_, ...foreign]), expected)
    })
  }

  it('lets through the chains that are watched at the moment, and no longer', () => {
    const events = [...foreign, event(NEWRULE, 'firewalld', 'filter_FORWARD', 1)]
    assert.equal(passes(events), false)
    assert.equal(passes(events, new Set(['inet firewalld filter_FORWARD'])), true)
    assert.equal(passes(events, new Set()), false)
  })

  it('shows what speaks of something else than rules, and what is cut off is an error', () => {
    const chain = event(NEWCHAIN, 'inet', 'other')
    const element = event(NEWSETELEM, 'other', 'set')
    const seen: number[] = []
    const view = new DataView(buffer.buffer)
    passes([...foreign, chain, ...foreign, element])
    const length = 2 * foreign.reduce((sum, { length }) => sum + length, 0) + chain.length + element.length
    eachOtherThanRules(view, length, ({ type }) => seen.push(type))
    assert.deepEqual(seen, [NEWCHAIN, NEWSETELEM])
    assert.throws(() => eachOtherThanRules(view, length - 4, () => {}), MalformedMessage)
  })
})
