import assert from 'node:assert/strict'
import type { DesiredState } from '../../kernel/desired.ts'
import type { GuardChains } from '../../kernel/kinds/guard-chains/kind.ts'
import type { GuardPeer } from '../../kernel/kinds/guard-peer/kind.ts'
import type { GuardSets } from '../../kernel/kinds/guard-sets/kind.ts'
import { markedSet } from '../../kernel/kinds/guard-sets/kind.ts'
import { compare, type KernelObject, keyOf } from '../../kernel/objects.ts'
import { preview } from '../../kernel/reconciler/preview.ts'
import { GUARD_COMMENT } from '../../kernel/rules/names.ts'
import { markedRules } from '../../kernel/rules/nft-text.ts'
import type { ObjectTable, Op } from '../../kernel/table.ts'
import type { IpAddr } from '../../lib/address.ts'

const table = 'flanneld-guard'
const ip = (text: string) => text as IpAddr

export const guardSets: GuardSets = {
  kind: 'guard-sets',
  table,
  sets: [
    markedSet('subnets4', 'typeof @th,336,32;'),
    markedSet('subnets6', 'typeof @th,304,128;'),
    markedSet('vteps4', 'type ipv4_addr;'),
    markedSet('vteps6', 'type ipv6_addr;'),
    markedSet('senders4', 'type ifname . ipv4_addr;'),
    markedSet('senders6', 'type ifname . ipv6_addr;'),
    markedSet('paths4', 'typeof ip saddr . @th,336,32;'),
    markedSet('paths6', 'typeof ip6 saddr . @th,304,128;'),
    markedSet('inner4', 'type ifname . ipv4_addr; size 128; flags dynamic,timeout; timeout 1h;'),
  ],
  counters: ['inner-source'],
}

export const guardPeer: GuardPeer = {
  kind: 'guard-peer',
  table,
  family: 4,
  name: '10.5.2.0/24',
  subnets: [ip('10.5.2.128')],
  vteps: [ip('192.168.64.12')],
  paths: [{ outer: ip('192.168.64.12'), source: ip('10.5.2.0') }],
  senders: [
    { device: 'flannel.1', source: ip('10.5.2.0') },
    { device: 'flannel.1', source: ip('10.5.77.0') },
    { device: 'uplink', source: ip('10.5.2.0') },
  ],
}

const peer6: GuardPeer = {
  kind: 'guard-peer',
  table,
  family: 6,
  name: 'fc00:0:0:2::/64',
  subnets: [ip('fc00:0:0:2:8000::')],
  vteps: [ip('2001:db8::12')],
  paths: [{ outer: ip('2001:db8::12'), source: ip('fc00:0:0:2::') }],
  senders: [{ device: 'flannel-v6.1', source: ip('fc00:0:0:2::') }],
}

const chains = (drop: boolean): GuardChains => {
  const texts = ['counter name "inner-source" update @inner4 { iifname . ip saddr counter }', ...(drop ? ['drop'] : [])]
  const judge = ['iifname "flannel.1" iifname . ip saddr & 255.255.255.0 != @senders4 jump inner4']
  return {
    kind: 'guard-chains',
    table,
    chains: [
      { name: 'inner4', rules: markedRules(GUARD_COMMENT, texts) },
      {
        name: 'prerouting',
        base: { hook: 'prerouting', priority: -150 },
        rules: markedRules(GUARD_COMMENT, judge),
      },
    ],
  }
}
export const guardChains = chains(false)

