import assert from 'node:assert/strict'
import type { DesiredState } from '../../../kernel/desired.ts'
import type { GuardSets } from '../../../kernel/kinds/guard-sets/kind.ts'
import { commandsFor } from '../../../kernel/kinds/words.ts'
import type { DesiredObject, KernelObject } from '../../../kernel/objects.ts'
import { deviceOf, keyOf } from '../../../kernel/objects.ts'
import { diffWanted } from '../../../kernel/reconciler/diff.ts'
import { preview } from '../../../kernel/reconciler/preview.ts'
import { OpFailure } from '../../../kernel/table.ts'
import { guardChains, guardPeer, guardSets } from '../../conformance/guard.ts'
import { FakeKernel } from '../../fakes/kernel.ts'
import * as the from '../fixtures.ts'

const WANTED = the.desiredOf([...the.local(), ...the.peer(2)])

async function plan(desired: DesiredState, actual: readonly KernelObject[]) {
  const { ops, failures } = await preview(the.tablesHolding(actual), desired)
  return { ops: ops.map((op) => `${op.verb} ${keyOf(op.object)}`), failures: [...failures.keys()], raw: ops }
}

const PEER_KEYS = ['neighbour flannel.1 10.64.2.0', `fdb flannel.1 ${the.mac(2)}`, 'route 10.64.2.0/24 metric 0']

