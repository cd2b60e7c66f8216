import assert from 'node:assert/strict'
import type { Json } from '../../lab/cluster/api.ts'
import type { Cluster } from '../../lab/cluster/cluster.ts'
import type { Pod } from '../../lab/cluster/pod.ts'
import { needs } from '../needs.ts'
import { steady, until } from '../until.ts'
import { olderFlannel } from './flannel-manifest.ts'
import { manifestObjects } from './manifest.ts'
import { conditionTexts, inEachDaemon, statuses } from './status.ts'
import { reachEachOther, startPair, undisturbed } from './traffic.ts'
import { dropPods, install, logsInFailure, programs, rolledOut, sharedCluster, startPods } from './world.ts'

const daemonSets = '/apis/apps/v1/namespaces'

describe('a second flannel daemon on a node', function () {
  needs(this, ...programs)
  this.timeout(240_000)
  let cluster: Cluster
  let pods: readonly [Pod, Pod]

  before(async () => {
    cluster = await sharedCluster()
    await install(cluster, await manifestObjects())
    pods = await startPair(cluster)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, cluster)
  })

  after(async () => {
    if (cluster === undefined) return
    const bindings = ['older', 'second'].map((name) => `clusterrolebinding/flannel-${name}`)
    await cluster.kubectl(['delete', 'node/newcomer', 'namespace/second', ...bindings, '--ignore-not-found', '--wait'])
    await dropPods(cluster)
    for (const namespace of ['kube-system', 'kube-flannel']) await remove(namespace)
  })

  /** Ours as well: it was for one node. */
  const remove = async (namespace: string) =>
    await cluster.kubectl(['-n', namespace, 'delete', 'daemonset', 'kube-flannel-ds', '--ignore-not-found', '--wait'])
  const named = async (how: RegExp) =>
    await until(20_000, 'each of ours names it', async () => {
      for (const text of await conditionTexts(cluster, 'other-daemon')) assert.match(text ?? '', how)
    })

  it('of ours ends, and both name the other', async () => {
    const beside = async () => {
      await cluster.apply(...(await secondOfOurs()))
      let name = ''
      await until(60_000, 'it ends with 75', async () => {
        const [pod] = await cluster.list('/api/v1/namespaces/second/pods')
        name = pod?.metadata.name ?? ''
        const [container] = pod?.status.containerStatuses ?? []
        const ended = container?.state.terminated ?? container?.lastState.terminated
        assert.equal(ended?.exitCode, 75)
      })
      const said = await cluster.kubectl(['-n', 'second', 'logs', name])
      assert.match(said.stdout, /another flanneld \(pod kube-flannel\/kube-flannel-ds-\w+\) already serves/)
      await until(20_000, 'the first names it', async () => {
        assert.match((await conditionTexts(cluster, 'other-instance')).join(), new RegExp(`pod second/${name}\\)`))
      })
    }
    try {
      await undisturbed(cluster, pods, beside)
    } finally {
      // It would take the place of the first one as soon as that leaves the node.
      await cluster.kubectl(['delete', 'namespace', 'second', '--wait=false'])
    }
  })

  it("of flannel's is named, and nothing is lost or repaired again and again", async () => {
    assert.deepEqual(await conditionTexts(cluster, 'other-daemon'), [undefined, undefined])
    // flannel's start takes its masquerade rules away for a moment.
    const failing = true
    await undisturbed(
      cluster,
      pods,
      async () => {
        await cluster.apply(...(await olderFlannel()))
        await rolledOut(cluster, 'kube-system')
        await named(/it has written \/run\/flannel\/subnet\.env/)
        const repaired = async () => (await statuses(cluster)).map(({ counters }) => counters.driftRepaired)
        // The rules are looked after every five seconds, by either.
        assert.ok(await steady(6_000, repaired))
      },
      failing,
    )
    for (const said of await inEachDaemon(cluster, 'check', '--kube-subnet-mgr')) {
      assert.match(said, /^warn {2}subnet-file +another flannel daemon works on this host/m)
    }
  })

  it('that was there first is named as soon as it routes to a new node', async () => {
    // flannel, which looks after its rules every five seconds, takes them away for a moment where it finds others.
    await undisturbed(
      cluster,
      pods,
      async () => {
        await cluster.kubectl(['-n', 'kube-flannel', 'rollout', 'restart', 'daemonset/kube-flannel-ds'])
        await rolledOut(cluster)
        await cluster.api.send('POST', '/api/v1/nodes', newcomer)
        await named(/it makes routes \(10\.244\.77\.0\/24 via 10\.244\.77\.0 dev flannel\.1\)/)
        for (const node of cluster.nodes) {
          await until(10_000, `${node.label} keeps ours`, async () => {
            const { stdout } = await node.exec(['ip', 'route', 'show', '10.244.77.0/24'])
            assert.match(stdout, /nhid \d+ via 10\.244\.77\.0 dev flannel\.1/)
          })
        }
        await cluster.api.send('DELETE', '/api/v1/nodes/newcomer')
      },
      true,
    )
  })

  it('may be the only one of its node: a mixed cluster, as long as it lasts', async () => {
    const only = async (namespace: string, node: string) => {
      const nodeSelector = { 'kubernetes.io/hostname': node }
      await cluster.api.send('PATCH', `${daemonSets}/${namespace}/daemonsets/kube-flannel-ds`, {
        spec: { template: { spec: { nodeSelector } } },
      })
    }
    await undisturbed(
      cluster,
      pods,
      async () => {
        await only('kube-flannel', 'n2')
        await only('kube-system', 'n1')
        await rolledOut(cluster)
        await rolledOut(cluster, 'kube-system')
        await until(20_000, 'each has its node for itself', async () => {
          const running = await cluster.list('/api/v1/pods?labelSelector=app%3Dflannel')
          const places = running.map(({ spec, metadata }) => `${spec.nodeName} ${metadata.namespace}`)
          assert.deepEqual(places.sort(), ['n1 kube-system', 'n2 kube-flannel'])
        })
        const [theirs, ours] = await startPods(cluster, [
          { name: 'theirs', node: 'n1' },
          { name: 'ours', node: 'n2' },
        ])
        await reachEachOther(cluster, [theirs as Pod, ours as Pod])
      },
      true,
    )
    await reachEachOther(cluster, pods)
  })
})

