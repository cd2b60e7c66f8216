import assert from 'node:assert/strict'
import type { LeaseState } from '../../flanneld/leases/lease-keeper.ts'
import { leaseConditions } from '../../flanneld/status/lease-conditions.ts'
import {
  datastoreConditions,
  hostConditions,
  kernelConditions,
  peerConditions,
  readinessChecks,
} from '../../flanneld/status/node-conditions.ts'
import type { Failure } from '../../kernel/desired.ts'
import { type DesiredObject, keyOf, type Role } from '../../kernel/objects.ts'
import type { Cidr } from '../../lib/address.ts'
import { HealthRecord } from '../../subnet/health-record.ts'
import { lease, NO_DATA } from '../backends/world.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { surroundingsOf } from '../subnet/surroundings.ts'

const own = {
  lease: lease('10.5.1.0/24 192.168.64.11', { backend: 'host-gw', data: NO_DATA }),
  expiresAt: undefined,
  version: '1',
}
const held: LeaseState = { at: 'held', own }
const lost: LeaseState = {
  at: 'lost',
  last: own,
  conflict: { type: 'subnet-taken', id: own.lease.id, holder: 'b' },
  text: 'node b holds it now',
}

function failed(role: Role): ReadonlyMap<string, Failure> {
  const object: DesiredObject = { kind: 'sysctl', path: 'net/ipv4/conf/eth0/rp_filter', value: '2', role }
  const key = keyOf(object)
  return new Map([[key, { key, object, cause: 'refused', text: 'read-only file system (EROFS)' }]])
}

const reasons = (...input: Parameters<typeof readinessChecks>) =>
  readinessChecks(...input).flatMap(({ ok, text }) => (ok ? [] : [text]))

describe('readiness', () => {
  it('needs the own lease, one pass over all peers and every required object', () => {
    assert.deepEqual(reasons(held, true, new Map(), []), [])
    assert.deepEqual(reasons(undefined, false, new Map(), [])[0], 'no subnet leased yet')
    assert.match(reasons(held, false, new Map(), []).join('\n'), /not every object of every peer has been tried yet/)
    assert.match(reasons(held, false, new Map(), [], true).join('\n'), /leases of the other nodes are not known yet/)
    assert.match(
      reasons(lost, true, new Map(), []).join('\n'),
      /the own lease 10\.5\.1\.0-24 was lost: node b holds it now/,
    )
    assert.deepEqual(reasons(held, true, failed({ class: 'required' }), []), [
      'sysctl net/ipv4/conf/eth0/rp_filter: read-only file system (EROFS)',
    ])
  })

  it('is not lost by a peer, an advisory value or a datastore that is away', () => {
    const away = { code: 'datastore-down', severity: 'warning', text: '', remedy: '' } as const
    assert.deepEqual(reasons(held, true, failed({ class: 'peer', peer: 'x' }), [away]), [])
    assert.deepEqual(reasons(held, true, failed({ class: 'advisory', remedy: 'echo' }), []), [])
  })

  it('names a configuration that is waited for, not one that was deleted later', () => {
    const missing = { code: 'config-missing', text: 'no network configuration', remedy: '' }
    assert.equal(
      reasons(undefined, false, new Map(), [{ ...missing, severity: 'error' }])[0],
      'no network configuration',
    )
    assert.deepEqual(reasons(held, true, new Map(), [{ ...missing, severity: 'warning' }]), [])
  })
})

