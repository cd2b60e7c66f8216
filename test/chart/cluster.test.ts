import assert from 'node:assert/strict'
import { needs } from '../needs.ts'
import { useCluster } from './cluster.ts'
import { chart, namespace, render } from './helm.ts'

const at = ['--namespace', namespace]
const names = [
  'clusterrole/flannel',
  'clusterrolebinding/flannel',
  'serviceaccount/flannel',
  'configmap/kube-flannel-cfg',
  'daemonset/kube-flannel-ds',
]
const everything = {
  podCidrv6: 'fc00::/48',
  flannel: { backend: 'udp', skipCNIConfigInstallation: true },
  netpol: { enabled: true },
  cni: { managedBy: 'daemon' },
  seLinuxOptions: { type: 'spc_t' },
  updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '10%' } },
  admissionPolicy: { enabled: true },
  global: { imagePullSecrets: [{ name: 'a' }] },
}

describe('with a real API server', function () {
  needs(this, 'etcd', 'peer:kube-apiserver', 'peer:helm', 'peer:kubectl')
  const cluster = useCluster(this)

  const exists = (name: string) => cluster().kubectl(['get', name, ...at]).ok

  before(() => {
    cluster().done(cluster().kubectl(['create', 'namespace', namespace]))
  })

  it('takes what the chart makes of any values', () => {
    const table = [
      {},
      everything,
      { flannel: { backend: 'wireguard' }, pskSecretRef: { name: 'wg' } },
      { flannel: { healthz: { port: 0 }, args: null, tolerations: null, resources: null, nodeSelector: null } },
      { global: null, updateStrategy: { type: 'OnDelete' }, udp: { enabled: true } },
    ]
    for (const values of table) {
      const objects = Object.values(render(values))
      assert.equal(cluster().dryRun(objects, namespace).length, objects.length)
    }
  })

  it('takes the PodMonitor where its definition is', () => {
    cluster().done(cluster().kubectl(['apply', '-f', '-'], JSON.stringify(podMonitorDefinition)))
    cluster().done(
      cluster().kubectl([
        'wait',
        '--for=condition=Established',
        '--timeout=30s',
        'crd/podmonitors.monitoring.coreos.com',
      ]),
    )
    const { PodMonitor } = render({ metrics: { podMonitor: { enabled: true } } })
    assert.equal(cluster().dryRun([PodMonitor], namespace).length, 1)
  })

  describe('Helm', () => {
    afterEach(() => {
      cluster().helm(['uninstall', 'flannel', ...at])
      cluster().kubectl(['delete', ...at, '--ignore-not-found', ...names])
    })

    it('installs, upgrades and uninstalls, and nothing is left', () => {
      cluster().done(cluster().helm(['install', 'flannel', chart, ...at]))
      for (const name of names) assert.ok(exists(name), name)
      const more = ['validatingadmissionpolicy/flannel-own-node', 'validatingadmissionpolicybinding/flannel-own-node']
      cluster().done(cluster().helm(['upgrade', 'flannel', chart, ...at], everything))
      for (const name of [...names, ...more]) assert.ok(exists(name), name)
      const [strategy] = [cluster().get('daemonset/kube-flannel-ds', ...at).spec.updateStrategy]
      assert.equal(strategy.rollingUpdate.maxUnavailable, '10%')
      // Without a word about values Helm keeps the last ones.
      cluster().done(cluster().helm(['upgrade', 'flannel', chart, '--reset-values', ...at]))
      for (const name of more) assert.ok(!exists(name), name)
      cluster().done(cluster().helm(['uninstall', 'flannel', ...at]))
      for (const name of names) assert.ok(!exists(name), name)
    })

    it('leaves all as it is where a value is refused', () => {
      cluster().done(cluster().helm(['install', 'flannel', chart, ...at]))
      const before = cluster().get('daemonset/kube-flannel-ds', ...at)
      assert.ok(!cluster().helm(['upgrade', 'flannel', chart, ...at], { flannel: { vni: 'x' } }).ok)
      assert.deepEqual(cluster().get('daemonset/kube-flannel-ds', ...at), before)
    })

    it('takes over what kubectl apply has made, and kubectl takes over again', () => {
      const objects = Object.values(render()).map((object) => JSON.stringify(object))
      const apply = () => cluster().done(cluster().kubectl(['apply', '-f', '-'], objects.join('\n---\n')))
      apply()
      const { uid } = cluster().get('daemonset/kube-flannel-ds', ...at).metadata
      const install = ['install', 'flannel', chart, ...at]
      assert.match(cluster().helm(install).stderr, /invalid ownership metadata/)
      cluster().done(cluster().helm([...install, '--take-ownership']))
      assert.equal(cluster().get('daemonset/kube-flannel-ds', ...at).metadata.uid, uid)
      apply()
      assert.equal(cluster().get('daemonset/kube-flannel-ds', ...at).metadata.uid, uid)
    })
  })

  describe('NOTES', () => {
    const other = 'enforced'
    const install = (values: object) =>
      cluster().done(
        cluster().helm(
          ['install', 'notes', chart, '--namespace', other, '--dry-run=server', '--take-ownership'],
          values,
        ),
      )
    const label = (level: string) =>
      cluster().done(
        cluster().kubectl(['label', '--overwrite', 'namespace', other, `pod-security.kubernetes.io/enforce=${level}`]),
      )

    before(() => {
      cluster().done(cluster().kubectl(['create', 'namespace', other]))
    })

    it('name what PodSecurity forbids, as PodSecurity does', () => {
      label('baseline')
      cluster().done(cluster().kubectl(['create', 'serviceaccount', 'flannel', '-n', other]))
      for (const values of [{}, everything]) {
        const { metadata, spec } = render(values)['DaemonSet'].spec.template
        const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, name: 'one', namespace: other }, spec }
        const { ok, stderr } = cluster().kubectl(['create', '--dry-run=server', '-f', '-'], JSON.stringify(pod))
        assert.ok(!ok)
        const notes = install(values)
        assert.match(notes, /Namespace enforced enforces "baseline": NO POD WILL START/)
        const netpol = /privileged \(container "kube-network-policies"/
        const reasons: readonly (readonly [theirs: RegExp, ours: RegExp])[] = [
          [/host namespaces \(hostNetwork=true\)/, /the network of the host/],
          [/hostPort .*8081/, /with port 8081 of it/],
          [/hostPath volumes .*/, /folders of the host: \/run\/flannel, .*\/opt\/cni\/bin/],
          [/non-default capabilities .*"NET_ADMIN", "NET_RAW"/, /capabilities NET_ADMIN and NET_RAW/],
          ...(values === everything ? ([[netpol, /privileged container, kube-network-policies/]] as const) : []),
        ]
        for (const [theirs, ours] of reasons) {
          assert.match(stderr, theirs)
          assert.match(notes, ours)
        }
        label('privileged')
        cluster().done(cluster().kubectl(['create', '--dry-run=server', '-f', '-'], JSON.stringify(pod)))
        assert.doesNotMatch(install(values), /NO POD WILL START/)
        label('baseline')
      }
    })

    it('name values without effect, and backends that this version does not have', () => {
      assert.doesNotMatch(install({}), /Without effect|WARNING/)
      const values = { flannel: { backend: 'host-gw', mtu: 1400, vni: 2 }, pskSecretRef: { name: 'a' } }
      assert.match(install(values), /Without effect with backend host-gw: flannel\.mtu, flannel\.vni, pskSecretRef\./)
      const key = `${'A'.repeat(43)}=`
      const notes = install({ flannel: { backend: 'wireguard', psk: key } })
      assert.match(notes, /WARNING: flanneld \S+ does not have the backend wireguard/)
      assert.match(notes, /flannel\.psk stands in the ConfigMap/)
    })
  })
})

/** As much of Prometheus Operator's as the API server needs to know the kind. */
const podMonitorDefinition = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: {
    name: 'podmonitors.monitoring.coreos.com',
    annotations: { 'api-approved.kubernetes.io': 'https://github.com/prometheus-operator/prometheus-operator' },
  },
  spec: {
    group: 'monitoring.coreos.com',
    names: { kind: 'PodMonitor', listKind: 'PodMonitorList', plural: 'podmonitors', singular: 'podmonitor' },
    scope: 'Namespaced',
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
}
