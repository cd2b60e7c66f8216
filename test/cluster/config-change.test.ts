import assert from 'node:assert/strict'
import type { Cluster } from '../../lab/cluster/cluster.ts'
import type { Pod } from '../../lab/cluster/pod.ts'
import { needs } from '../needs.ts'
import { until } from '../until.ts'
import { manifestObjects } from './manifest.ts'
import { statuses } from './status.ts'
import { undisturbed } from './traffic.ts'
import { deletePods, install, logsInFailure, programs, sharedCluster, startPods } from './world.ts'

const configMap = '/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg'

describe('kubectl edit configmap kube-flannel-cfg', function () {
  needs(this, ...programs)
  this.timeout(240_000)
  let cluster: Cluster

  before(async () => {
    cluster = await sharedCluster()
    await install(cluster, await manifestObjects())
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, cluster)
  })

  after(async () => {
    if (cluster === undefined) return
    await deletePods(cluster)
    await install(cluster, await manifestObjects())
  })

  const edit = async (text: string) => await cluster.api.send('PATCH', configMap, { data: { 'net-conf.json': text } })
  /** Text of the condition, of every daemon; undefined where it has none. */
  const told = async (code: string) =>
    (await statuses(cluster)).map(({ conditions }) => conditions.find((one) => one.code === code)?.text)
  const mtus = async () =>
    await Promise.all(
      cluster.nodes.map(async (node) =>
        Number(/FLANNEL_MTU=(\d+)/.exec((await node.read('/run/flannel/subnet.env')) ?? '')?.[1]),
      ),
    )
  const restarts = async () =>
    (await cluster.list('/api/v1/namespaces/kube-flannel/pods')).map(({ metadata, status }) => [
      metadata.name,
      status.containerStatuses[0].restartCount,
    ])

  it('is followed: a backend waits for a restart, a fault is named, an MTU goes into use; no packet is lost', async () => {
    const { data } = await cluster.api.get(configMap)
    const good = JSON.parse(data['net-conf.json'])
    const before = await restarts()
    const pods = (await startPods(cluster, [
      { name: 'left', node: 'n1' },
      { name: 'right', node: 'n2' },
    ])) as unknown as [Pod, Pod]
    await undisturbed(cluster, pods, async () => {
      await edit(JSON.stringify({ ...good, Backend: { Type: 'host-gw' } }))
      await until(90_000, 'each names what waits for a restart', async () => {
        for (const text of await told('config-restart-needed')) assert.match(text ?? '', /Backend\.Type/)
      })
      await edit('{"Network":')
      await until(90_000, 'each names the fault', async () => {
        for (const text of await told('config-invalid')) assert.match(text ?? '', /JSON/)
      })
      assert.deepEqual(await mtus(), [1450, 1450])
      await edit(JSON.stringify({ ...good, Backend: { ...good.Backend, MTU: 1400 } }))
      await until(90_000, 'each uses the MTU', async () => assert.deepEqual(await mtus(), [1350, 1350]))
      await edit(data['net-conf.json'])
      await until(90_000, 'each is as before', async () => {
        assert.deepEqual(await mtus(), [1450, 1450])
        assert.deepEqual(await told('config-restart-needed'), [undefined, undefined])
        assert.deepEqual(await told('config-invalid'), [undefined, undefined])
      })
    })
    assert.deepEqual(await restarts(), before)
  })
})
