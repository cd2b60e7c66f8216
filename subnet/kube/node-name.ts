import type { KubeClient } from './client.ts'
import { ApiUnavailable } from './errors.ts'
import { fieldsOf } from './node.ts'

/** Of the environment; empty: not given. */
export interface NodeNameOptions {
  readonly nodeName: string
  readonly podName: string
  readonly podNamespace: string
}

/** The name of the Node that this host is: as told, or that of the pod. */
export async function findNodeName(
  client: KubeClient,
  { nodeName, podName, podNamespace }: NodeNameOptions,
  signal: AbortSignal,
): Promise<string> {
  if (nodeName !== '') return nodeName
  const path = `/api/v1/namespaces/${encodeURIComponent(podNamespace)}/pods/${encodeURIComponent(podName)}`
  const pod = await client.ask({ method: 'GET', path, permission: { resource: 'pods', verb: 'get' } }, signal)
  const name = fieldsOf(fieldsOf(pod)['spec'])['nodeName']
  if (typeof name === 'string' && name !== '') return name
  throw new ApiUnavailable(`pod ${podNamespace}/${podName} names no node`)
}
