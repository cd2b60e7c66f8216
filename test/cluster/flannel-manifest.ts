import type { Json } from '../../lab/cluster/api.ts'
import { flannelImage, flannelPluginImage } from './images.ts'
import { manifestObjects } from './manifest.ts'

/** What flannel v0.28.9 applies: the objects of ours, with its own DaemonSet. */
export async function flannelManifest(): Promise<readonly object[]> {
  return (await manifestObjects()).map((object) => (object.kind === 'DaemonSet' ? daemonSet : object))
}

/** Of before v0.20, beside ours: in kube-system, and without a port that Kubernetes would give to one pod of a node only. */
export async function olderFlannel(): Promise<readonly Json[]> {
  return (await flannelManifest()).flatMap((object) => {
    const copy: Json = structuredClone(object)
    const { kind, metadata } = copy
    if (kind === 'Namespace' || kind === 'ClusterRole') return []
    if (kind === 'ClusterRoleBinding') {
      metadata.name = 'flannel-older'
      copy.subjects[0].namespace = 'kube-system'
    } else metadata.namespace = 'kube-system'
    if (kind === 'DaemonSet') {
      const { spec } = copy.spec.template
      // Once a node has gone it does not end at SIGTERM.
      spec.terminationGracePeriodSeconds = 3
      const [container] = spec.containers
      container.args = ['--ip-masq', '--kube-subnet-mgr']
      for (const field of ['ports', 'livenessProbe', 'readinessProbe']) delete container[field]
    }
    return [copy]
  })
}

/** Ours, with the CNI files by flannel's init containers; the plugins that flannel's needs are the daemon's copies. */
export async function viaFlannelsPlugin(): Promise<readonly Json[]> {
  return (await manifestObjects()).map((object) => {
    if (object.kind !== 'DaemonSet') return object
    const { spec } = object.spec.template
    spec.initContainers = daemonSet.spec.template.spec.initContainers
    const [container] = spec.containers
    container.args = container.args.filter((arg: string) => !arg.startsWith('--cni-conf-file='))
    return object
  })
}

const mount = (name: string, mountPath: string) => ({ name, mountPath })
const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } })

const daemonSet = {
  apiVersion: 'apps/v1',
  kind: 'DaemonSet',
  metadata: {
    name: 'kube-flannel-ds',
    namespace: 'kube-flannel',
    labels: { tier: 'node', app: 'flannel', 'k8s-app': 'flannel' },
  },
  spec: {
    selector: { matchLabels: { app: 'flannel' } },
    template: {
      metadata: { labels: { tier: 'node', app: 'flannel' } },
      spec: {
        affinity: {
          nodeAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: {
              nodeSelectorTerms: [
                { matchExpressions: [{ key: 'kubernetes.io/os', operator: 'In', values: ['linux'] }] },
              ],
            },
          },
        },
        hostNetwork: true,
        priorityClassName: 'system-node-critical',
        tolerations: [{ operator: 'Exists', effect: 'NoSchedule' }],
        serviceAccountName: 'flannel',
        initContainers: [
          {
            name: 'install-cni-plugin',
            image: flannelPluginImage,
            command: ['cp'],
            args: ['-f', '/flannel', '/opt/cni/bin/flannel'],
            volumeMounts: [mount('cni-plugin', '/opt/cni/bin')],
          },
          {
            name: 'install-cni',
            image: flannelImage,
            command: ['/opt/bin/install-conf'],
            args: ['/etc/kube-flannel/cni-conf.json', '/etc/cni/net.d/10-flannel.conflist'],
            volumeMounts: [mount('cni', '/etc/cni/net.d'), mount('flannel-cfg', '/etc/kube-flannel/')],
          },
        ],
        containers: [
          {
            name: 'kube-flannel',
            image: flannelImage,
            command: ['/opt/bin/flanneld'],
            args: ['--ip-masq', '--kube-subnet-mgr', '--healthz-port=8081'],
            ports: [{ name: 'healthz', containerPort: 8081, protocol: 'TCP' }],
            livenessProbe: {
              httpGet: { path: '/healthz', port: 'healthz' },
              initialDelaySeconds: 10,
              periodSeconds: 30,
            },
            // flannel's waits 5 s, then 10 s: a rollout would wait for that alone.
            readinessProbe: { httpGet: { path: '/readyz', port: 'healthz' }, periodSeconds: 1 },
            resources: { requests: { cpu: '100m', memory: '50Mi' } },
            securityContext: { privileged: false, capabilities: { add: ['NET_ADMIN', 'NET_RAW'] } },
            env: [
              field('POD_NAME', 'metadata.name'),
              field('POD_NAMESPACE', 'metadata.namespace'),
              { name: 'EVENT_QUEUE_DEPTH', value: '5000' },
              { name: 'CONT_WHEN_CACHE_NOT_READY', value: 'false' },
            ],
            volumeMounts: [
              mount('run', '/run/flannel'),
              mount('flannel-cfg', '/etc/kube-flannel/'),
              mount('xtables-lock', '/run/xtables.lock'),
            ],
          },
        ],
        volumes: [
          { name: 'run', hostPath: { path: '/run/flannel' } },
          { name: 'cni-plugin', hostPath: { path: '/opt/cni/bin' } },
          { name: 'cni', hostPath: { path: '/etc/cni/net.d' } },
          { name: 'flannel-cfg', configMap: { name: 'kube-flannel-cfg' } },
          { name: 'xtables-lock', hostPath: { path: '/run/xtables.lock', type: 'FileOrCreate' } },
        ],
      },
    },
  },
}
