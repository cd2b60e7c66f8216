import assert from 'node:assert/strict'
import { APPLY_ORDER, KINDS_ON_DEVICES, REMOVE_ORDER } from '../../../kernel/kinds/order.ts'

describe('order', () => {
  it('puts devices before what hangs on them, routes after what they need, files last', () => {
    const at = (kind: (typeof APPLY_ORDER)[number]) => APPLY_ORDER.indexOf(kind)
    for (const kind of KINDS_ON_DEVICES) assert(at('link') < at(kind), kind)
    for (const kind of ['address', 'neighbour', 'fdb'] as const) assert(at(kind) < at('route'), kind)
    assert.equal(APPLY_ORDER.at(-1), 'file')
  })

  it('fills the guard between its sets and its chains, before the routes by which answers come', () => {
    const at = (kind: (typeof APPLY_ORDER)[number]) => APPLY_ORDER.indexOf(kind)
    assert(at('guard-sets') < at('guard-peer') && at('guard-peer') < at('route') && at('route') < at('guard-chains'))
    // To the proxy a peer is what a route is elsewhere.
    assert(at('guard-peer') < at('udp-peer'))
    assert(REMOVE_ORDER.indexOf('udp-peer') < REMOVE_ORDER.indexOf('guard-peer'))
  })

  it('removes judging chains, rules and routes first and devices last but for their ports, and never a sysctl or a file', () => {
    const first = ['guard-chains', 'iptables-chain', 'nft-table', 'probe-rule', 'probe-route', 'route']
    assert.deepEqual(REMOVE_ORDER.slice(0, 6), first)
    assert.deepEqual(REMOVE_ORDER.slice(-2), ['link', 'fou-port'])
    assert(!REMOVE_ORDER.includes('sysctl') && !REMOVE_ORDER.includes('file'))
  })
})
