import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import type { HostFacts, Ingress } from '../../backends/backend.ts'
import { guardObjects, REFUSALS } from '../../flanneld/node/guard-rules.ts'
import type { GuardPeer } from '../../kernel/kinds/guard-peer/kind.ts'
import type { GuardSets } from '../../kernel/kinds/guard-sets/kind.ts'
import { keyOf, type ObjectKind } from '../../kernel/objects.ts'
import { MemoryJournal } from '../../kernel/reconciler/journal.ts'
import { preview } from '../../kernel/reconciler/preview.ts'
import { Reconciler } from '../../kernel/reconciler/reconciler.ts'
import type { Op } from '../../kernel/table.ts'
import type { Cidr, IpAddr } from '../../lib/address.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLogger } from '../../lib/log.ts'
import { PersistentMap } from '../../lib/persistent-map.ts'
import { lease, network, facts as someFacts, vxlanPath } from '../backends/world.ts'
import { guardChains, guardConformance, guardPeer, guardSets } from '../conformance/guard.ts'
import { until } from '../until.ts'
import { outcomes, ownNamespace, tableOf } from './own-namespace.ts'

describe('ingress guard in the real kernel', function () {
  this.timeout(120_000)
  const namespace = ownNamespace(this)
  const run = (line: string) => namespace.run(line)
  let told: ObjectKind[] = []
  const stop = new AbortController()

  before(() => {
    for (const kind of ['guard-sets', 'guard-peer', 'guard-chains', 'nft-table', 'iptables-chain'] as const) {
      void namespace.kernel.rules.monitor.watch(kind, () => told.push(kind), stop.signal)
    }
  })
  after(() => stop.abort())

  const kindsSoFar = () => new Set(told)
  /** All that is told once these have been, or if none shall be, within a while. */
  const kindsTold = async (...expected: readonly ObjectKind[]) => {
    const missing = () => expected.filter((kind) => !kindsSoFar().has(kind))
    await until(3_000, 'they are told', async () => assert.deepEqual(missing(), []))
    await delay(900)
    const kinds = kindsSoFar()
    told = []
    return kinds
  }
  const sets = () => tableOf<GuardSets>(namespace.kernel, 'guard-sets')
  const peers = () => tableOf<GuardPeer>(namespace.kernel, 'guard-peer')

  guardConformance(() => namespace.kernel.tables)

  it('writes elements as nft would', async () => {
    await sets().apply([{ verb: 'create', object: guardSets }])
    await peers().apply([{ verb: 'create', object: guardPeer }])
    const listed = run('nft list set inet flanneld-guard senders4').replaceAll(/\s+/g, ' ')
    assert.match(listed, /"flannel\.1" \. 10\.5\.2\.0 comment "10\.5\.2\.0\/24"/)
    assert.match(listed, /"uplink" \. 10\.5\.2\.0 comment "10\.5\.2\.0\/24"/)
    assert.match(listed, /"flannel\.1" \. 10\.5\.77\.0 comment "10\.5\.2\.0\/24"/)
    assert.match(run('nft list set inet flanneld-guard vteps4'), /192\.168\.64\.12 comment "10\.5\.2\.0\/24"/)
  })

  it('reads elements that nft wrote, those without a name, too, and removes them', async () => {
    await sets().apply([{ verb: 'create', object: guardSets }])
    run('nft add element inet flanneld-guard subnets4 { 0x0a050700 }')
    run('nft add element inet flanneld-guard vteps4 { 192.168.64.77 }')
    run('nft add element inet flanneld-guard paths4 { 192.168.64.77 . 0x0a050700 }')
    run('nft add element inet flanneld-guard senders4 { "x" . 10.5.7.0, "x" . 10.5.8.0 }')
    const [found, ...rest] = await peers().dump([])
    assert(found !== undefined)
    assert.deepEqual(rest, [])
    const senders = [...found.senders].sort((a, b) => (a.source < b.source ? -1 : 1))
    assert.deepEqual(
      { ...found, senders },
      {
        kind: 'guard-peer',
        table: 'flanneld-guard',
        family: 4,
        name: '?4',
        subnets: ['10.5.7.0'],
        vteps: ['192.168.64.77'],
        paths: [{ outer: '192.168.64.77', source: '10.5.7.0' }],
        senders: [
          { device: 'x', source: '10.5.7.0' },
          { device: 'x', source: '10.5.8.0' },
        ],
      },
    )
    assert.deepEqual(await outcomes(peers(), { verb: 'remove', object: found }), ['ok'])
    assert.deepEqual(await peers().dump([]), [])
  })

  it('one bad peer does not stop the rest', async () => {
    await sets().apply([{ verb: 'create', object: guardSets }])
    const bad: GuardPeer = {
      ...guardPeer,
      name: 'bad',
      subnets: [],
      vteps: [],
      paths: [],
      senders: [{ device: 'a', source: 'fc00::' as IpAddr }],
    }
    const other: GuardPeer = {
      ...guardPeer,
      name: 'other',
      vteps: ['192.168.64.99' as IpAddr],
      subnets: [],
      paths: [],
      senders: [],
    }
    const ops: Op<GuardPeer>[] = [guardPeer, bad, other].map((object) => ({ verb: 'create', object }))
    const [first, second, third] = await outcomes(peers(), ...ops)
    assert.deepEqual([first, third], ['ok', 'ok'])
    assert.notEqual(second, 'ok')
    assert.deepEqual((await peers().dump([])).map(({ name }) => name).sort(), ['10.5.2.0/24', 'other'])
  })

  it('tells of what others change in sets and chains, and of nothing that it does itself', async () => {
    // Of the tests before.
    await kindsTold()
    await sets().apply([{ verb: 'create', object: guardSets }])
    await namespace.kernel.tables
      .find(({ kind }) => kind === 'guard-chains')
      ?.apply([{ verb: 'create', object: guardChains }])
    await peers().apply([{ verb: 'create', object: guardPeer }])
    assert.deepEqual(await kindsTold(), new Set())
    run('nft flush set inet flanneld-guard vteps4')
    assert.deepEqual(await kindsTold('guard-peer'), new Set(['guard-peer']))
    run('nft flush chain inet flanneld-guard prerouting')
    assert.deepEqual(await kindsTold('guard-chains'), new Set(['guard-chains']))
    run('nft flush ruleset')
    assert((await kindsTold('guard-sets')).has('guard-sets'))
  })

  it('five thousand peers, and one more', async () => {
    await sets().apply([{ verb: 'create', object: guardSets }])
    const peerOf = (n: number): GuardPeer => {
      const first = `10.${n >> 8}.${n & 255}.0` as IpAddr
      const address = `172.16.${n >> 8}.${n & 255}` as IpAddr
      return {
        ...guardPeer,
        name: `${first}/24`,
        subnets: [first],
        vteps: [address],
        paths: [{ outer: address, source: first }],
        senders: [
          { device: 'flannel.1', source: first },
          { device: 'eth0', source: first },
        ],
      }
    }
    const many = Array.from({ length: 5_000 }, (_unused, n) => peerOf(n))
    const timed = async <T>(what: string, work: () => Promise<T>) => {
      const from = performance.now()
      const result = await work()
      if (process.env['TIMES']) process.stdout.write(`${what} ${(performance.now() - from).toFixed(1)} ms\n`)
      return result
    }
    const results = await timed('add', () => peers().apply(many.map((object) => ({ verb: 'create', object }))))
    assert(results.every(({ ok }) => ok))
    for (let n = 5_000; n < 5_003; n += 1) {
      const [one] = await timed('one more', () => peers().apply([{ verb: 'create', object: peerOf(n) }]))
      assert(one?.ok)
    }
    assert.equal((await timed('dump', () => peers().dump([]))).length, 5_003)
    const gone = await timed('remove half', () =>
      peers().apply(many.slice(0, 2_500).map((object) => ({ verb: 'remove', object }))),
    )
    assert(gone.every(({ ok }) => ok))
    assert.equal((await peers().dump([])).length, 2_503)
  })
})

