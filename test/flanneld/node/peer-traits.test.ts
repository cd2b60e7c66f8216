import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { AnyBackend } from '../../../backends/registry.ts'
import { udp } from '../../../backends/udp/backend.ts'
import { vxlan } from '../../../backends/vxlan/backend.ts'
import { lengthsInUse, sameTraits, traitsOfAll, underlayInside } from '../../../flanneld/node/peer-traits.ts'
import { type PlannerInput, planNode } from '../../../flanneld/node/planner.ts'
import { Replanner } from '../../../flanneld/node/replanner.ts'
import type { Family, IpAddr } from '../../../lib/address.ts'
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

const anyPool = fc.uniqueArray(
  fc.record({ n: fc.integer({ min: 2, max: 9 }), length: fc.constantFrom(24, 25, 26), inside: fc.boolean() }),
  { selector: ({ n }) => n, minLength: 1 },
)

describe('traits of the peers', () => {
  it('are kept by each change that keeps them, and by no other', () => {
    fc.assert(
      fc.property(anyPool, fc.func(fc.boolean()), fc.func(fc.boolean()), (pool, was, is) => {
        const all = pool.map(({ n, length, inside }) => peer(n, length, inside))
        const [before, after] = [all.filter(was), all.filter(is)]
        const gone = before.filter((each) => !after.includes(each))
        const come = after.filter((each) => !before.includes(each))
        const known = traitsOfAll(nets, before)
        const same = JSON.stringify([...known].sort()) === JSON.stringify([...traitsOfAll(nets, after)].sort())
        assert.equal(sameTraits(known, nets, after, { gone, come }), same)
      }),
    )
  })

  it('tell which lengths are in use, with the own and the configured one', () => {
    const lengths = (...peers: readonly Lease[]) => lengthsInUse(traitsOfAll(nets, peers), { network: nets, own }, 4)
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
      const known = traitsOfAll(nets, peers)
      assert.equal(underlayInside(known, { network: nets, own, facts: host }, store as IpAddr[]).has(4), expected)
    })
  }

  const backends = [
    {
      backend: vxlan as AnyBackend,
      config: vxlan.parseConfig({}, []),
      identity: new Map([[4, MACS.own]]),
      wire: 'vxlan',
    },
    { backend: udp as AnyBackend, config: udp.parseConfig({}, []), identity: { engine: 'userspace' }, wire: '' },
  ]
  for (const { wire, ...active } of backends) {
    it(`${active.backend.type}: what is planned from the last plan and the peers that changed is what is planned anew`, () => {
      const histories = anyPool.chain((pool) => fc.array(fc.subarray(pool), { minLength: 2, maxLength: 6 }))
      fc.assert(
        fc.property(histories, (history) => {
          const known = new Map<string, Lease>()
          const planner = new Replanner()
          const guard = { mode: 'on', allow: [], instance: '' } as const
          const host = facts()
          const basis: Omit<PlannerInput, 'peers'> = {
            network: nets,
            active,
            own,
            facts: host,
            scope: { devices: new Set(), networks: [] },
            borrowed: new Map(),
            complete: true,
            options: { subnetFile: '/s', ipMasq: false, blackholeRoute: false, guard },
          }
          for (const moment of history) {
            const leases = moment.map(({ n, length, inside: isInside }) => {
              const key = `${n} ${length} ${isInside}`
              const made = known.get(key) ?? {
                ...peer(n, length, isInside),
                primary: { ...vxlanPath(`02:00:00:00:01:${10 + n}`), backend: wire },
              }
              known.set(key, made)
              return made
            })
            const input = { ...basis, peers: new Map(leases.map((each) => [each.id, each])) }
            const [planned, anew] = [planner.plan(input), planNode(input)]
            assert.deepEqual(new Map(planned.desired.objects), new Map(anew.desired.objects))
            assert.deepEqual([planned.own, [...planned.traits].sort()], [anew.own, [...anew.traits].sort()])
          }
        }),
      )
    })
  }
})
