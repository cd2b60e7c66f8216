import assert from 'node:assert/strict'
import { annotationNames } from '../../subnet/kube/annotations.ts'
import { describeAnyLeaseStore } from '../conformance/any-lease-store.ts'
import { leaseWorld } from '../kube/lease-world.ts'
import { needs } from '../needs.ts'
import { until } from '../until.ts'
import { type Cluster, useCluster } from './cluster.ts'
import { chart, type Manifest, namespace, type Ran, render } from './helm.ts'

const prefix = 'flannel.alpha.coreos.com/'
const policyName = 'flannel-own-node'
const admissionPolicy = { enabled: true }
const nodeNames = ['n1', 'n2', 'n3']

describe('the admission policy', function () {
  needs(this, 'etcd', 'peer:kube-apiserver', 'peer:helm', 'peer:kubectl')
  const cluster = useCluster(this)
  const tokens = new Map<string, string>()
  let unbound = ''

  before(async function () {
    this.timeout(100_000)
    const install = ['install', 'flannel', chart, '--namespace', namespace, '--create-namespace']
    cluster().done(cluster().helm(install, { admissionPolicy }))
    for (const name of nodeNames) {
      cluster().done(cluster().kubectl(['apply', '-f', '-'], JSON.stringify(podOf(name))))
      tokens.set(name, await token(cluster(), podOf(name).metadata.name))
    }
    unbound = await token(cluster())
    await cluster().server.send('POST', '/api/v1/nodes', { metadata: { name: 'n2' } })
    await until(60_000, 'the policy is in force', async () => {
      const { ok } = patch(await cluster().as(unbound), 'n2', { metadata: { annotations: { other: 'x' } } })
      cluster().kubectl(['annotate', 'node', 'n2', 'other-'])
      assert.ok(!ok)
    })
  })

  describe('lets the daemon do what it does', () => {
    describeAnyLeaseStore('beside the policy', () =>
      leaseWorld(cluster().server, (n) => tokens.get(`n${n}`) ?? assert.fail(`no token of n${n}`)),
    )
  })

  describe('with every right that RBAC can give', () => {
    let own: Kubectl
    let without: Kubectl

    before(async () => {
      cluster().done(
        cluster().kubectl([
          ...['create', 'clusterrolebinding', 'thief', '--clusterrole=cluster-admin'],
          `--serviceaccount=${namespace}:flannel`,
        ]),
      )
      own = await cluster().as(tokens.get('n1') ?? '')
      without = await cluster().as(unbound)
    })
    beforeEach(async () => {
      await cluster().server.send('DELETE', '/api/v1/nodes')
      for (const name of ['n1', 'n2']) await cluster().server.send('POST', '/api/v1/nodes', node(name))
    })

    const allowed: readonly [what: string, patch: object][] = [
      ['each annotation of the daemon', annotations(written(prefix))],
      ['nothing', {}],
      ['the condition NetworkUnavailable', { status: { conditions: [condition('NetworkUnavailable', 'False')] } }],
      [
        'both at once',
        {
          ...annotations({ [`${prefix}public-ip`]: '192.168.0.9' }),
          status: { conditions: [condition('NetworkUnavailable', 'True')] },
        },
      ],
    ]
    for (const [what, change] of allowed) {
      it(`lets pass: ${what}`, () => {
        accepted(patch(own, 'n1', change))
        accepted(patch(own, 'n1', change))
      })
    }

    it('lets pass: an annotation of the daemon taken away', () => {
      accepted(patch(own, 'n1', annotations({ [`${prefix}accepts`]: '[]' })))
      accepted(patch(own, 'n1', annotations({ [`${prefix}accepts`]: null })))
      assert.ok(!(`${prefix}accepts` in cluster().get('node', 'n1').metadata.annotations))
    })

    const refused: readonly [what: string, patch: object, told: RegExp][] = [
      ['another annotation', annotations({ 'x/y': 'z' }), /not annotations of flanneld: x\/y/],
      ['another annotation changed', annotations({ other: 'changed' }), /not annotations of flanneld: other/],
      ['another annotation taken away', annotations({ other: null }), /not annotations of flanneld: other/],
      ['a word more behind the prefix', annotations({ [`${prefix}x`]: '1' }), /not annotations of flanneld: .*\/x/],
      [
        'what is the operator’s to write',
        annotations({ [`${prefix}public-ip-overwrite`]: '192.168.0.66' }),
        /public-ip-overwrite/,
      ],
      ['a label', { metadata: { labels: { a: 'b' } } }, /changes annotations and the condition/],
      ['a label taken away', { metadata: { labels: { role: null } } }, /changes annotations and the condition/],
      ['a finalizer', { metadata: { finalizers: ['a.test/b'] } }, /changes annotations and the condition/],
      [
        'an owner',
        { metadata: { ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'u' }] } },
        /changes annotations and the condition/,
      ],
      [
        'an address',
        { status: { addresses: [{ type: 'InternalIP', address: '192.168.0.66' }] } },
        /status flanneld changes the condition/,
      ],
      ['capacity', { status: { capacity: { cpu: '64' } } }, /status flanneld changes the condition/],
      ['what it never had', { status: { volumesInUse: ['a'] } }, /status flanneld changes the condition/],
      ['another condition', { status: { conditions: [condition('Ready', 'False')] } }, /conditions flanneld changes/],
      ['a new condition', { status: { conditions: [condition('Other', 'True')] } }, /conditions flanneld changes/],
    ]
    for (const [what, change, told] of refused) {
      it(`refuses: ${what}`, () => {
        denied(patch(own, 'n1', change), told)
        const { metadata, status } = cluster().get('node', 'n1')
        const { metadata: before, status: then } = node('n1')
        assert.deepEqual([metadata.annotations, metadata.labels], [before.annotations, before.labels])
        assert.deepEqual([status.addresses, status.capacity], [then.addresses, then.capacity])
      })
    }

    it('refuses: another node', () => {
      const told = /the token was given to a pod of Node n1, so it cannot change Node n2/
      denied(patch(own, 'n2', annotations({ [`${prefix}public-ip`]: '192.168.0.9' })), told)
      denied(patch(own, 'n2', { status: { conditions: [condition('NetworkUnavailable', 'True')] } }), told)
    })

    it('refuses: a token that no node was named for', () => {
      const change = annotations({ [`${prefix}public-ip`]: '192.168.0.9' })
      denied(patch(without, 'n1', change), /the token was given to a pod of Node \(none\)/)
    })

    it('refuses: all but a status', () => {
      const told = /flanneld changes the status of its Node, and nothing else/
      for (const change of [{ spec: { unschedulable: true } }, annotations({ [`${prefix}public-ip`]: '192.168.0.9' })])
        denied(own(['patch', 'node', 'n1', '--type=strategic', '-p', JSON.stringify(change)]), told)
      denied(own(['taint', 'node', 'n1', 'a=b:NoExecute']), told)
      denied(own(['delete', 'node', 'n1']), told)
      denied(own(['delete', 'node', '--all']), told)
      denied(
        own(['create', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n9' } })),
        told,
      )
      assert.deepEqual(
        cluster()
          .get('nodes')
          .items.map(({ metadata }: Manifest) => metadata.name),
        ['n1', 'n2'],
      )
    })

    it('leaves the spec as it is where a status is patched with one', () => {
      accepted(patch(own, 'n1', { spec: { unschedulable: true } }))
      assert.equal(cluster().get('node', 'n1').spec.unschedulable, undefined)
    })

    it('says nothing about others', () => {
      accepted(cluster().kubectl(['annotate', 'node', 'n2', 'x/y=z']))
      accepted(cluster().kubectl(['label', 'node', 'n2', 'a=b']))
    })
  })
})

