import assert from 'node:assert/strict'
import type { Failure, OwnershipScope } from '../../../kernel/desired.ts'
import type { JournalEntry } from '../../../kernel/kinds/kind.ts'
import { type DesiredObject, type KernelObject, keyOf, type ObjectKind } from '../../../kernel/objects.ts'
import { asDesired } from '../../../kernel/reconciler/diff.ts'
import {
  entriesOf,
  goneEntries,
  keyOfEntry,
  MemoryJournal,
  NO_ENTRIES,
  originalsOf,
  scopeOf,
  withEntries,
  withJournal,
  withoutEntries,
} from '../../../kernel/reconciler/journal.ts'
import { settleTasks } from '../../fakes/clock.ts'
import * as the from '../fixtures.ts'

const RP_FILTER = 'net/ipv4/conf/eth0/rp_filter'
const device = (name: string): JournalEntry => ({ kind: 'device', name })
const network = (text: string): JournalEntry => ({ kind: 'network', network: the.cidr(text), subnetLen: 24 })
const fouPort = (port: number): JournalEntry => ({ kind: 'fou-port', port })
const sysctl = (value: string, path = RP_FILTER): JournalEntry => ({ kind: 'sysctl', path, value })
const uses = (...entries: readonly JournalEntry[]): OwnershipScope => scopeOf(withEntries(NO_ENTRIES, entries))
const loose: DesiredObject = {
  ...the.sysctl(RP_FILTER, '2'),
  kind: 'sysctl',
  borrowed: true,
  role: { class: 'advisory', remedy: '' },
}
const text = (entries: Iterable<JournalEntry>) => [...entries].map(keyOfEntry).join(', ')

const refusing = (cause: Failure['cause'], ...objects: readonly KernelObject[]) =>
  new Map(objects.map((object) => [keyOf(object), { key: keyOf(object), object: asDesired(object), cause, text: '' }]))
const nothingUnreadable = new Map<ObjectKind, { text: string; code: string }>()

describe('entries of the journal', () => {
  const all = [device('flannel.1'), fouPort(8285), network('10.5.0.0/16'), sysctl('1')]

  it('say what is ours, and what the host had', () => {
    const entries = withEntries(NO_ENTRIES, all)
    assert.deepEqual(entriesOf(scopeOf(entries)), all.slice(0, 3))
    assert.deepEqual([...originalsOf(entries)], [[RP_FILTER, '1']])
  })

  it('are the same map when nothing comes or goes', () => {
    const entries = withEntries(NO_ENTRIES, all)
    assert.equal(withEntries(entries, all), entries)
    assert.equal(withoutEntries(entries, [device('flannel.2')]), entries)
    assert.equal(withoutEntries(entries, all).size, 0)
  })

  it('keep the first value of a sysctl', () => {
    const entries = withEntries(withEntries(NO_ENTRIES, [sysctl('1')]), [sysctl('2')])
    assert.equal(originalsOf(entries).get(RP_FILTER), '1')
  })

  it('tell networks apart by the length of a subnet, too', () => {
    const other: JournalEntry = { kind: 'network', network: the.cidr('10.5.0.0/16'), subnetLen: 25 }
    assert.equal(withEntries(NO_ENTRIES, [network('10.5.0.0/16'), other]).size, 2)
  })
})

describe('a desired state with its journal', () => {
  const earlier = withEntries(NO_ENTRIES, [device('flannel.1'), network('10.5.0.0/16'), sysctl('1')])
  const desired = the.desiredOf([], { scope: { ...uses(device('flannel.2')), instance: 'a' } })

  it('owns what it uses and what is left of earlier ones', () => {
    const { scope } = withJournal(desired, earlier)
    assert.deepEqual([...scope.devices].sort(), ['flannel.1', 'flannel.2'])
    assert.deepEqual([scope.networks.length, scope.instance], [1, 'a'])
  })

  it('gives the host its value back unless it still wants another', () => {
    const back = withJournal(desired, earlier).objects.get(`sysctl ${RP_FILTER}`)
    assert.deepEqual(back?.kind === 'sysctl' && [back.value, back.borrowed, back.role], [
      '1',
      undefined,
      { class: 'advisory', remedy: `echo 1 > /proc/sys/${RP_FILTER}` },
    ])
    const still = { ...desired, objects: new Map([[keyOf(loose), loose]]) }
    assert.equal(withJournal(still, earlier).objects, still.objects)
  })
})

