import assert from 'node:assert/strict'
import type { Cluster } from '../../lab/cluster/cluster.ts'
import type { Pod } from '../../lab/cluster/pod.ts'
import { systemClock } from '../../lib/clock.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { until } from '../until.ts'
import { flannelManifest } from './flannel-manifest.ts'
import { manifestObjects } from './manifest.ts'
import { dropPods, install, logsInFailure, nodesReady, programs, sharedCluster, startPods } from './world.ts'

describe('a node that reboots, its /run empty', function () {
  needs(this, ...programs)
  this.timeout(300_000)
  let cluster: Cluster

  before(async () => {
    cluster = await sharedCluster()
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, cluster)
  })

  after(async () => {
    if (cluster !== undefined) await dropPods(cluster)
  })

  /** Milliseconds from the power's return until a pod of the node answers a pod of the other one. */
  async function reboot(objects: readonly object[]): Promise<number> {
    await install(cluster, objects)
    const [stays] = (await startPods(cluster, [
      { name: 'stays', node: 'n2' },
      { name: 'returns', node: 'n1' },
    ])) as [Pod]
    const before = await restarts(cluster)
    const node = cluster.node('n1')
    await node.powerOff()
    const began = systemClock.now()
    await node.reboot()
    await until(120_000, 'its pod answers again', async () => {
      assert.ok((await restarts(cluster)) > before, 'kubelet has not started it again')
      const { status } = await cluster.api.get('/api/v1/namespaces/default/pods/returns')
      await stays.exec(['ping', '-c', '1', '-W', '1', status.podIP])
    })
    const took = systemClock.now() - began
    await nodesReady(cluster)
    await dropPods(cluster)
    return took
  }

  it(`is back with its pods${long ? ', no later than with flannel' : ''}`, async () => {
    const ours = await reboot(await manifestObjects())
    if (!long) return
    const flannels = await reboot(await flannelManifest())
    assert.ok(ours < flannels + 5_000, `${ours} ms, flannel ${flannels} ms`)
  })
})

async function restarts(cluster: Cluster): Promise<number> {
  const { status } = await cluster.api.get('/api/v1/namespaces/default/pods/returns')
  return status.containerStatuses?.[0]?.restartCount ?? 0
}
