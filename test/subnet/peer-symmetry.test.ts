import assert from 'node:assert/strict'
import fc from 'fast-check'
import { contains } from '../../lib/address.ts'
import { acceptPeers } from '../../subnet/peer-rules.ts'
import { emptySurroundings } from '../../subnet/surroundings.ts'
import type { Lease } from '../../subnet/types.ts'
import { lease, networkOf, snapshot } from './leases.ts'

const network = networkOf({ Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' })

describe('what several nodes decide of each other', () => {
  const places = [1, 2, 3]
  /** Of both families, with an address of its own or in a subnet that another one may have. */
  const member = fc.record({
    at4: fc.constantFrom(...places),
    at6: fc.constantFrom(...places),
    ip: fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3', '10.5.1.9', '10.5.3.9'),
    ip6: fc.constantFrom('fd00::1', 'fd00::2', 'fd00::3', 'fc00:0:0:1::9', 'fc00:0:0:3::9'),
    mac4: fc.constantFrom('a', 'b', 'c'),
    mac6: fc.constantFrom('a', 'b', 'c'),
  })
  const membersOf = (count: number) =>
    fc
      .array(member, { minLength: count, maxLength: count })
      .map((sketches) =>
        sketches.map(({ at4, at6, ip, ip6, mac4, mac6 }, n): Lease => {
          const one = lease(`10.5.${at4}.0/24 fc00:0:0:${at6}::/64`, { ip, ip6, node: `n${n}`, age: n + 1 })
          const data = [[4, { VtepMAC: mac4 }] as const, [6, { VtepMAC: mac6 }] as const]
          return { ...one, id: `n${n}`, primary: { backend: 'vxlan', data: new Map(data) } }
        }),
      )
      // A node does not judge itself: what is wrong with it whatever others do, only they see.
      .filter((leases) =>
        leases.every(({ families }) =>
          [...families.values()].every(({ subnet, publicIp }) => !contains(subnet, publicIp)),
        ),
      )
  const viewOf = (viewer: Lease | undefined, leases: readonly Lease[]) => {
    const { accepted } = acceptPeers({
      snapshot: snapshot(leases),
      own: viewer,
      network,
      surroundings: emptySurroundings,
      protectedRanges: [],
    })
    return (one: Lease) => [...(accepted.get(one.id)?.families.keys() ?? [])]
  }

  it('is of two the same, and a third one follows both in no other families', () => {
    fc.assert(
      fc.property(membersOf(2), (leases) => {
        const [a, b] = leases as [Lease, Lease]
        const [atA, atB, outside] = [viewOf(a, leases), viewOf(b, leases), viewOf(undefined, leases)]
        assert.deepEqual(atA(b), atB(a))
        assert.deepEqual(
          outside(a).filter((family) => outside(b).includes(family)),
          atA(b),
        )
      }),
      { numRuns: 1000 },
    )
  })

  it('is at the oldest of several what a node beside them decides', () => {
    fc.assert(
      fc.property(membersOf(3), (leases) => {
        // Of addresses inside subnets those of leases count as well that others exclude.
        const inside = ({ families }: Lease) =>
          [...families.values()].some(({ publicIp }) => /^10\.5|^fc/.test(publicIp))
        fc.pre(!leases.some(inside))
        const [oldest, ...others] = leases as [Lease, ...Lease[]]
        const [atOldest, outside] = [viewOf(oldest, leases), viewOf(undefined, leases)]
        for (const other of others) {
          const both = outside(oldest).filter((family) => outside(other).includes(family))
          assert.deepEqual(atOldest(other), both)
        }
      }),
      { numRuns: 1000 },
    )
  })
})