describe('chains of the ingress guard in the real kernel', function () {
  this.timeout(120_000)
  const namespace = ownNamespace(this)
  const facts: HostFacts = { ...someFacts(), external: { ...someFacts().external, name: 'uplink' } }
  const own = lease('10.5.1.0/24 192.168.64.11 fc00:0:0:1::/64 2001:db8::11', vxlanPath('02:00:00:00:00:01'))
  const ingress: Ingress = {
    tunnels: new Map([
      [4, 'flannel.1'],
      [6, 'flannel-v6.1'],
    ]),
    outer: [{ type: 'vxlan', port: 8472, vni: 16777215 }, { type: 'udp', port: 8285 }, { type: 'ipip' }],
  }
  const all: Ingress = { ...ingress, own: { device: 'flannel.1', address: '10.5.1.0' as IpAddr } }

  it('are taken by nft, found unchanged, rewritten, and gone in the end', async () => {
    const { tables } = namespace.kernel
    const reconciler = new Reconciler({ tables, clock: systemClock, log: silentLogger, journal: new MemoryJournal() })
    const settle = async (mode: 'on' | 'count' | 'off', allow: readonly Cidr[] = []) => {
      const traits = new Set(['4/24', '4/26', '6/64', '6/80'])
      const input = { network: network(4, 6), own, facts, traits }
      const objects = mode === 'off' ? [] : guardObjects(input, [all], { mode, allow, instance: '' })
      const desired = {
        objects: PersistentMap.from(objects.map((object) => [keyOf(object), object] as const)),
        complete: true,
        scope: { devices: new Set<string>(), networks: [] },
      }
      const { failures } = await reconciler.settled(reconciler.setDesired(desired), AbortSignal.timeout(60_000))
      assert.deepEqual([...failures.values()], [])
      assert.deepEqual((await preview(tables, desired)).ops, [])
    }
    try {
      await settle('count')
      const { guard } = namespace.kernel.rules
      namespace.run('ip link add flannel.1 type veth peer name other')
      namespace.run('nft add element inet flanneld-guard outer4 { "uplink" . 192.168.64.99 counter packets 7 bytes 9 }')
      await settle('on', ['10.9.0.0/16', 'fd00::/8'] as Cidr[])
      const [seen, ...more] = await guard.seen({ table: 'flanneld-guard', set: 'outer4', keys: 'device' })
      assert(seen !== undefined && seen.ageMs < 60_000)
      assert.deepEqual(
        [more, { ...seen, ageMs: 0 }],
        [[], { device: 'uplink', source: '192.168.64.99', comment: '', packets: 7, ageMs: 0 }],
      )
      assert.deepEqual(await guard.counters('flanneld-guard'), new Map(REFUSALS.map((refusal) => [refusal, 0])))
      await settle('count')
      await settle('off')
      assert.equal(namespace.run('nft list tables'), '')
    } finally {
      await reconciler.stop()
    }
  })
})
