import assert from 'node:assert/strict'
import type { Cluster } from '../../lab/cluster/cluster.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { until } from '../until.ts'
import { manifestObjects } from './manifest.ts'
import { install, logsInFailure, programs, rolledOut, sharedCluster } from './world.ts'

interface Rule {
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}

describe('the rights of the service account', function () {
  needs(this, ...programs)
  this.timeout(240_000)
  let cluster: Cluster
  let rules: readonly Rule[]

  before(async () => {
    cluster = await sharedCluster()
    const objects = await manifestObjects()
    rules = objects.find(({ kind }) => kind === 'ClusterRole').rules
    await install(cluster, objects)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, cluster)
  })

  it('are these and no other, and they are sufficient', async () => {
    assert.deepEqual(
      rules.map(({ resources, verbs }) => [resources.join(), verbs.join()]),
      [
        ['pods', 'get'],
        ['nodes', 'get,list,watch'],
        ['nodes/status', 'patch'],
      ],
    )
    const may = async (...what: string[]) =>
      (
        await cluster.kubectl(['auth', 'can-i', ...what, '--as=system:serviceaccount:kube-flannel:flannel'], {
          anyCode: true,
        })
      ).stdout.trim()
    assert.equal(await may('list', 'nodes'), 'yes')
    for (const what of [
      ['patch', 'nodes'],
      ['update', 'nodes', '--subresource=status'],
      ['list', 'pods'],
      ['get', 'secrets'],
      ['get', 'configmaps'],
    ])
      assert.equal(await may(...what), 'no', what.join(' '))
  })

  // `get` of pods and nodes is for flannel's daemon, which takes over with this role as it stands.
  const cases = [
    ['nodes/status', 'patch'],
    ['nodes', 'list'],
    ['nodes', 'watch'],
  ] as const

  for (const [resource, verb] of long ? cases : cases.slice(0, 1)) {
    it(`lack ${verb} ${resource}: named with the rule that would give it, and all is well as soon as it is there`, async () => {
      const without = rules.map((rule) => ({
        apiGroups: [''],
        resources: rule.resources,
        verbs: rule.resources.includes(resource) ? rule.verbs.filter((one) => one !== verb) : rule.verbs,
      }))
      const path = '/apis/rbac.authorization.k8s.io/v1/clusterroles/flannel'
      await cluster.api.send('PATCH', path, { rules: without.filter(({ verbs }) => verbs.length > 0) })
      const [pod] = (await cluster.list('/api/v1/namespaces/kube-flannel/pods')).filter(
        ({ spec }) => spec.nodeName === 'n1',
      )
      // The annotation is gone, so that it has to be written again.
      await cluster.api.send('PATCH', '/api/v1/nodes/n1', {
        metadata: { annotations: { 'flannel.alpha.coreos.com/public-ip': null } },
      })
      await cluster.kubectl(['-n', 'kube-flannel', 'delete', 'pod', pod.metadata.name])
      await until(60_000, 'the missing right is named', async () => {
        const said = await cluster.kubectl(
          ['-n', 'kube-flannel', 'logs', '--selector=app=flannel', '--tail=60', '--prefix'],
          { anyCode: true },
        )
        assert.match(said.stdout, new RegExp(`"?\\b${verb}\\b.*\\b${resource}\\b`))
      })
      await cluster.api.send('PATCH', path, {
        rules: without.map((rule, index) => ({ ...rule, verbs: rules[index]?.verbs })),
      })
      await rolledOut(cluster)
      await until(60_000, 'the annotation is back', async () => {
        const { metadata } = await cluster.api.get('/api/v1/nodes/n1')
        assert.equal(metadata.annotations['flannel.alpha.coreos.com/public-ip'], cluster.node('n1').address)
      })
    })
  }
})
