import assert from 'node:assert/strict'
import type { DesiredObject, ObjectKind } from '../../../kernel/objects.ts'
import { SlowPrograms } from '../../../kernel/reconciler/slow-programs.ts'
import { settleTasks, VirtualClock } from '../../fakes/clock.ts'
import * as the from '../fixtures.ts'

const RULES: DesiredObject = the.required({
  kind: 'nft-table',
  family: 4,
  name: 'flannel-ipv4',
  chains: [{ name: 'postrtg', type: 'nat', hook: 'postrouting', priority: 100, policy: 'accept', rules: [] }],
})
const FIRST = the.desiredOf([...the.local(), ...the.peer(2), RULES])
const SECOND = the.desiredOf([...FIRST.objects.values(), ...the.peer(3)])
const ROUTE = 'route 10.64.3.0/24 metric 0'
const SUBNET_FILE = 'file /run/flannel/subnet.env'

describe('a program that is slow or hangs', () => {
  let rig: the.Rig
  let letGo: () => void

  /** From now on, programs run for the kind, to read or to write, do not end until `letGo`. */
  const hang = (kind: ObjectKind, what: 'dump' | 'apply' = 'dump') => {
    const held = new Promise<void>((resolve) => {
      letGo = () => {
        rig.kernel.hang = () => undefined
        resolve()
      }
    })
    rig.kernel.hang = (asked, work) => (asked === kind && work === what ? held : undefined)
  }
  const calls = (kind: ObjectKind) => rig.kernel.calls.filter((call) => call.kind === kind).map(({ verb }) => verb)

  beforeEach(() => {
    rig = the.rig()
    letGo = () => {}
  })
  afterEach(async () => {
    letGo()
    await rig.reconciler.stop()
  })

  it('holds up nothing but its own kind, and is not run twice', async () => {
    hang('nft-table')
    await rig.want(FIRST)
    await rig.clock.advance(1_000)
    await rig.want(SECOND)
    await rig.clock.advance(300)
    assert.notEqual(rig.kernel.get(ROUTE), undefined)
    assert.deepEqual(calls('nft-table'), [])
    letGo()
    await rig.clock.advance(100)
    rig.assertInPlace(SECOND)
    assert.deepEqual(calls('nft-table'), ['dump', 'create'])
  })

  it('is part of what is settled, and subnet.env waits for it', async () => {
    hang('nft-table')
    const generation = await rig.want(FIRST)
    const settled = rig.reconciler.settled(generation, AbortSignal.timeout(5_000)).then(() => true)
    for (let second = 0; second < 5; second += 1) {
      await rig.clock.advance(1_000)
      rig.reconciler.invalidate(['route'], 'for the test')
    }
    assert.equal(rig.kernel.get(SUBNET_FILE), undefined)
    assert.equal(await Promise.race([settled, settleTasks().then(() => false)]), false)
    assert.equal(rig.reconciler.status.current, undefined)
    letGo()
    await rig.clock.advance(1_000)
    assert.equal(await settled, true)
    rig.assertInPlace(FIRST)
  })

  it('does not delay the repair of what others change', async () => {
    await rig.want(FIRST)
    await rig.clock.advance(1_000)
    hang('nft-table')
    rig.reconciler.invalidate(['nft-table'], 'for the test')
    await rig.clock.advance(1_000)
    const route = rig.kernel.get('route 10.64.2.0/24 metric 0')
    assert(route !== undefined)
    rig.kernel.change({ verb: 'remove', object: route })
    await rig.clock.advance(300)
    rig.assertInPlace(FIRST)
  })

  it('is waited for while there is nothing else to do, and what is told of rules is nothing else', async () => {
    hang('nft-table')
    await rig.want(FIRST)
    await rig.clock.advance(1_000)
    const { passes } = rig.reconciler.counts()
    rig.reconciler.onEvents([{ type: 'kinds', kinds: ['nft-table', 'iptables-chain'] }])
    await rig.clock.advance(10_000)
    assert.equal(rig.reconciler.counts().passes, passes)
  })

  it('that changes an object which is wanted otherwise by then is followed by the next change, which is no drift', async () => {
    hang('nft-table', 'apply')
    await rig.want(FIRST)
    await rig.clock.advance(1_000)
    const other = the.desiredOf([...the.local(), ...the.peer(2), { ...RULES, chains: [] } as DesiredObject])
    await rig.want(other)
    await rig.clock.advance(300)
    letGo()
    await rig.clock.advance(1_000)
    rig.assertInPlace(other)
    assert.equal(rig.reconciler.counts().driftRepaired.size, 0)
  })

  it('does not keep the reconciler from ending', async () => {
    hang('nft-table')
    await rig.want(FIRST)
    let ended = false
    const stopping = rig.reconciler.stop().then(() => {
      ended = true
    })
    await rig.clock.advance(300)
    assert(ended)
    letGo()
    await stopping
  })
})

describe('what a program is asked for', () => {
  it('is heard of when it fails after nobody waits for it any more', async () => {
    const clock = new VirtualClock()
    const faults: unknown[] = []
    const programs = new SlowPrograms({ clock, onFault: (cause) => void faults.push(cause) })
    programs.begin()
    let fail: (cause: unknown) => void = () => {}
    const work = () =>
      new Promise<void>((_resolve, reject) => {
        fail = reject
      })
    const waited = programs.run('nft-table', work, new AbortController().signal)
    programs.letGo()
    await clock.advance(200)
    assert.equal(await waited, false)
    const fault = new TypeError('a fault')
    fail(fault)
    await settleTasks()
    assert.deepEqual(faults, [fault])
  })
})
