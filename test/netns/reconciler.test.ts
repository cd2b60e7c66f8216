import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import type { DesiredState } from '../../kernel/desired.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import { MemoryJournal } from '../../kernel/reconciler/journal.ts'
import { preview } from '../../kernel/reconciler/preview.ts'
import { Reconciler } from '../../kernel/reconciler/reconciler.ts'
import type { ObjectTable } from '../../kernel/table.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLogger } from '../../lib/log.ts'
import * as the from '../kernel/fixtures.ts'
import { until } from '../until.ts'
import { ownNamespace } from './own-namespace.ts'

const MANY = 5_000
const SOME = 500
const patience = () => AbortSignal.timeout(60_000)

describe('the reconciler on the real kernel', function () {
  this.timeout(120_000)
  const namespace = ownNamespace(this)
  let reconciler: Reconciler
  let dumps = 0
  const many = wantedWith(MANY)
  const wanted = wantedWith(SOME)

  before(() => {
    const { kernel } = namespace
    const tables = kernel.tables.map((table): ObjectTable => {
      const dump: ObjectTable['dump'] = (wanted, scope) => {
        dumps += 1
        return table.dump(wanted, scope)
      }
      return { kind: table.kind, dump, apply: (ops) => table.apply(ops) }
    })
    reconciler = new Reconciler({ tables, clock: systemClock, log: silentLogger, journal: new MemoryJournal() })
    kernel.monitor.start((events) => reconciler.onEvents(events))
  })
  after(() => reconciler.stop())

  async function inPlace(desired: DesiredState): Promise<boolean> {
    return (await preview(namespace.kernel.tables, desired)).ops.length === 0
  }

  /** Promised: within a second, and by an event. */
  async function healed(desired: DesiredState): Promise<void> {
    await until(1_000, 'healed', async () => assert(await inPlace(desired)))
  }

  it('makes 5,000 peers and then finds nothing to do', async () => {
    const settlement = await reconciler.settled(reconciler.setDesired(many), patience())
    assert.deepEqual([...settlement.failures.values()].slice(0, 3), [])
    assert.deepEqual((await preview(namespace.kernel.tables, many)).ops.slice(0, 3), [])
    await delay(500)
    assert.deepEqual([...reconciler.counts().driftRepaired], [])
  })

  it('adds one peer to 5,000 without reading the kernel', async () => {
    const more = wantedWith(MANY + 1)
    await delay(500)
    const before = dumps
    await reconciler.settled(reconciler.setDesired(more), patience())
    assert.equal(dumps, before)
    assert(await inPlace(more))
  })

  it('a full audit of 15,000 objects finds nothing to repair', async () => {
    const { driftRepaired } = reconciler.counts()
    const before = new Map(driftRepaired)
    reconciler.invalidate('all', 'audited')
    await reconciler.settled(reconciler.setDesired(many), patience())
    assert.deepEqual(new Map(reconciler.counts().driftRepaired), before)
  })

  it('removes 4,500 peers', async () => {
    await reconciler.settled(reconciler.setDesired(wanted), patience())
    assert(await inPlace(wanted))
  })

  const blows: [string, string][] = [
    ['a deleted device comes back with all its peers', 'ip link del flannel.1'],
    ['a device set down comes up with all its peers', 'ip link set flannel.1 down'],
    ['a flushed address comes back, the routes too', 'ip addr flush dev flannel.1'],
    ['flushed routes come back', 'ip route flush proto 102'],
    ['a changed MAC is set back, the neighbours too', 'ip link set flannel.1 address 02:00:00:00:00:01'],
    ['flushed neighbours come back', 'ip neigh flush dev flannel.1 nud permanent'],
    ['a deleted FDB entry comes back', `bridge fdb del ${the.mac(2)} dev flannel.1 dst 192.0.2.2 self`],
    ['an entry for flooded frames is removed', 'bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.0.2.77 self'],
    ['a route led elsewhere is led back', 'ip route replace 10.64.2.0/24 dev uplink'],
  ]
  for (const [what, line] of blows) {
    it(`${what} within a second`, async () => {
      const { passes } = reconciler.counts()
      namespace.run(line)
      await until(1_000, 'it is noticed', async () => assert(reconciler.counts().passes > passes))
      await healed(wanted)
      assert.equal(reconciler.failures().size, 0)
    })
  }

  it('a foreign route stays, the peer is named, and comes when the route goes', async () => {
    namespace.run('ip route del 10.64.3.0/24')
    namespace.run('ip route add 10.64.3.0/24 dev uplink proto static metric 0')
    const shown = namespace.run('ip route show 10.64.3.0/24')
    assert.match(shown, /proto static/)
    await until(1_000, 'the peer is named', async () =>
      assert.equal(reconciler.failures().get('route 10.64.3.0/24 metric 0')?.cause, 'foreign'),
    )
    namespace.run('ip route del 10.64.3.0/24 proto static')
    await healed(wanted)
  })

  it('reads nothing while a routing daemon changes 5,000 routes, and holds none of them', async () => {
    const settled = () => delay(500)
    await settled()
    const before = { dumps, passes: reconciler.counts().passes }
    const lines = (verb: string) =>
      Array.from({ length: MANY }, (_, n) => `route ${verb} 172.${16 + (n >> 8)}.${n & 255}.0/24 dev uplink proto bgp`)
    namespace.run('ip -batch -', lines('add').join('\n'))
    await settled()
    const routes = namespace.kernel.tables.find(({ kind }) => kind === 'route')
    const ofRoutes = [...wanted.objects.values()].filter(({ kind }) => kind === 'route')
    assert.equal(
      (await routes?.dump([]))?.filter((held) => held.kind === 'route' && held.protocol === 186).length,
      MANY,
    )
    assert.equal((await routes?.dump(ofRoutes, wanted.scope))?.length, SOME)
    assert.equal(await routes?.unchanged?.(), true)
    namespace.run('ip -batch -', lines('del').join('\n'))
    await settled()
    assert.equal(await routes?.unchanged?.(), true)
    assert.deepEqual({ dumps, passes: reconciler.counts().passes }, before)
    assert(await inPlace(wanted))
  })

  it('takes everything away with the device', async () => {
    const nothing = { ...wanted, objects: new Map() }
    await reconciler.settled(reconciler.setDesired(nothing), patience())
    assert.equal(namespace.run('ip -br link show type vxlan'), '')
    assert.equal(namespace.run('ip route show proto 102'), '')
  })
})

function wantedWith(peers: number): DesiredState {
  const objects: DesiredObject[] = the
    .local({}, { underlay: 'uplink', local: the.ip('192.168.64.11') })
    .filter(({ kind }) => kind !== 'file')
  for (let number = 2; number < peers + 2; number += 1) objects.push(...the.peer(number))
  const desired = the.desiredOf(objects)
  return desired
}