describe('an entry of the journal', () => {
  const entries = withEntries(NO_ENTRIES, [
    device('flannel.1'),
    device('flannel0'),
    device('flannel.2'),
    network('10.5.0.0/16'),
    network('10.64.0.0/10'),
    fouPort(8285),
  ])
  const desired = the.desiredOf([the.required(the.vxlan('flannel.2'))])
  const former = 'device flannel.1, device flannel0, network 10.5.0.0/16 24, fou-port 8285'

  const cases: [what: string, failures: ReadonlyMap<string, Failure>, gone: string][] = [
    ['when nothing was refused', new Map(), former],
    ['whatever was refused of what is wanted', refusing('refused', the.vxlan('flannel.2')), former],
    [
      'unless the kernel does not let go of the device',
      refusing('refused', the.vxlan('flannel.1')),
      'device flannel0, network 10.5.0.0/16 24, fou-port 8285',
    ],
    [
      'unless an address on the device stays',
      refusing('refused', the.address('10.5.1.0/32', 'flannel0')),
      'device flannel.1, network 10.5.0.0/16 24, fou-port 8285',
    ],
    [
      'unless the port is in use',
      refusing('refused', the.fouPort(8285)),
      'device flannel.1, device flannel0, network 10.5.0.0/16 24',
    ],
    [
      'unless a route in the network stays',
      refusing('refused', the.route('10.5.3.0/24', { device: 'eth0', via: the.ip('192.0.2.9') })),
      'device flannel.1, device flannel0, fou-port 8285',
    ],
    ['though another program makes it again and again', refusing('fought', the.vxlan('flannel.1')), former],
  ]
  for (const [what, failures, gone] of cases) {
    it(`ends ${what}`, () => {
      assert.equal(text(goneEntries(entries, desired, { failures, unreadable: nothingUnreadable })), gone)
    })
  }

  it('does not end while it is not known what the kernel has, or who the peers are', () => {
    const failures = new Map()
    for (const kind of ['link', 'address', 'route', 'fou-port'] as const) {
      const unreadable = new Map([[kind, { text: '', code: 'EINTR' }]])
      assert.deepEqual(goneEntries(entries, desired, { failures, unreadable }), [])
    }
    const partial = { ...desired, complete: false }
    assert.deepEqual(goneEntries(entries, partial, { failures, unreadable: nothingUnreadable }), [])
  })

  const returned: [what: string, failure: Partial<Failure> | undefined, gone: number][] = [
    ['ends when the host has its value again', undefined, 1],
    ['stays while that is refused', { code: 'EROFS' }, 0],
    ['ends with the device', { code: 'ENOENT' }, 1],
  ]
  for (const [what, failure, gone] of returned) {
    it(`of a sysctl ${what}`, () => {
      const borrowed = withEntries(NO_ENTRIES, [sysctl('1')])
      const [key, refused] = [...refusing('refused', the.sysctl(RP_FILTER, '1'))][0] ?? assert.fail()
      const failures = new Map(failure === undefined ? [] : [[key, { ...refused, ...failure }]])
      assert.equal(goneEntries(borrowed, desired, { failures, unreadable: nothingUnreadable }).length, gone)
      const still = { ...desired, objects: new Map([[keyOf(loose), loose]]) }
      assert.equal(goneEntries(borrowed, still, { failures, unreadable: nothingUnreadable }).length, 0)
    })
  }
})

