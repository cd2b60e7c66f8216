import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { judgedLinks, lengthsInUse, PeerTraits, underlayInside } from '../../../flanneld/node/peer-traits.ts'
import type { Family, IpAddr } from '../../../lib/address.ts'
import { changesBetween } from '../../../lib/persistent-map.ts'
import type { Lease } from '../../../subnet/types.ts'
import { facts, lease, MACS, network, vxlanPath } from '../../backends/world.ts'

const own = lease('10.5.1.0/24 192.168.64.11', vxlanPath(MACS.own))
const nets = network(4)

/** Peer number `n` with a subnet of this length, inside the network or not. */
function peer(n: number, length: number, inside: boolean): Lease {
  const made = lease(
    `10.5.${n}.0/${length} ${inside ? '10.5.200' : '192.168.64'}.${n}`,
    vxlanPath(`02:00:00:00:01:${10 + n}`),
  )
  return { ...made, primary: { ...made.primary, backend: 'vxlan' } }
}

function byId(leases: readonly Lease[]): ReadonlyMap<string, Lease> {
  return new Map(leases.map((each) => [each.id, each]))
}

function traitsOfAll(leases: readonly Lease[]): ReadonlySet<string> {
  const traits = new PeerTraits(nets)
  traits.change(changesBetween(new Map(), byId(leases)), [])
  return traits.words
}

const anyPool = fc.uniqueArray(
  fc.record({ n: fc.integer({ min: 2, max: 9 }), length: fc.constantFrom(24, 25, 26), inside: fc.boolean() }),
  { selector: ({ n }) => n, minLength: 1 },
)

describe('traits of the peers', () => {
  it('are those of the peers that are there, after any changes, and the same object while they stay', () => {
    fc.assert(
      fc.property(anyPool, fc.array(fc.func(fc.boolean()), { minLength: 1, maxLength: 4 }), (pool, moments) => {
        const all = pool.map(({ n, length, inside }) => peer(n, length, inside))
        const traits = new PeerTraits(nets)
        let before: ReadonlyMap<string, Lease> = new Map()
        for (const isThere of moments) {
          const after = byId(all.filter(isThere))
          const words = traits.words
          traits.change(changesBetween(before, after), [])
          assert.deepEqual([...traits.words].sort(), [...traitsOfAll([...after.values()])].sort())
          assert.equal(traits.words === words, isDeepStrictEqual(words, traits.words))
          before = after
        }
      }),
    )
  })

  it('name the links that peers are on until the last one has left them', () => {
    const traits = new PeerTraits(nets)
    const [one, two] = [
      { onLink: 'eth1', answered: true },
      { onLink: 'eth1', answered: false },
    ]
    const both = new Map([
      ['192.0.2.1', one],
      ['192.0.2.2', two],
    ])
    const left = new Map([['192.0.2.2', two]])
    traits.change([], changesBetween(new Map(), both))
    traits.change([], changesBetween(both, left))
    assert.deepEqual(judgedLinks('eth0', traits.words), ['eth0', 'eth1'])
    traits.change([], changesBetween(left, new Map()))
    assert.deepEqual(judgedLinks('eth0', traits.words), ['eth0'])
  })

  it('tell which lengths are in use, with the own and the configured one', () => {
    const lengths = (...peers: readonly Lease[]) => lengthsInUse(traitsOfAll(peers), { network: nets, own }, 4)
    assert.deepEqual(lengths(), [24])
    assert.deepEqual(lengths(peer(2, 26, false), peer(3, 24, false), peer(4, 26, false)), [26, 24])
    const moved = lease('10.5.1.0/25 192.168.64.11', vxlanPath(MACS.own))
    assert.deepEqual(lengthsInUse(new Set(), { network: nets, own: moved }, 4), [25, 24])
  })

  const inside: readonly [
    string,
    { peers?: readonly Lease[]; uplink?: string; others?: readonly string[]; store?: readonly string[] },
    boolean,
  ][] = [
    ['nobody', {}, false],
    ['a peer', { peers: [peer(2, 24, true)] }, true],
    ['peers elsewhere', { peers: [peer(2, 24, false)] }, false],
    ['this host', { uplink: '10.5.200.11' }, true],
    ['an uplink with an address of the own subnet', { uplink: '10.5.1.7' }, false],
    ['a bridge, of this subnet or an earlier one,', { others: ['10.5.1.1', '10.5.99.1'] }, false],
    ['an endpoint of the store', { store: ['10.5.255.254'] }, true],
    ['an endpoint elsewhere', { store: ['192.168.64.1'] }, false],
  ]
  for (const [who, { peers = [], uplink = '192.168.64.11', others = [], store = [] }, expected] of inside) {
    it(`${who} inside the network: ${expected ? 'the underlay is' : 'it is the overlay’s alone'}`, () => {
      const addresses = new Map<Family, IpAddr>([[4, uplink as IpAddr]])
      const { external } = facts({}, { addresses, publicIps: addresses })
      const host = { ...facts(), external, ownAddresses: new Set([uplink, ...others] as IpAddr[]) }
      const known = traitsOfAll(peers)
      assert.equal(underlayInside(known, { network: nets, own, facts: host }, store as IpAddr[]).has(4), expected)
    })
  }
})
