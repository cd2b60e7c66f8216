import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type LastKnown, type Moment, parseRecord, recordText } from '../../../flanneld/last-known/record.ts'
import { goodForMs, holdsSecret, whyForeign, whyOtherNetwork } from '../../../flanneld/last-known/trust.ts'
import type { Cidr, IpAddr } from '../../../lib/address.ts'
import type { Lease } from '../../../subnet/types.ts'
import { lease, networkOf } from '../../subnet/leases.ts'

const HOUR = 3_600_000
const written: Moment = { wall: 1_700_000_000_000, bootId: 'boot', uptimeMs: 50_000 }
const dual = networkOf({ Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' })
const own = lease('10.5.1.0/24 fc00:0:0:1::/64', { node: 'me', mac: '02:00:00:00:00:01' })
const peers = [
  lease('10.5.2.0/24', { mac: '02:00:00:00:00:02', node: 'other', tunnelIp: '192.168.64.1' }),
  { ...lease('10.5.3.0/24 fc00:0:0:3::/64', { backend: 'host-gw' }), id: 'node-3', reserved: true },
]
const record: LastKnown = {
  written,
  nodeId: 'me',
  store: { kind: 'etcd', prefix: '/coreos.com/network', marks: ['http://192.0.2.1:2379'], cluster: '18000' },
  networks: new Map([
    [4, '10.5.0.0/16' as Cidr],
    [6, 'fc00::/48' as Cidr],
  ]),
  document: { text: '{"Network":"10.5.0.0/16"}', origin: 'etcd:/coreos.com/network/config' },
  given: new Map([[4, '203.0.113.1' as IpAddr]]),
  revision: '77',
  own: { lease: own, expiresAt: written.wall + 24 * HOUR, version: '' },
  peers: new Map(peers.map((each) => [each.id, each])),
}
/** Maps of either kind are equal where they hold the same. */
const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_key, item) =>
      typeof item?.entries === 'function' && !Array.isArray(item) ? [...item.entries()] : item,
    ),
  )

