import assert from 'node:assert/strict'
import { hostGw } from '../../../backends/host-gw.ts'
import type { AnyBackend } from '../../../backends/registry.ts'
import { vxlan } from '../../../backends/vxlan/backend.ts'
import type { Way } from '../../../backends/way.ts'
import { Planner } from '../../../flanneld/node/planner.ts'
import type { PlannerInput } from '../../../flanneld/node/planner-input.ts'
import type { IpAddr } from '../../../lib/address.ts'
import { facts, lease, MACS, network, vxlanPath, wayOf } from '../../backends/world.ts'

const identity = new Map([
  [4, MACS.own],
  [6, MACS.own],
])
const [vxlan1, vxlan2] = [1, 2].map((VNI) => wayOf(vxlan as AnyBackend, { config: { VNI }, identity })) as [Way, Way]
const direct = wayOf(hostGw as AnyBackend)
const own = lease('10.5.1.0/24 192.168.64.11', vxlanPath(MACS.own))
const OWN = '10.5.1.0' as IpAddr
const ON_LO = '10.5.1.0/32'

interface Case {
  readonly ways: readonly Way[]
  readonly target?: Way
  readonly onLoopback?: readonly IpAddr[] | undefined
  readonly elsewhere?: readonly IpAddr[]
  readonly ours?: readonly string[]
  readonly unused?: readonly IpAddr[]
}

const kept = (planner: Planner, { ways, target, elsewhere = [], ours = [], unused = [], ...more }: Case) => {
  const onLoopback = 'onLoopback' in more ? more.onLoopback : []
  const input: PlannerInput = {
    network: network(4),
    ways,
    own,
    ...(target && { change: { target, isTold: true } }),
    kept: { ours: new Set(ours), unused: new Set(unused) },
    peers: new Map(),
    facts: {
      ...facts(),
      ownAddresses: new Set([...(onLoopback ?? []), ...elsewhere]),
      ...(onLoopback && { loopbackAddresses: new Set(onLoopback) }),
    },
    scope: { devices: new Set(), networks: [] },
    complete: true,
    options: { subnetFile: '/s', ipMasq: false, blackholeRoute: false },
  }
  return planner.plan(input).own.flatMap((object) => {
    if (object.kind !== 'address' || object.device !== 'lo') return []
    return [`${object.address}/${object.length} ${object.role.class}`]
  })
}

describe('an address that stays for the sockets of this host', () => {
  const KEPT = [`${ON_LO} advisory`]
  const cases: readonly (readonly [says: string, what: Case, expected: readonly string[]])[] = [
    ['of a node that is not changing', { ways: [vxlan1] }, []],
    ['of a node that has never had a tunnel', { ways: [direct] }, []],
    ['while the old way stands that has it', { ways: [vxlan1, direct], target: direct }, KEPT],
    ['when that has gone', { ways: [direct], onLoopback: [OWN], ours: [ON_LO] }, KEPT],
    ['when somebody has taken it away', { ways: [direct], ours: [ON_LO] }, KEPT],
    ['after a start into another backend, beside the old device', { ways: [direct], elsewhere: [OWN] }, KEPT],
    ['when no socket has it', { ways: [direct], onLoopback: [OWN], ours: [ON_LO], unused: [OWN] }, []],
    ['where another program has put it', { ways: [direct], onLoopback: [OWN] }, []],
    [
      'where another program has put it, during a change',
      { ways: [vxlan1, direct], target: direct, onLoopback: [OWN] },
      [],
    ],
    ['of a change to another device that has it, too', { ways: [vxlan1, vxlan2], target: vxlan2 }, []],
    [
      'on the way back, until that has come to its end',
      { ways: [direct, vxlan1], target: vxlan1, onLoopback: [OWN], ours: [ON_LO] },
      KEPT,
    ],
    ['when a device has it again', { ways: [vxlan1], onLoopback: [OWN], ours: [ON_LO] }, []],
    ['of a host without a loopback device', { ways: [vxlan1, direct], target: direct, onLoopback: undefined }, []],
  ]
  for (const [says, what, expected] of cases) {
    it(`is ${expected.length > 0 ? 'there' : 'absent'} ${says}`, () => {
      assert.deepEqual(kept(new Planner(), what), expected)
    })
  }

  it('is planned anew when the journal or the sockets say something else', () => {
    const planner = new Planner()
    assert.deepEqual(kept(planner, { ways: [direct] }), [])
    assert.deepEqual(kept(planner, { ways: [direct], ours: [ON_LO] }), KEPT)
    assert.deepEqual(kept(planner, { ways: [direct], ours: [ON_LO], unused: [OWN] }), [])
  })
})
