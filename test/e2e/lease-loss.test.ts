import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import {
  assertSame,
  flanneld,
  knowsPeers,
  leaseOf,
  logsInFailure,
  networkOf,
  oneSegment,
  ready,
  startDaemon,
  startOver,
  status,
  until,
  vxlanFrom100,
} from './world.ts'

describe('a lost lease', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlanFrom100 })
    host = lab.host('h1')
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await startOver(lab, vxlanFrom100)
  })

  after(async () => {
    await lab?.close()
  })

  it('takes the same subnet again when its key is deleted or its etcd lease revoked (row 17)', async () => {
    await startDaemon(host)
    await ready(host)
    const before = { network: await networkOf(host), lease: await leaseOf(lab, host) }
    await lab.etcd.del(before.lease.key)
    await until(2_000, 'the key is back', async () => {
      const now = await leaseOf(lab, host)
      assert.deepEqual([now.key, now.value], [before.lease.key, before.lease.value])
      assert.notEqual(now.lease, '0')
    })
    await lab.etcd.revokeLease((await leaseOf(lab, host)).lease)
    await until(2_000, 'the key is back', async () => assert.equal((await leaseOf(lab, host)).key, before.lease.key))
    await until(2_000, 'ready', async () => assert.equal((await status(host)).ready, true))
    assert.equal(host.daemon?.running, true)
    assertSame(await networkOf(host), before.network)
  })

  it('is never taken back by force from another that has got the subnet; the operator decides (row 18)', async () => {
    await startDaemon(host, { args: ['--healthz-port=8080'] })
    await ready(host)
    const lease = await leaseOf(lab, host)
    const before = await networkOf(host)
    const other = {
      PublicIP: '192.168.64.77',
      BackendType: 'vxlan',
      BackendData: { VNI: 1, VtepMAC: '02:00:00:00:00:77' },
    }
    await lab.etcd.put(lease.key, JSON.stringify({ ...other, NodeID: 'f'.repeat(32) }))
    await until(3_000, 'the loss is shown', async () => {
      const { ready: isReady, notReady, conditions, state } = await status(host)
      assert.deepEqual([isReady, state], [false, 'down'])
      assert.match(notReady.join('\n'), /now held by f{32}/)
      assert.equal(conditions[0].code, 'lease-subnet-taken')
      assert.match(conditions[0].remedy, /flanneld cleanup/)
    })
    const modified = (await lab.etcd.get(lease.key))?.modRevision
    // Neither a restart nor time changes that: nothing is overwritten, containers keep what they have.
    host.daemon?.kill('SIGHUP')
    assert.equal((await lab.etcd.get(lease.key))?.modRevision, modified)
    assertSame(await networkOf(host), before)
    assert.equal(host.daemon?.running, true)

    await host.daemon?.stop()
    assert.equal((await flanneld(host, ['cleanup'])).code, 0)
    await startDaemon(host)
    await ready(host)
    assert.notEqual((await leaseOf(lab, host)).key, lease.key)
    assert.equal((await lab.etcd.get(lease.key))?.modRevision, modified)
    await knowsPeers(host, 1)
  })

  it('that runs out in a partition and goes to another host stays with that one; the operator decides (row 18)', async () => {
    const other = lab.host('h2')
    await startDaemon(host)
    await ready(host)
    const lease = await leaseOf(lab, host)
    const before = await networkOf(host)
    // A lease lives a day; this one is given five seconds, with the value that it has.
    await lab.etcd.put(lease.key, lease.value, { lease: await lab.etcd.grantLease(5) })
    await host.cutWire()
    try {
      await until(15_000, 'the lease has run out', async () => assert.equal(await lab.etcd.get(lease.key), undefined))
      // The other host wishes for the subnet that its own file of an earlier run names.
      writeFileSync(other.paths.subnetFile, (await host.subnetEnv()).text)
      await startDaemon(other)
      await ready(other)
      assert.equal((await leaseOf(lab, other)).key, lease.key)
      // Nobody has told the host: it serves its containers with what it knows.
      assertSame(await networkOf(host), before)
    } finally {
      await host.mendWire()
    }
    const taken = await lab.etcd.get(lease.key)
    await until(30_000, 'the loss is noticed', async () => {
      const { ready: isReady, notReady } = await status(host)
      assert.equal(isReady, false)
      assert.match(notReady.join('\n'), new RegExp(`now held by ${JSON.parse(taken?.value ?? '').NodeID}`))
    })
    assert.equal((await lab.etcd.get(lease.key))?.modRevision, taken?.modRevision)
    assertSame(await networkOf(host), before)

    await host.daemon?.stop()
    await flanneld(host, ['cleanup'])
    await startDaemon(host)
    for (const each of lab.hosts) await knowsPeers(each, 1)
    assert.notEqual((await leaseOf(lab, host)).key, lease.key)
    assert.equal((await lab.etcd.get(lease.key))?.modRevision, taken?.modRevision)
  })

  it('gives the subnet up to nobody in a partition either: expired and leased by another (row 18)', async () => {
    await startDaemon(host)
    await ready(host)
    const lease = await leaseOf(lab, host)
    await host.cutWire()
    try {
      await lab.etcd.revokeLease(lease.lease)
      await lab.etcd.put(lease.key, JSON.stringify({ PublicIP: '192.168.64.77', BackendType: 'vxlan' }))
    } finally {
      await host.mendWire()
    }
    await until(30_000, 'the loss is noticed', async () => {
      assert.match((await status(host)).notReady.join('\n'), /now held by 192\.168\.64\.77/)
    })
    assert.equal(JSON.parse((await lab.etcd.get(lease.key))?.value ?? '').PublicIP, '192.168.64.77')
    // When the other goes, the old subnet is ours again.
    await lab.etcd.del(lease.key)
    await until(3_000, 'taken again', async () => assert.equal((await leaseOf(lab, host)).key, lease.key))
    await ready(host)
  })
})
