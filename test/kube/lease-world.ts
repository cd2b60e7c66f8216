import { systemClock } from '../../lib/clock.ts'
import { Secret, silentLogger } from '../../lib/log.ts'
import { KubeClient } from '../../subnet/kube/client.ts'
import { KubeLeaseStore } from '../../subnet/kube/lease-store.ts'
import type { AnyLeaseWorld } from '../conformance/any-lease-store.ts'
import type { ApiServer } from './api-server.ts'

const annotationPrefix = 'flannel.alpha.coreos.com/'
const nodes = '/api/v1/nodes'

/** The lease stores of the Nodes n1, n2 and n3, which are made anew; `tokenOf` is what the daemon of a node shows the API server. */
export async function leaseWorld(
  server: ApiServer,
  tokenOf: (n: number) => string = () => server.token,
): Promise<AnyLeaseWorld> {
  const addNode = (name: string, spec: object, annotations: Record<string, string> = {}) =>
    server.send('POST', nodes, { metadata: { name, annotations }, spec })
  await server.send('DELETE', nodes)
  for (const n of [1, 2, 3]) {
    const podCIDRs = [`10.5.${n}.0/24`, `fc00:0:0:${n}::/64`]
    await addNode(`n${n}`, { podCIDR: podCIDRs[0], podCIDRs })
  }
  const end = new AbortController()
  const store = (n: number) => {
    const material = { ca: { text: new Secret(server.ca) }, token: { text: new Secret(tokenOf(n)) } }
    const access = { server: server.url, insecure: false, ...material }
    const client = new KubeClient({ clock: systemClock }, { access })
    const node = { nodeName: `n${n}`, podName: '', podNamespace: '' }
    const made = new KubeLeaseStore(
      { client, clock: systemClock, log: silentLogger, random: Math.random },
      { nodeId: `id${n}`, node, annotationPrefix, configOrigin: 'test' },
    )
    made.run(end.signal).finally(() => client.giveUp())
    return made
  }
  return {
    store,
    spoil: async (n) => {
      const annotations = { [`${annotationPrefix}backend-type`]: 'host-gw' }
      await server.send('PATCH', `${nodes}/n${n}`, { metadata: { annotations } })
    },
    clutter: async () => {
      const managed = { [`${annotationPrefix}kube-subnet-manager`]: 'true' }
      await addNode('stranger', {})
      await addNode('early', {}, managed)
      const broken = { ...managed, [`${annotationPrefix}public-ip`]: '../' }
      await addNode('broken', { podCIDR: '10.5.9.0/24', podCIDRs: ['10.5.9.0/24'] }, broken)
      return ['early', 'broken']
    },
    close: async () => end.abort(),
  }
}