describe('conditions of the parts', () => {
  it('name the lost lease by its kind, with the way out', () => {
    const [condition] = leaseConditions(lost)
    assert.equal(condition?.code, 'lease-subnet-taken')
    assert.match(condition?.remedy ?? '', /flanneld cleanup/)
  })

  it('tell of the external interface what is wrong with it, and what would be chosen', () => {
    const external = { name: 'eth0', index: 2, mtu: 1500, addresses: new Map(), publicIps: new Map(), reason: '' }
    const told = (...input: Parameters<typeof hostConditions>) =>
      hostConditions(...input).map(({ code, severity, remedy }) => `${severity} ${code} ${remedy === ''}`)
    assert.deepEqual(told({ external }, undefined), [])
    assert.deepEqual(told({ external, fault: 'eth0 is down' }, undefined), ['warning interface-lost false'])
    assert.deepEqual(told({ external, notice: 'eth0 stays' }, undefined), ['info interface-kept false'])
    assert.deepEqual(told({ external }, new Error('EINTR')), ['warning host-unreadable false'])
  })

  it('name what a node waits for that gets no subnet, with the way out', () => {
    const [condition] = leaseConditions({ at: 'acquiring', waitingFor: 'no free subnet is left' })
    assert.equal(condition?.code, 'lease-waiting')
    assert.match(condition?.remedy ?? '', /Network/)
  })

  const none = { held: new Set<string>(), rejected: [], overlaps: [], own: [] }
  const row = (reason: string, id = '10.5.2.0-24') => ({ id, reason, text: 'x' })

  it('degrade for a rejected peer, and for one that is skipped', () => {
    for (const [rejected, skipped] of [
      [[row('host-range')], []],
      [[], [row('other-backend')]],
    ] as const) {
      const [condition] = peerConditions({ ...none, rejected }, skipped)
      assert.equal(`${condition?.code} ${condition?.severity}`, 'peers-rejected warning')
      assert.match(condition?.text ?? '', /10\.5\.2\.0-24" \(/)
      assert.notEqual(condition?.remedy, '')
    }
  })

  it('count peers, not what they are rejected for, and name the one family that a peer has lost', () => {
    const of = (id: string, family: 4 | 6, reason = 'overlap') => ({ ...row(reason, id), family })
    const rejected = [of('a', 6), of('b', 4), of('b', 6), of('c', 4), of('c', 6, 'host-range')]
    const [condition] = peerConditions({ ...none, rejected }, [])
    assert.match(
      condition?.text ?? '',
      /3 peers: "a" \(IPv6\) \(overlap\); "b" \(overlap\); "c" \(overlap, host-range\)$/,
    )
    const [one] = peerConditions({ ...none, rejected: [of('a', 6)] }, [])
    assert.match(one?.text ?? '', /a peer: "a" \(IPv6\)/)
  })

  it('degrade for nothing that is so by design', () => {
    const rejected = ['unclaimed-reservation', 'foreign-key'].map((reason) => row(reason))
    const skipped = ['other-vni', 'reserved'].map((reason) => row(reason))
    assert.deepEqual(peerConditions({ ...none, rejected }, skipped), [])
  })

  it('name a few of many rejected peers', () => {
    const rejected = Array.from({ length: 500 }, (_unused, n) => row('unreadable', `${'9'.repeat(300)}\n${n}`))
    const [condition] = peerConditions({ ...none, rejected }, [])
    assert.ok((condition?.text.length ?? 9999) < 600)
    assert.match(condition?.text ?? '', /500 peers.*and 497 more/)
  })

  it('tell of overlaps in one, which degrades nothing and does not change with the number of peers', () => {
    const routes = surroundingsOf({
      routes: Array.from({ length: 9 }, (_unused, n) => `10.5.${n}.0/28 dev eth1`),
    }).routes
    const text = (count: number) => {
      const overlaps = routes.map((route) => ({ route, subnets: ['10.5.2.0/24' as Cidr], count }))
      const [condition, ...more] = peerConditions({ ...none, overlaps }, [])
      assert.deepEqual([more, condition?.code, condition?.severity], [[], 'overlap', 'info'])
      return condition?.text ?? ''
    }
    assert.equal(text(2000), text(3000))
    assert.match(text(1), /10\.5\.0\.0\/28 dev eth1 and 10\.5\.2\.0\/24;.*and 6 more$/)
  })

  it('tell of an own subnet that is kept in spite of this host', () => {
    const own = [{ reason: 'host-range', text: '10.5.1.0/24 contains 10.5.1.254, a gateway of this host' } as const]
    const [condition] = peerConditions({ ...none, own }, [])
    assert.equal(`${condition?.code} ${condition?.severity}`, 'own-subnet-in-use warning')
    assert.match(condition?.text ?? '', /10\.5\.1\.254/)
  })

  it('tell of a datastore that is away in one text until it is back, whoever hears of it first', async () => {
    const clock = new VirtualClock()
    const health = new HealthRecord({ clock })
    const texts = () =>
      health.source.current ? datastoreConditions(health.source.current).map(({ text }) => text) : []
    health.current('leases', 'etcd1')
    health.current('configuration', 'etcd1')
    health.failed('leases', 'connection refused')
    health.failed('configuration', 'connection reset')
    const during = texts()
    assert.equal(during.length, 1)
    await clock.advance(5_000)
    health.current('leases', 'etcd1')
    assert.deepEqual(texts(), during)
    health.current('configuration', 'etcd1')
    assert.deepEqual(texts(), [])
  })

  it('show required and advisory objects; those of peers stand with the peer', () => {
    const codes = (role: Role) =>
      kernelConditions({ failures: failed(role), unreadable: new Map() }).map(({ severity }) => severity)
    assert.deepEqual(codes({ class: 'required' }), ['error'])
    assert.deepEqual(codes({ class: 'advisory', remedy: 'echo' }), ['info'])
    assert.deepEqual(codes({ class: 'peer', peer: 'x' }), [])
  })

  it('of one family while the other is whole degrade the node, say what mends it, and leave it ready', () => {
    const failures = failed({ class: 'required', family: 6, instead: [4], remedy: 'sysctl -w x=0' })
    const [condition] = kernelConditions({ failures, unreadable: new Map() })
    assert.deepEqual([condition?.severity, condition?.remedy], ['warning', 'sysctl -w x=0'])
    assert.deepEqual(reasons(held, true, failures, []), [])
  })
})
