import assert from 'node:assert/strict'
import type { Cluster } from '../../lab/cluster/cluster.ts'
import type { Pod } from '../../lab/cluster/pod.ts'
import type { Namespace } from '../../lab/namespace.ts'
import { until } from '../until.ts'
import { ask, dropPods, startPods } from './world.ts'

const ports = { cluster: 30080, local: 30081, host: 8088 }

function service(name: string, spec: object): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, labels: { app: name } },
    spec: { selector: { app: 'server' }, ...spec },
  }
}

/** What a cluster's Services promise, asked from pods, nodes and outside. The same for every mode of kube-proxy. */
export function servicesWork(world: () => Cluster): void {
  let cluster: Cluster
  let server: Pod
  let client: Pod
  let outside: Namespace
  const clusterIp = async (name: string): Promise<string> =>
    (await cluster.api.get(`/api/v1/namespaces/default/services/${name}`)).spec.clusterIP

  before(async () => {
    cluster = world()
    outside = cluster.lab.controlPlane
    ;[server, client] = (await startPods(cluster, [
      { name: 'server', node: 'n2', hostPort: ports.host },
      { name: 'client', node: 'n1' },
    ])) as [Pod, Pod]
    await cluster.apply(
      service('inside', { ports: [{ port: 80 }] }),
      service('anywhere', { type: 'NodePort', ports: [{ port: 80, nodePort: ports.cluster }] }),
      service('here', {
        type: 'NodePort',
        externalTrafficPolicy: 'Local',
        ports: [{ port: 80, nodePort: ports.local }],
      }),
    )
  })

  after(async () => {
    if (cluster !== undefined) await dropPods(cluster)
  })

  const answers = async (from: Namespace, address: string, port: number, seenAs?: string) =>
    await until(10_000, `${address}:${port} answers`, async () => {
      const said = await ask(from, address, port)
      assert.equal(said?.pod, 'server')
      if (seenAs !== undefined) assert.equal(said?.client, seenAs)
    })

  it('answers on a ClusterIP: a pod keeps its address, a node comes from the overlay', async () => {
    const address = await clusterIp('inside')
    await answers(client, address, 80, client.address)
    await answers(cluster.node('n1'), address, 80)
    await answers(cluster.node('n2'), address, 80)
  })

  it('answers to itself by its own ClusterIP', async () => {
    await answers(server, await clusterIp('inside'), 80)
  })

  it('answers on a NodePort of every node', async () => {
    for (const { address } of cluster.nodes) await answers(outside, address, ports.cluster)
  })

  it('shows the pod its client behind externalTrafficPolicy Local, on the node that has it, and only there', async () => {
    await answers(outside, cluster.node('n2').address, ports.local, '192.0.2.10')
    assert.equal(await ask(outside, cluster.node('n1').address, ports.local), undefined)
  })

  it('answers on a hostPort, from outside and from the other node', async () => {
    const { address } = cluster.node('n2')
    await answers(outside, address, ports.host, '192.0.2.10')
    await answers(cluster.node('n1'), address, ports.host)
    await answers(client, address, ports.host)
  })
}
