import { parseIp } from '../../lib/address.ts'
import { ConfigError } from '../../lib/errors.ts'
import { accessWarnings, apiAccess, clusterMarks } from '../../subnet/kube/access.ts'
import { KubeClient } from '../../subnet/kube/client.ts'
import { FileConfigSource } from '../../subnet/kube/config-file.ts'
import { KubeLeaseStore } from '../../subnet/kube/lease-store.ts'
import type { NodeNameOptions } from '../../subnet/kube/node-name.ts'
import type { Environment, Options } from '../options/options.ts'
import type { LeaseSource, SourceNeeds } from './lease-source.ts'

/** Configuration from a file (of a ConfigMap), leases from the Kubernetes API. @throws ConfigError */
export async function openKube(needs: SourceNeeds, options: Options, nodeId: string): Promise<LeaseSource> {
  const { env, conditions } = needs
  const node = nodeNameOptions(env)
  const { kubeconfigFile, netConfigPath } = options
  const accessNow = () =>
    apiAccess({
      apiUrl: options.kubeApiUrl,
      kubeconfigFile,
      allowExec: options.allowKubeconfigExec,
      serviceHost: env['KUBERNETES_SERVICE_HOST'],
      servicePort: env['KUBERNETES_SERVICE_PORT'],
    })
  const access = await accessNow()
  for (const [index, text] of (await accessWarnings(access, kubeconfigFile)).entries()) {
    const remedy = 'use https with the certificate of the cluster, and make the kubeconfig mode 0600'
    conditions.set({ code: index === 0 ? 'kube-access' : `kube-access ${index + 1}`, severity: 'info', text, remedy })
  }
  const serviceAddress = parseIp(env['KUBERNETES_SERVICE_HOST'] ?? '')
  const client = new KubeClient(needs, { access, accessNow })
  const store = new KubeLeaseStore(
    { ...needs, client },
    { nodeId, node, annotationPrefix: options.kubeAnnotationPrefix, configOrigin: netConfigPath },
  )
  return {
    configSource: new FileConfigSource(needs, { path: netConfigPath }),
    storeHealth: client.health.source,
    store,
    reconnectStore: async () => client.giveUp(),
    endpoints: [client.endpoint],
    identity: { kind: 'kubernetes', prefix: options.kubeAnnotationPrefix, marks: await clusterMarks(access) },
    ...(node.nodeName !== '' && { leaseId: node.nodeName }),
    givenAddresses: () => store.givenAddresses(),
    ...(serviceAddress && { serviceAddress }),
    ...(options.setNodeNetworkUnavailable && {
      nodeNetwork: {
        changes: store.changes,
        status: () => store.node && { status: store.node.networkUnavailable },
        set: (condition, signal) => store.patchStatus({ status: { conditions: [condition] } }, signal),
      },
    }),
  }
}

function nodeNameOptions(env: Environment): NodeNameOptions {
  const node = {
    nodeName: env['NODE_NAME'] ?? '',
    podName: env['POD_NAME'] ?? '',
    podNamespace: env['POD_NAMESPACE'] ?? '',
  }
  if (node.nodeName === '' && (node.podName === '' || node.podNamespace === '')) {
    throw new ConfigError(
      'NODE_NAME',
      "must name this host's Node, or POD_NAME and POD_NAMESPACE the pod of the daemon",
    )
  }
  return node
}
