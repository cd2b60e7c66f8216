import assert from 'node:assert/strict'
import fc from 'fast-check'
import { eachMessage } from '../../../kernel/netlink/message.ts'
import { writeRoute } from '../../../kernel/netlink/route-messages.ts'
import { routeSieve } from '../../../kernel/netlink/route-sieve.ts'
import { ROUTE_PROTOCOL, type Route } from '../../../kernel/objects.ts'
import { type Cidr, cidrOf, contains, type Family, familyOf, ipFromNumber } from '../../../lib/address.ts'

/** Few bits differ, so that prefixes meet. */
const prefixOf = (family: Family) =>
  fc
    .tuple(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 0, max: 20 }))
    .map(([bits, length]) => cidrOf(ipFromNumber(family, BigInt(bits) << (family === 4 ? 16n : 112n)), length))
const prefix = fc.oneof(prefixOf(4), prefixOf(6))

function passes(route: Route, prefixes: readonly Cidr[]): boolean {
  const bytes = writeRoute(route, { index: 0 }, 'create').slice()
  const seen: boolean[] = []
  eachMessage(new DataView(bytes.buffer), bytes.length, (message) => {
    seen.push(routeSieve(ROUTE_PROTOCOL, prefixes)(message))
  })
  assert.equal(seen.length, 1)
  return seen[0] ?? false
}

const to = (dst: Cidr, protocol: number): Route => {
  const family = familyOf(dst)
  return { kind: 'route', family, type: 'blackhole', dst, metric: family === 4 ? 0 : 1024, protocol }
}

describe('a sieve of routes', () => {
  it('lets through what lies inside the prefixes, and all of the protocol', () => {
    fc.assert(
      fc.property(fc.array(prefix, { maxLength: 4 }), prefix, fc.constantFrom(ROUTE_PROTOCOL, 186), (all, dst, by) => {
        const expected = by === ROUTE_PROTOCOL || all.some((each) => contains(each, dst))
        assert.equal(passes(to(dst, by), all), expected)
      }),
      { numRuns: 2_000 },
    )
  })

  it('reads a destination that the kernel leaves out as zeros', () => {
    const header = [2, 0, 0, 0, 254, 186, 0, 1, 0, 0, 0, 0]
    const message = { view: new DataView(Uint8Array.from(header).buffer), start: 0, end: 12 } as never
    assert.equal(routeSieve(ROUTE_PROTOCOL, ['10.5.0.0/16' as Cidr])(message), false)
    assert.equal(routeSieve(ROUTE_PROTOCOL, ['0.0.0.0/0' as Cidr])(message), true)
  })
})
