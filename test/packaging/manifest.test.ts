import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { manifests, root } from '../chart/helm.ts'

describe('kube-flannel.yml', () => {
  const text = readFileSync(join(root, 'kube-flannel.yml'), 'utf8')

  it('lets the daemon write into CNI folders of another user, and drops all that it has no use for', () => {
    const daemonSet = manifests(text).find(({ kind }) => kind === 'DaemonSet')
    const { capabilities, privileged } = daemonSet.spec.template.spec.containers[0].securityContext
    assert.deepEqual(capabilities, { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW', 'DAC_OVERRIDE'] })
    assert.equal(privileged, false)
  })

  it('is the kustomize base', () => {
    assert.equal(readFileSync(join(root, 'packaging/kustomize/base/kube-flannel.yml'), 'utf8'), text)
  })
})