describe('a pass with a journal', () => {
  const vni = (number: number, more: readonly DesiredObject[] = []) =>
    the.desiredOf([the.required(the.vxlan(`flannel.${number}`, {}, { vni: number })), ...more], {
      scope: uses(device(`flannel.${number}`), network('10.64.0.0/10')),
    })

  it('removes what an earlier run has left, and then calls it nobody’s', async () => {
    const journal = new MemoryJournal(withEntries(NO_ENTRIES, [device('flannel.1'), network('10.5.0.0/16')]))
    const rig = the.rig({}, journal)
    rig.kernel.change({ verb: 'create', object: the.vxlan('flannel.1') })
    rig.kernel.put(the.route('10.5.3.0/24', { device: 'eth0', via: the.ip('192.0.2.9') }))
    await rig.want(vni(2))
    assert.equal(rig.kernel.get('link flannel.1'), undefined)
    assert.equal(rig.kernel.get('route 10.5.3.0/24 metric 0'), undefined)
    assert.equal(text(journal.entries.values()), 'network 10.64.0.0/10 24, device flannel.2')
    rig.kernel.change({ verb: 'create', object: the.vxlan('flannel.1') })
    await rig.clock.advance(300_000)
    assert.notEqual(rig.kernel.get('link flannel.1'), undefined)
    await rig.reconciler.stop()
  })

  it('gives nothing up while a program is waited for: removals have not been tried', async () => {
    const journal = new MemoryJournal(withEntries(NO_ENTRIES, [device('flannel.1')]))
    const rig = the.rig({}, journal)
    rig.kernel.change({ verb: 'create', object: the.vxlan('flannel.1') })
    let letGo = () => {}
    const held = new Promise<void>((resolve) => {
      letGo = resolve
    })
    rig.kernel.hang = (kind) => (kind === 'nft-table' ? held : undefined)
    const rules: DesiredObject = the.required({ kind: 'nft-table', family: 4, name: 'flannel-ipv4', chains: [] })
    await rig.want(vni(2, [rules]))
    await rig.want(vni(2, [rules, ...the.peer(3)]))
    await rig.clock.advance(1_000)
    assert.notEqual(rig.kernel.get('link flannel.1'), undefined)
    assert.ok(journal.entries.has('device flannel.1'))
    letGo()
    await rig.clock.advance(1_000)
    assert.equal(rig.kernel.get('link flannel.1'), undefined)
    assert.ok(!journal.entries.has('device flannel.1'))
    await rig.reconciler.stop()
  })

  it('reads nothing again because of the entries that it has made', async () => {
    const devices = ['flannel.2', 'flannel.1']
    const links = [1, 2].map((vni) => the.required(the.vxlan(`flannel.${vni}`, {}, { vni, port: 8470 + vni })))
    const scope = uses(...devices.map(device), network('10.65.0.0/16'))
    const reads = []
    for (const known of [NO_ENTRIES, withEntries(NO_ENTRIES, entriesOf(scope))]) {
      const rig = the.rig({}, new MemoryJournal(known))
      // As flannel has left them.
      for (const object of links) rig.kernel.change({ verb: 'create', object })
      await settleTasks()
      await rig.want(the.desiredOf(links, { scope }))
      await rig.clock.advance(1_000)
      reads.push(rig.kernel.calls.filter(({ verb }) => verb === 'dump').length)
      await rig.reconciler.stop()
    }
    assert.equal(reads[0], reads[1])
  })

  it('waits for no disk with what it gives up', async () => {
    const journal = new MemoryJournal(withEntries(NO_ENTRIES, [device('flannel.1')]))
    const forget = journal.forget.bind(journal)
    journal.forget = async (entries) => {
      await forget(entries)
      await new Promise(() => {})
    }
    const rig = the.rig({}, journal)
    await rig.want(vni(2))
    assert.equal(text(journal.entries.values()), 'network 10.64.0.0/10 24, device flannel.2')
    rig.kernel.delete('link flannel.2')
    await rig.clock.advance(1_000)
    assert.notEqual(rig.kernel.get('link flannel.2'), undefined)
    await rig.reconciler.stop()
  })

  it('does not call a device its own that somebody else’s is in the way of', async () => {
    const journal = new MemoryJournal()
    const rig = the.rig({}, journal)
    rig.kernel.put(the.bridge('flannel.1'))
    await rig.want(vni(1))
    assert.equal(text(journal.entries.values()), 'network 10.64.0.0/10 24')
    await rig.reconciler.stop()
  })

  it('borrows a sysctl, and gives it back when it is not wanted any more, also in another process', async () => {
    const journal = new MemoryJournal()
    const rig = the.rig({}, journal)
    const value = () => {
      const held = rig.kernel.get(`sysctl ${RP_FILTER}`)
      return held?.kind === 'sysctl' ? held.value : undefined
    }
    rig.kernel.put(the.sysctl(RP_FILTER, '1'))
    await rig.want(vni(1, [loose]))
    assert.deepEqual([value(), originalsOf(journal.entries).get(RP_FILTER)], ['2', '1'])
    await rig.want(vni(1))
    assert.deepEqual([value(), originalsOf(journal.entries).size], ['1', 0])
    // From now on it is the operator's.
    rig.kernel.put(the.sysctl(RP_FILTER, '0'))
    await rig.clock.advance(100_000)
    assert.equal(value(), '0')
    assert.deepEqual(rig.reconciler.counts().driftRepaired, new Map())
    await rig.want(vni(1, [loose]))
    await rig.reconciler.stop()
    const next = the.rig({}, new MemoryJournal(journal.entries))
    next.kernel.put(the.sysctl(RP_FILTER, '2'))
    await next.want(vni(1))
    const back = next.kernel.get(`sysctl ${RP_FILTER}`)
    assert.equal(back?.kind === 'sysctl' && back.value, '0')
    await next.reconciler.stop()
  })

  it('gives a sysctl back that is changed although the kernel said no', async () => {
    const journal = new MemoryJournal()
    const rig = the.rig({}, journal)
    rig.kernel.put(the.sysctl(RP_FILTER, '1'))
    await rig.want(vni(1))
    await rig.clock.advance(1_000)
    rig.kernel.fault = ({ kind, verb }) =>
      kind === 'sysctl' && verb === 'update' ? { code: 'EBUSY', done: true } : undefined
    await rig.want(vni(1, [loose]))
    rig.kernel.fault = () => undefined
    await rig.want(vni(1))
    const held = rig.kernel.get(keyOf(loose))
    assert.deepEqual([held?.kind === 'sysctl' && held.value, originalsOf(journal.entries).size], ['1', 0])
    await rig.reconciler.stop()
  })

  it('does not change a sysctl before its value is written, and makes a device all the same', async () => {
    let refuses = true
    const journal = new MemoryJournal()
    const record = journal.record.bind(journal)
    journal.record = async (entries) => !refuses && (await record(entries))
    const rig = the.rig({}, journal)
    rig.kernel.put(the.sysctl(RP_FILTER, '1'))
    await rig.want(vni(1, [loose]))
    assert.notEqual(rig.kernel.get('link flannel.1'), undefined)
    assert.deepEqual([rig.kernel.get(keyOf(loose)), rig.reconciler.failures()], [the.sysctl(RP_FILTER, '1'), new Map()])
    refuses = false
    rig.reconciler.invalidate(['sysctl'], 'the disk takes it')
    await settleTasks()
    const held = rig.kernel.get(keyOf(loose))
    assert.equal(held?.kind === 'sysctl' && held.value, '2')
    await rig.reconciler.stop()
  })
})