describe('diff', () => {
  it('creates everything on an empty host, in order', async () => {
    assert.deepEqual((await plan(WANTED, [])).ops, [
      'create link flannel.1',
      'create sysctl net/ipv4/conf/flannel.1/rp_filter',
      'create address flannel.1 10.64.1.0/32',
      ...PEER_KEYS.map((key) => `create ${key}`),
      'create file /run/flannel/subnet.env',
    ])
  })

  it('is empty where everything is in place', async () => {
    assert.deepEqual((await plan(WANTED, [...WANTED.objects.values()])).ops, [])
  })

  it('is the second time empty: plan, apply, plan', async () => {
    const kernel = new FakeKernel()
    kernel.addDevice('eth0')
    const { ops } = await preview(kernel.tables, WANTED)
    for (const op of ops) assert.equal(kernel.change(op), undefined)
    assert.deepEqual((await preview(kernel.tables, WANTED)).ops, [])
  })

  const PEER: DesiredObject = { ...guardPeer, role: { class: 'peer', peer: 'p' } }
  const GUARD = the.desiredOf([the.required(guardSets), PEER, the.required(guardChains)])
  const GUARD_KEYS = [guardSets, guardPeer, guardChains].map(keyOf)

  it('fills what is made anew, also with what counts as in place while its sets are missing', async () => {
    const kernel = new FakeKernel()
    const next = async () => (await preview(kernel.tables, GUARD)).ops
    const texts = (ops: readonly { verb: string; object: KernelObject }[]) =>
      ops.map(({ verb, object }) => `${verb} ${keyOf(object)}`)
    const created = GUARD_KEYS.map((key) => `create ${key}`)
    const ops = await next()
    assert.deepEqual(texts(ops), created)
    for (const op of ops) assert.equal(kernel.change(op), undefined)
    assert.deepEqual(await next(), [])

    const others: GuardSets = { ...guardSets, counters: ['another'] }
    const again = await plan(GUARD, [others, guardPeer, { ...guardPeer, name: '10.5.9.0/24' }, guardChains])
    assert.deepEqual(again.ops, [`recreate ${keyOf(guardSets)}`, ...created.slice(1)])
    // Another instance's guard stays whole.
    const table = 'flanneld-guard-0123'
    const theirs = [guardSets, guardPeer, guardChains].map((object) => ({ ...object, table }))
    assert.deepEqual(
      (await plan(the.desiredOf([...GUARD.objects.values(), ...theirs.map(the.required)]), theirs)).ops,
      created,
    )
  })

  it('plans nothing within a table of somebody else', async () => {
    const { ops, failures } = await plan(GUARD, [{ ...guardSets, sets: [], alien: true }, PEER])
    assert.deepEqual(failures, [keyOf(guardSets)])
    assert.ok(!ops.some((op) => op.includes('guard-peer')), ops.join())
  })

  const UPDATES: [string, KernelObject, string][] = [
    ['MTU', the.vxlan('flannel.1', { mtu: 1400 }), 'update'],
    ['MAC', the.vxlan('flannel.1', { mac: the.mac(1) }), 'update'],
    ['down', the.vxlan('flannel.1', { up: false }), 'update'],
    ['local address', the.vxlan('flannel.1', {}, { local: the.ip('192.0.2.7') }), 'update'],
    ['learning', the.vxlan('flannel.1', {}, { learning: true }), 'update'],
    ['VNI', the.vxlan('flannel.1', {}, { vni: 7 }), 'recreate'],
    ['port', the.vxlan('flannel.1', {}, { port: 4789 }), 'recreate'],
    ['underlay', the.vxlan('flannel.1', {}, { underlay: 'eth1' }), 'update'],
    ['GBP', the.vxlan('flannel.1', {}, { gbp: true }), 'recreate'],
  ]
  for (const [what, actual, verb] of UPDATES) {
    it(`${verb}s a device whose ${what} differs`, async () => {
      const others = [...WANTED.objects.values()].filter(({ kind }) => kind !== 'link')
      assert.equal((await plan(WANTED, [actual, ...others])).ops[0], `${verb} link flannel.1`)
    })
  }

  it('a recreated device has lost all that hung on it', async () => {
    const [link, ...others] = WANTED.objects.values()
    assert(link !== undefined)
    const { ops } = await plan(WANTED, [the.vxlan('flannel.1', {}, { vni: 7 }), ...others])
    assert.deepEqual(
      ops.slice(3),
      PEER_KEYS.map((key) => `create ${key}`),
    )
  })

  it('any MAC will do where none is asked for', async () => {
    const { mac: _mac, ...anyMac } = the.vxlan()
    assert.deepEqual((await plan(the.desiredOf([the.required(anyMac)]), [the.vxlan()])).ops, [])
  })

  it('removes what is left over, routes first, and only when the state is complete', async () => {
    const actual = [...WANTED.objects.values(), ...the.peer(3)]
    assert.deepEqual((await plan(WANTED, actual)).ops, [
      'remove route 10.64.3.0/24 metric 0',
      `remove fdb flannel.1 ${the.mac(3)}`,
      'remove neighbour flannel.1 10.64.3.0',
    ])
    assert.deepEqual((await plan({ ...WANTED, complete: false }, actual)).ops, [])
  })

  it('names an unwanted device only, not what goes with it', async () => {
    assert.deepEqual((await plan(the.desiredOf([]), [...WANTED.objects.values()])).ops, ['remove link flannel.1'])
  })

  it('removes a second far end of an FDB entry', async () => {
    const second = the.fdb(the.mac(2), '192.0.2.77')
    const { raw } = await plan(WANTED, [...WANTED.objects.values(), second])
    assert.deepEqual(raw, [{ verb: 'remove', object: second }])
  })

  it('the plan prints as commands', async () => {
    const { raw } = await plan(WANTED, [])
    assert(raw.flatMap((op) => commandsFor(op)).length >= raw.length)
  })

  it('is not made up of a kind that cannot be read', async () => {
    const fault = new OpFailure({ code: 'EPERM', message: 'not allowed' })
    const tables = the
      .tablesHolding([])
      .map((table) => (table.kind === 'route' ? { ...table, dump: () => Promise.reject(fault) } : table))
    await assert.rejects(preview(tables, WANTED), fault)
  })

  it('leaves a foreign route, and names it', async () => {
    const actual = [...WANTED.objects.values()].filter(({ kind }) => kind !== 'route')
    const foreign = the.route('10.64.2.0/24', { protocol: 4, device: 'eth0', via: the.ip('192.0.2.9') })
    const { ops, failures } = await plan(WANTED, [...actual, foreign])
    assert.deepEqual(ops, [])
    assert.deepEqual(failures, ['route 10.64.2.0/24 metric 0'])
  })

  it('finds nothing to do for 15,000 objects that are in place', async () => {
    const objects: DesiredObject[] = []
    for (let number = 2; number < 5002; number += 1) objects.push(...the.peer(number))
    const desired = the.desiredOf(objects)
    const actual = new Map([...desired.objects].map(([key, object]) => [key, { ...object }]))
    assert.equal(diffWanted(desired.objects, actual, desired).ops.length, 0)
  })

  it('a sysctl of a device hangs on it', async () => {
    assert.equal(deviceOf(the.sysctl('net/ipv4/conf/flannel.1/rp_filter', '2')), 'flannel.1')
    assert.equal(deviceOf(the.sysctl('net/ipv4/ip_forward', '1')), undefined)
  })
})