/** The cases that the tables of the ingress guard must pass, on a host without one; call inside `describe`. */
export function guardConformance(tables: () => readonly ObjectTable[]): void {
  const tableOf = ({ kind }: KernelObject) => tables().find((candidate) => candidate.kind === kind) as ObjectTable
  const applyAll = async (...ops: readonly Op<KernelObject>[]) => {
    const [first] = ops
    assert(first !== undefined)
    const results = await tableOf(first.object).apply(ops)
    return results.map((result) => (result.ok ? 'ok' : result.error.code))
  }
  const create = (...objects: readonly KernelObject[]) =>
    applyAll(...objects.map((object) => ({ verb: 'create', object }) as const))
  const find = async (object: KernelObject) =>
    (await tableOf(object).dump([])).find((held) => keyOf(held) === keyOf(object))
  const assertHeld = async (object: KernelObject) => {
    const held = await find(object)
    assert(held !== undefined, `${keyOf(object)} is there`)
    assert.equal(compare(held, object), 'same', JSON.stringify(held))
  }

  afterEach(async () => {
    const held = await find(guardSets)
    if (held !== undefined) await applyAll({ verb: 'remove', object: held })
  })

  it('sets, elements and chains are found as they were asked for', async () => {
    for (const object of [guardSets, guardPeer, guardChains]) {
      assert.deepEqual([await find(object), await create(object)], [undefined, ['ok']])
      await assertHeld(object)
    }
    assert.deepEqual(await create(peer6), ['ok'])
    await assertHeld(peer6)
    await assertHeld(guardPeer)
  })

  it('chains are rewritten around the elements', async () => {
    for (const object of [guardSets, guardPeer, guardChains]) await create(object)
    const actual = (await find(guardChains)) as GuardChains
    const next = chains(true)
    assert.equal(compare(actual, next), 'update')
    assert.deepEqual(await applyAll({ verb: 'update', object: next, actual }), ['ok'])
    for (const object of [guardSets, guardPeer, next]) await assertHeld(object)
    assert.deepEqual(await applyAll({ verb: 'remove', object: next }), ['ok'])
    assert.equal(await find(next), undefined)
    await assertHeld(guardPeer)
  })

  it('a peer’s elements change and go without the others’', async () => {
    await create(guardSets)
    const other: GuardPeer = {
      ...guardPeer,
      name: '10.5.3.0/24',
      subnets: [ip('10.5.3.128')],
      vteps: [ip('192.168.64.13')],
      senders: [],
      paths: [],
    }
    assert.deepEqual(await create(guardPeer, other), ['ok', 'ok'])
    const next: GuardPeer = {
      ...guardPeer,
      vteps: [ip('192.168.64.22')],
      paths: [{ outer: ip('192.168.64.22'), source: ip('10.5.2.0') }],
      senders: [
        { device: 'uplink', source: ip('10.5.2.0') },
        { device: 'flannel.1', source: ip('10.5.78.0') },
      ],
    }
    const actual = (await find(guardPeer)) as GuardPeer
    assert.equal(compare(actual, next), 'update')
    assert.deepEqual(await applyAll({ verb: 'update', object: next, actual }), ['ok'])
    await assertHeld(next)
    await assertHeld(other)
    assert.deepEqual(await applyAll({ verb: 'remove', object: next }), ['ok'])
    assert.equal(await find(next), undefined)
    await assertHeld(other)
  })

  it('an address goes from one peer to another, and the one that leaves does not take it along', async () => {
    await create(guardSets)
    await create(guardPeer)
    const moved: GuardPeer = { ...guardPeer, name: '10.5.9.0/24' }
    const fresh: GuardPeer = {
      ...guardPeer,
      name: '10.5.4.0/24',
      subnets: [ip('10.5.4.128')],
      vteps: [ip('192.168.64.14')],
      senders: [],
      paths: [],
    }
    assert.deepEqual(await create(fresh, moved), ['ok', 'ok'])
    await applyAll({ verb: 'remove', object: guardPeer })
    await assertHeld(moved)
    await assertHeld(fresh)
    assert.equal(await find(guardPeer), undefined)
  })

  it('two peers change places', async () => {
    await create(guardSets)
    const other: GuardPeer = {
      ...guardPeer,
      name: '10.5.3.0/24',
      subnets: [ip('10.5.3.128')],
      vteps: [ip('192.168.64.13')],
      paths: [],
      senders: [],
    }
    await create(guardPeer, other)
    const swapped = [
      { ...guardPeer, vteps: other.vteps },
      { ...other, vteps: guardPeer.vteps },
    ] as const
    const ops = [guardPeer, other].map(
      (actual, at) => ({ verb: 'update', object: swapped[at] ?? actual, actual }) as const,
    )
    assert.deepEqual(await applyAll(...ops), ['ok', 'ok'])
    for (const object of swapped) await assertHeld(object)
  })

  it('an alias is let in, under whatever name', async () => {
    await create(guardSets)
    const shared = ip('172.16.0.9')
    const one: GuardPeer = { ...guardPeer, aliases: [shared] }
    const two: GuardPeer = {
      ...guardPeer,
      name: '10.5.3.0/24',
      subnets: [ip('10.5.3.128')],
      vteps: [ip('192.168.64.13')],
      paths: [{ outer: ip('192.168.64.13'), source: ip('10.5.3.0') }],
      senders: [],
      aliases: [shared],
    }
    assert.deepEqual(await create(one, two), ['ok', 'ok'])
    await assertHeld(one)
    await assertHeld(two)
    assert.equal(compare((await find(one)) as GuardPeer, guardPeer), 'update')
  })

  it('without its sets a peer counts as in place', async () => {
    assert.deepEqual(await tableOf(guardPeer).dump([guardPeer]), [guardPeer])
    await create(guardSets)
    assert.deepEqual(await tableOf(guardPeer).dump([guardPeer]), [])
  })

  it('a plan shows with missing or changed sets all that belongs in them', async () => {
    const wanted = [guardSets, guardPeer, guardChains]
    const role = { class: 'required' } as const
    const objects = new Map(wanted.map((object) => [keyOf(object), { ...object, role }]))
    const desired: DesiredState = { objects, complete: true, scope: { devices: new Set(), networks: [] } }
    const planned = async () =>
      (await preview(tables(), desired)).ops.map(({ verb, object }) => `${verb} ${object.kind}`)
    const all = ['create guard-sets', 'create guard-peer', 'create guard-chains']
    assert.deepEqual(await planned(), all)
    await create(...wanted.slice(0, 1))
    assert.deepEqual(await planned(), all.slice(1))
    for (const object of wanted.slice(1)) await create(object)
    assert.deepEqual(await planned(), [])
    const actual = (await find(guardSets)) as GuardSets
    const object: GuardSets = { ...guardSets, counters: ['another'] }
    await applyAll({ verb: 'recreate', object, actual })
    assert.deepEqual(await planned(), ['recreate guard-sets', ...all.slice(1)])
  })

  it('chains without their sets are refused', async () => {
    assert.deepEqual(await create(guardChains), ['ESTALE'])
  })

  it('with the table all goes', async () => {
    for (const object of [guardSets, guardPeer, guardChains]) await create(object)
    const held = (await find(guardSets)) as GuardSets
    assert.deepEqual(await applyAll({ verb: 'remove', object: held }), ['ok'])
    for (const object of [guardSets, guardPeer, guardChains]) assert.equal(await find(object), undefined)
  })
}