const newcomer = {
  apiVersion: 'v1',
  kind: 'Node',
  metadata: {
    name: 'newcomer',
    annotations: {
      'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
      'flannel.alpha.coreos.com/backend-type': 'vxlan',
      'flannel.alpha.coreos.com/backend-data': '{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}',
      'flannel.alpha.coreos.com/public-ip': '192.168.64.77',
    },
  },
  spec: { podCIDR: '10.244.77.0/24', podCIDRs: ['10.244.77.0/24'] },
}

/** Our manifest again in a namespace of its own, on one node, with another port: with the same one Kubernetes starts one of the two only. */
async function secondOfOurs(): Promise<readonly Json[]> {
  return (await manifestObjects()).flatMap((object) => {
    const { kind, metadata } = object
    if (kind === 'ClusterRole') return []
    if (kind === 'Namespace') metadata.name = 'second'
    else if (kind === 'ClusterRoleBinding') {
      metadata.name = 'flannel-second'
      object.subjects[0].namespace = 'second'
    } else metadata.namespace = 'second'
    if (kind === 'DaemonSet') {
      const { spec } = object.spec.template
      spec.nodeSelector = { 'kubernetes.io/hostname': 'n1' }
      const [container] = spec.containers
      container.args = container.args.map((arg: string) => arg.replace('8081', '8082'))
      container.ports[0].containerPort = 8082
    }
    return [object]
  })
}
