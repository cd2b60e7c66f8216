import assert from 'node:assert/strict'
import type { PlannedTarget } from '../../../flanneld/switch/probe-targets.ts'
import { ProbedRoutes } from '../../../flanneld/switch/probed-routes.ts'
import type { Failure, ReconcileStatus } from '../../../kernel/desired.ts'
import { type DesiredObject, keyOf } from '../../../kernel/objects.ts'
import type { IpAddr } from '../../../lib/address.ts'
import * as the from '../../kernel/fixtures.ts'

type Seen = Parameters<ProbedRoutes['of']>[1]

const rule: DesiredObject = { ...the.probeRule('10.64.1.0'), role: { class: 'advisory', remedy: '' } }
const tried: PlannedTarget = {
  id: 'peer',
  family: 4,
  from: '10.64.1.0' as IpAddr,
  to: '10.64.2.0' as IpAddr,
  bytes: 1450,
  way: 'B',
  by: 'tried',
  route: { key: 'probe-route 10.64.2.0/24', device: 'eth0' },
}
const used: PlannedTarget = { ...tried, by: 'used', route: { key: 'route 10.64.2.0/24 metric 0', device: 'eth0' } }
const last = { plan: { own: [rule] } } as unknown as Seen['last']

/** `settled`: up to which generation; `failing`: keys. */
function status(settled: number, ...failing: readonly string[]): ReconcileStatus {
  const failures = failing.map((key) => [key, { key, text: 'the kernel said no' } as Failure] as const)
  return { generation: settled, failures: new Map(failures), unreadable: new Map() }
}

describe('the routes that probes go by', () => {
  let routes: ProbedRoutes
  const isMade = (target: PlannedTarget, generation: number, now: ReconcileStatus | undefined) =>
    routes.of([target], { last, generation, status: now })[0]?.isMade

  beforeEach(() => {
    routes = new ProbedRoutes()
  })

  it('are there when the first plan with them is settled, whatever is planned after it', () => {
    assert.equal(isMade(used, 7, undefined), false)
    assert.equal(isMade(used, 7, status(6)), false)
    assert.equal(isMade(used, 9, status(6)), false)
    assert.equal(isMade(used, 9, status(7)), true)
  })

  it('are waited for anew once the peer has been without one, and for another way', () => {
    assert.equal(isMade(tried, 7, status(7)), true)
    assert.equal(isMade({ ...tried, route: undefined }, 8, status(8)), false)
    assert.equal(isMade(tried, 9, status(8)), false)
    assert.equal(isMade(tried, 9, status(9)), true)
    assert.equal(isMade({ ...tried, way: 'C' }, 10, status(9)), false)
    const elsewhere = { ...tried, route: { key: 'probe-route 10.64.2.0/24', device: 'flannel.1' } }
    assert.equal(isMade(elsewhere, 11, status(10)), false)
  })

  it('are not there while the kernel refuses them, and it is told why', () => {
    assert.equal(isMade(used, 7, status(7, used.route?.key ?? '')), false)
    assert.equal(routes.faultOf(used), 'the kernel said no')
    assert.equal(isMade(used, 7, status(7)), true)
    assert.equal(routes.faultOf(used), undefined)
  })

  it('prove nothing without the rules, which packets of others do not need', () => {
    assert.equal(isMade(tried, 7, status(7, keyOf(rule))), false)
    assert.equal(isMade(used, 7, status(7, keyOf(rule))), true)
  })
})
