import assert from 'node:assert/strict'
import type { LeaseState } from '../../flanneld/leases/lease-keeper.ts'
import {
  hostConditions,
  kernelConditions,
  leaseConditions,
  readinessChecks,
} from '../../flanneld/status/node-conditions.ts'
import type { Failure } from '../../kernel/desired.ts'
import { type DesiredObject, keyOf, type Role } from '../../kernel/objects.ts'
import { lease, NO_DATA } from '../backends/world.ts'

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