describe('the admission policy’s annotations', function () {
  needs(this, 'peer:helm')

  const policyOf = (args: readonly string[]): string =>
    JSON.stringify(render({ admissionPolicy, flannel: { args } }, '-s', 'templates/admissionpolicy.yaml'))

  it('are the ones that the program writes', () => {
    const expression = policyOf([]).match(/\[\\"kube-subnet-manager[^\]]*\]/)?.[0] ?? ''
    const names: readonly string[] = JSON.parse(JSON.parse(`"${expression}"`))
    assert.deepEqual(names.map((name) => prefix + name).sort(), Object.keys(written(prefix)).sort())
  })

  it('have the prefix of --kube-annotation-prefix, as the daemon completes it', () => {
    const cases: readonly [args: readonly string[], prefix: string][] = [
      [[], prefix],
      [['--kube-annotation-prefix=a.test'], 'a.test/'],
      [['-kube-annotation-prefix', 'a.test/b'], 'a.test/b-'],
      [['--kube-annotation-prefix=a.test/b-', '--v=2'], 'a.test/b-'],
      [['--kube-annotation-prefix=a.test', '--kube-annotation-prefix=b.test'], 'b.test/'],
    ]
    for (const [args, expected] of cases) assert.ok(policyOf(args).includes(`\\"${expected}\\" + name`), expected)
  })
})

type Kubectl = (args: readonly string[], input?: string) => Ran

function patch(as: Kubectl, node: string, change: object): Ran {
  return as(['patch', 'node', node, '--subresource=status', '--type=strategic', '-p', JSON.stringify(change)])
}

function accepted({ ok, stderr }: Ran): void {
  assert.ok(ok, stderr)
}

function denied({ ok, stderr }: Ran, told: RegExp): void {
  assert.ok(!ok, 'it was let pass')
  assert.match(stderr, told)
  assert.ok(stderr.includes(policyName), stderr)
}

function annotations(values: Readonly<Record<string, string | null>>) {
  return { metadata: { annotations: values } }
}

/** All that `subnet/kube/own-node.ts` writes. */
function written(prefix: string): Readonly<Record<string, string>> {
  const { managed, backendType, nodeId, accepts, sends, families } = annotationNames(prefix)
  const ofFamilies = [families[4], families[6]].flatMap(({ data, publicIp, tunnelIp }) => [data, publicIp, tunnelIp])
  return Object.fromEntries([managed, backendType, nodeId, accepts, sends, ...ofFamilies].map((name) => [name, 'x']))
}

function condition(type: string, status: string): object {
  return { type, status, reason: 'Test', message: 'test' }
}

function node(name: string): Manifest {
  return {
    metadata: { name, annotations: { other: 'as it was' }, labels: { role: 'test' } },
    spec: { podCIDR: '10.5.1.0/24', podCIDRs: ['10.5.1.0/24'] },
    status: {
      addresses: [{ type: 'InternalIP', address: '192.168.0.1' }],
      capacity: { cpu: '2', memory: '8Gi' },
      conditions: [condition('MemoryPressure', 'False'), condition('Ready', 'True')],
    },
  }
}

function podOf(node: string): Manifest {
  const container = { name: 'c', image: 'localhost/none' }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `on-${node}`, namespace },
    spec: { serviceAccountName: 'flannel', nodeName: node, containers: [container] },
  }
}

/** As a kubelet asks for it, bound to a pod; unbound without one. */
async function token(cluster: Cluster, pod?: string): Promise<string> {
  const bound = pod === undefined ? [] : ['--bound-object-kind=Pod', `--bound-object-name=${pod}`]
  return cluster.done(cluster.kubectl(['create', 'token', 'flannel', '-n', namespace, ...bound])).trim()
}