describe('the record of what was known', () => {
  it('says the same when it is read', () => {
    assert.deepEqual(plain(parseRecord(recordText(record))), plain(record))
    const { document: _none, ...rest } = record
    const bare = { ...rest, own: { ...record.own, expiresAt: undefined }, peers: new Map<string, Lease>() }
    assert.deepEqual(plain(parseRecord(recordText(bare))), plain(bare))
  })

  it('leaves out peers that cannot be read, and nothing else', () => {
    const text = recordText(record).replace('"10.5.2.0/24"', '"10.5.2.0/33"')
    assert.deepEqual([...parseRecord(text).peers.keys()], ['node-3'])
  })

  it('is none when any of the rest is cut off or of another kind', () => {
    const text = recordText(record)
    fc.assert(
      fc.property(fc.nat(text.length - 3), (length) => {
        assert.throws(() => parseRecord(text.slice(0, length)))
      }),
    )
    const needed = ['version', 'written', 'nodeId', 'store', 'networks', 'given', 'revision', 'own', 'peers']
    for (const key of needed) {
      for (const value of [undefined, 7]) {
        const broken = JSON.stringify({ ...JSON.parse(text), [key]: value })
        assert.throws(() => parseRecord(broken), `${key}: ${value}`)
      }
    }
  })

  it('throws nothing but what its reader expects, whatever it says', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        try {
          parseRecord(text)
        } catch (cause) {
          assert.match((cause as Error).name, /^(ConfigError|InvalidLease|SyntaxError)$/)
        }
      }),
    )
  })

  it('is of this node and its store, or of others', () => {
    const here = { nodeId: 'me', store: { ...record.store, marks: ['x', 'http://192.0.2.1:2379'] } }
    assert.equal(whyForeign(record, here), undefined)
    assert.match(whyForeign(record, { ...here, nodeId: 'you' }) ?? '', /another node/)
    assert.match(whyForeign(record, { ...here, store: { ...here.store, marks: ['x'] } }) ?? '', /another cluster/)
    assert.match(whyForeign(record, { ...here, store: { ...here.store, prefix: '/x' } }) ?? '', /the prefix/)
    assert.match(whyForeign(record, { ...here, store: { ...here.store, kind: 'kubernetes' } }) ?? '', /etcd/)
  })

  it('is of the Node that this one is, or of the one that it was cloned from', () => {
    const store = { kind: 'kubernetes', prefix: 'flannel.alpha.coreos.com/', marks: ['ca'], cluster: '' } as const
    const cloned = { ...record, store, own: { ...record.own, lease: { ...own, id: 'template' } } }
    const here = { nodeId: 'me', store }
    assert.equal(whyForeign(cloned, { ...here, leaseId: 'template' }), undefined)
    assert.equal(whyForeign(cloned, { ...here, leaseId: 'clone' }), 'it is of the Node "template", and this is "clone"')
    assert.equal(whyForeign(cloned, here), undefined)
  })

  it('is of this network, or of another one', () => {
    assert.equal(whyOtherNetwork(record, dual), undefined)
    // A family may have been turned off since then.
    assert.equal(whyOtherNetwork(record, networkOf({ Network: '10.5.0.0/16' })), undefined)
    assert.match(whyOtherNetwork(record, networkOf({ Network: '10.6.0.0/16' })) ?? '', /not of 10\.6\.0\.0\/16$/)
    const elsewhere = { ...record, own: { ...record.own, lease: lease('10.6.1.0/24') } }
    assert.match(whyOtherNetwork(elsewhere, dual) ?? '', /outside the network/)
  })

  const later = (ms: number, more: Partial<Moment> = {}): Moment => ({
    wall: written.wall + ms,
    bootId: 'boot',
    uptimeMs: written.uptimeMs + ms,
    ...more,
  })
  const otherBoot = { bootId: 'after', uptimeMs: 3_000 }
  const cases: [string, Moment, number][] = [
    ['at once', later(0), 23 * HOUR],
    ['ten hours later', later(10 * HOUR), 13 * HOUR],
    ['in its last hour', later(23.5 * HOUR), 0],
    ['after its end', later(48 * HOUR), 0],
    ['although the clock was put back by a year', later(HOUR, { wall: written.wall - 9_000 * HOUR }), 22 * HOUR],
    ['although the clock was put on by a year', later(HOUR, { wall: written.wall + 9_000 * HOUR }), 22 * HOUR],
    ['after another start', later(HOUR, otherBoot), 22 * HOUR],
    ['after another start without a clock of its own (1970)', { wall: 5_000, ...otherBoot }, 0],
    ['after another start, a little before it was written', later(-30_000, otherBoot), 23 * HOUR + 30_000],
    ['where the time of this boot runs backwards', later(0, { uptimeMs: 1 }), 0],
  ]
  for (const [when, now, expected] of cases)
    it(`knows how long the lease is certain: ${when}`, () => assert.equal(goodForMs(record, now), expected))

  it('believes in no lease that is longer than a day', () => {
    const own = { ...record.own, expiresAt: written.wall + 9_000 * HOUR }
    assert.equal(goodForMs({ own, written }, later(0)), 23 * HOUR)
    assert.equal(goodForMs({ own: { ...own, expiresAt: undefined }, written }, later(0)), Number.POSITIVE_INFINITY)
  })

  it('holds no secret', () => {
    assert.equal(holdsSecret({ Network: 'x', Backend: { Type: 'wireguard', psk: 'abc' } }), true)
    assert.equal(holdsSecret({ Network: 'x', Backend: { Type: 'wireguard', PSK: '' } }), false)
    assert.equal(holdsSecret({ Network: 'x', Backend: { Type: 'vxlan', VNI: 1 } }), false)
  })
})
