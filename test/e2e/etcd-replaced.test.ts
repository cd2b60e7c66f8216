import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import {
  assertSame,
  bringUp,
  flanneld,
  knowsPeers,
  leaseOf,
  leasePrefix,
  logsInFailure,
  networkOf,
  oneSegment,
  ready,
  status,
  strangerLease,
  until,
  vxlanFrom100,
} from './world.ts'

/** Fault rows 21 and 22: what is missing en masse is held, the own lease is taken again first, and no packet is lost. */
describe('an etcd', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(240_000)
  let lab: Lab
  let host: Host
  const strangers = [1, 2, 3, 4, 5, 6].map((n) => strangerLease(n))

  beforeEach(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlanFrom100 })
    host = lab.host('h1')
    const lease = await lab.etcd.grantLease(86_400)
    await lab.etcd.putAll(strangers, { lease })
    await bringUp(lab.hosts)
    for (const each of lab.hosts) await knowsPeers(each, 7)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  /** `work` takes the leases away; then all is as before, the strangers' objects held. */
  const holds = async (work: () => Promise<void>) => {
    const before = await networkOf(host)
    const keys = await Promise.all(lab.hosts.map(async (each) => (await leaseOf(lab, each)).key))
    const judge = host.container('c1').startPing(lab.host('h2').container('c1').address, 20)
    await judge.answered(AbortSignal.timeout(30_000))
    await work()
    for (const [index, each] of lab.hosts.entries()) {
      await until(30_000, `${each.label} has its subnet again`, async () =>
        assert.equal((await leaseOf(lab, each)).key, keys[index]),
      )
      await ready(each)
    }
    await until(5_000, 'the strangers are held', async () => {
      const { peers, conditions, state } = await status(host)
      const held = peers.filter((peer: { state: string }) => peer.state === 'held')
      assert.deepEqual([held.length, state], [6, 'degraded'])
      assert.match(conditions.map(({ code }: { code: string }) => code).join(), /peers-held/)
    })
    assertSame(await networkOf(host), before)
    await judge.stop()
    assert.equal(judge.verdict().lost, 0)
    // Who publishes again is a peer like any other; who stays away is let go by the operator or by time.
    await lab.etcd.putAll(strangers)
    await knowsPeers(host, 7)
    assertSame(await networkOf(host), before)
  }

  it('whose leases are all deleted takes nothing from the hosts (row 21)', async () => {
    await holds(async () => {
      await lab.etcd.del(leasePrefix, { prefix: true })
    })
  })

  it('that was wiped takes nothing from the hosts (row 21)', async () => {
    await holds(async () => {
      await lab.etcd.stop()
      await rm(join(dirname(lab.etcd.log), 'data'), { recursive: true })
      await lab.etcd.start()
      await lab.configure(vxlanFrom100)
    })
    assert.match((await flanneld(host, ['status'])).stdout, /datastore/)
  })

  it('that was restored from an old snapshot is read anew, and takes nothing from the hosts (row 22)', async () => {
    const folder = dirname(lab.etcd.log)
    await lab.etcd.del(leasePrefix, { prefix: true })
    // Of the time before all hosts: the configuration only.
    await lab.etcd.ctl('snapshot', 'save', join(folder, 'old'))
    await lab.etcd.putAll(strangers)
    for (const each of lab.hosts) await knowsPeers(each, 7)
    await holds(async () => {
      await lab.etcd.stop()
      await rm(join(folder, 'data'), { recursive: true })
      const member = [
        '--name=lab',
        '--initial-cluster=lab=http://127.0.0.1:2380',
        '--initial-advertise-peer-urls=http://127.0.0.1:2380',
      ]
      await lab.etcd.ctl('snapshot', 'restore', join(folder, 'old'), `--data-dir=${join(folder, 'data')}`, ...member)
      await lab.etcd.start()
    })
    assert.match((await host.daemon?.logText()) ?? '', /etcd history replaced/)
  })
})
