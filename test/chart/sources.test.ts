import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { needs } from '../needs.ts'
import { useCluster } from './cluster.ts'
import { chart, helm, kubectl, type Manifest, manifests, namespace, root } from './helm.ts'

describe('kube-flannel.yml, the chart and the kustomize base', function () {
  needs(this, 'etcd', 'peer:kube-apiserver', 'peer:helm', 'peer:kubectl')
  const cluster = useCluster(this)
  const at = ['--namespace', namespace]

  before(() => {
    cluster().done(cluster().kubectl(['create', 'namespace', namespace]))
  })

  // The API server fills in its defaults, so that only what means something else is different.
  const applied = (text: string) => {
    const objects = manifests(text).filter(({ kind }) => kind !== 'Namespace')
    return cluster().dryRun(objects, namespace).map(meaning).sort(byName)
  }
  const manifest = () => applied(readFileSync(join(root, 'kube-flannel.yml'), 'utf8'))
  const rendered = () => {
    const { ok, stdout, stderr } = helm(['template', 'flannel', chart, ...at, '--set', 'cni.managedBy=daemon'])
    assert.ok(ok, stderr)
    return applied(stdout)
  }
  const kustomized = (folder: string) => {
    const { ok, stdout, stderr } = kubectl(['kustomize', join(root, 'packaging/kustomize', folder)])
    assert.ok(ok, stderr)
    return stdout
  }

  it('are the same: the chart, where the daemon keeps the CNI configuration', () => {
    assert.deepEqual(rendered(), manifest())
  })

  it('the kustomize base is kube-flannel.yml', () => {
    const copy = readFileSync(join(root, 'packaging/kustomize/base/kube-flannel.yml'), 'utf8')
    assert.equal(
      copy,
      readFileSync(join(root, 'kube-flannel.yml'), 'utf8'),
      'cp kube-flannel.yml packaging/kustomize/base/',
    )
    assert.deepEqual(applied(kustomized('')), manifest())
    assert.equal(manifests(kustomized('')).filter(({ kind }) => kind === 'Namespace').length, 1)
  })

  it('the overlay for flannel’s own kustomize base differs by its label alone', () => {
    const text = kustomized('from-flannel-base')
    const [daemonSet] = manifests(text).filter(({ kind }) => kind === 'DaemonSet')
    assert.deepEqual(daemonSet.spec.selector.matchLabels, { app: 'flannel', 'k8s-app': 'flannel' })
    assert.deepEqual(daemonSet.spec.template.metadata.labels, daemonSet.metadata.labels)
    const less = applied(text).map((object) => {
      if (object.kind !== 'DaemonSet') return object
      const { selector, template } = object.spec
      delete selector.matchLabels['k8s-app']
      delete template.metadata.labels['k8s-app']
      return object
    })
    assert.deepEqual(less, manifest())
  })

  it('and the other base is refused where that one runs, as a selector cannot be changed', () => {
    const apply = (...args: readonly string[]) =>
      cluster().kubectl(['apply', '-k', join(root, 'packaging/kustomize', args[0] ?? '')])
    cluster().done(apply('from-flannel-base'))
    cluster().done(apply('from-flannel-base'))
    assert.match(apply().stderr, /spec\.selector.*field is immutable/)
  })
})

/** The object as it means something: texts of JSON as JSON, command and arguments in one list. */
function meaning(object: Manifest): Manifest {
  const { kind, metadata, data, spec } = object
  const { name, labels } = metadata
  if (kind === 'ConfigMap') {
    return {
      kind,
      name,
      labels,
      data: Object.entries(data)
        .map(([key, text]) => [key, JSON.parse(text as string)])
        .sort(),
    }
  }
  for (const container of spec?.template?.spec.containers ?? []) {
    container.command = [...container.command, ...(container.args ?? [])]
    delete container.args
  }
  const order = (list: Manifest[] | undefined) => list?.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
  for (const container of spec?.template?.spec.containers ?? []) order(container.volumeMounts)
  order(spec?.template?.spec.volumes)
  return { kind, name, labels, spec, rules: object.rules, roleRef: object.roleRef, subjects: object.subjects }
}

function byName(one: Manifest, other: Manifest): number {
  return `${one.kind}/${one.name}` < `${other.kind}/${other.name}` ? -1 : 1
}
