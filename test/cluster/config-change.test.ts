import assert from 'node:assert/strict'
import type { Cluster } from '../../lab/cluster/cluster.ts'
import { needs } from '../needs.ts'
import { until } from '../until.ts'
import { manifestObjects } from './manifest.ts'
import { conditionTexts, statuses } from './status.ts'
import { startPair, undisturbed } from './traffic.ts'
import { dropPods, install, logsInFailure, programs, sharedCluster } from './world.ts'

const configMap = '/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg'

describe('kubectl edit configmap kube-flannel-cfg', function () {
  needs(this, ...programs)
  this.timeout(240_000)
  let cluster: Cluster
  let edits = 0

  before(async () => {
    cluster = await sharedCluster()
    await install(cluster, await manifestObjects())
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, cluster)
  })

  after(async () => {
    if (cluster !== undefined) await dropPods(cluster)
  })

  const edit = async (text: string) => {
    await cluster.api.send('PATCH', configMap, { data: { 'net-conf.json': text } })
    // A kubelet looks after the volumes of a pod that changes at once, of others when it comes to them.
    for (const { metadata } of await cluster.list('/api/v1/namespaces/kube-flannel/pods?labelSelector=app%3Dflannel')) {
      const path = `/api/v1/namespaces/kube-flannel/pods/${metadata.name}`
      await cluster.api.send('PATCH', path, { metadata: { annotations: { edited: String(edits) } } })
    }
    edits += 1
  }
  const mtus = async () =>
    await Promise.all(
      cluster.nodes.map(async (node) =>
        Number(/FLANNEL_MTU=(\d+)/.exec((await node.read('/run/flannel/subnet.env')) ?? '')?.[1]),
      ),
    )
  /** Nodes send to each other's pods by this device, and have nothing of the earlier backend any more. */
  const changed = async (device: string) =>
    await until(120_000, `each sends by ${device}`, async () => {
      for (const { backendChange, notReady } of await statuses(cluster))
        assert.deepEqual([backendChange, notReady], [null, []], JSON.stringify(backendChange))
      for (const node of cluster.nodes) {
        const { stdout } = await node.exec(['ip', 'route', 'show', 'proto', '102'])
        const devices = [...stdout.matchAll(/^10\S+ .*dev (\S+)/gm)].map((match) => match[1])
        assert.deepEqual([...new Set(devices)], [device], stdout)
        const { code } = await node.exec(['ip', 'link', 'show', 'flannel.1'], { anyCode: true })
        assert.equal(code === 0, device === 'flannel.1', `${node.label} has flannel.1`)
      }
    })
  /** One of an earlier set may be on its way out. */
  const restarts = async () =>
    (await cluster.list('/api/v1/namespaces/kube-flannel/pods'))
      .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
      .map(({ metadata, status }) => [metadata.name, status.containerStatuses[0].restartCount])

  it('is followed: another backend and back, a fault is named, an MTU goes into use; nothing restarts, no packet is lost', async () => {
    const { data } = await cluster.api.get(configMap)
    const good = JSON.parse(data['net-conf.json'])
    const before = await restarts()
    const pods = await startPair(cluster)
    await undisturbed(cluster, pods, async () => {
      await edit(JSON.stringify({ ...good, Backend: { Type: 'host-gw' } }))
      await changed('eth0')
      await edit('{"Network":')
      await until(90_000, 'each names the fault', async () => {
        for (const text of await conditionTexts(cluster, 'config-invalid')) assert.match(text ?? '', /JSON/)
      })
      assert.deepEqual(await mtus(), [1500, 1500])
      // Back to the tunnel, with an MTU of its own: of the device below, of which the tunnel takes 50 bytes.
      await edit(JSON.stringify({ ...good, Backend: { ...good.Backend, MTU: 1400 } }))
      await changed('flannel.1')
      await until(90_000, 'each uses the MTU', async () => assert.deepEqual(await mtus(), [1350, 1350]))
      await edit(data['net-conf.json'])
      await until(90_000, 'each is as before', async () => {
        assert.deepEqual(await mtus(), [1450, 1450])
        assert.deepEqual(await conditionTexts(cluster, 'config-invalid'), [undefined, undefined])
      })
    })
    assert.deepEqual(await restarts(), before)
  })
})
