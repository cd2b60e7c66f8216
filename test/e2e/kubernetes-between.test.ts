import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { bareNode, flannelNode } from '../subnet/kube/api-simulator.ts'
import { ApiGate } from './api-gate.ts'
import { Kubernetes } from './kubernetes-world.ts'
import { assertSame, logsInFailure, networkOf, oneSegment, ready, startDaemon, status, until, vxlan } from './world.ts'

const nodes = '/api/v1/nodes'
/** More than a page of the list. */
const STRANGERS = 210

describe('Nodes that come and go while the Kubernetes API is read', function () {
  needs(this, 'netns', 'etcd', 'peer:kube-apiserver')
  this.timeout(120_000)
  let lab: Lab
  let host: Host
  let kubernetes: Kubernetes
  let gate: ApiGate
  let args: readonly string[]

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), etcd: false })
    host = lab.host('h1')
    kubernetes = await Kubernetes.start(lab)
    gate = await ApiGate.start(lab, kubernetes)
    args = [...(await kubernetes.daemonArgs(vxlan)), `--kube-api-url=${gate.url}`]
    // In the order of their names: the list has the flannel nodes n1, n2, ... before its second page, and n99 in it.
    const strangers = Array.from({ length: STRANGERS }, (_unused, n) => ({ metadata: { name: `n50-${n}` } }))
    const own = { ...bareNode(1), metadata: { name: 'h1' } }
    await kubernetes.send(...[own, flannelNode(10), flannelNode(99), ...strangers].map(post))
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  const post = (node: object) => ['POST', nodes, node] as const
  const remove = (n: number) => ['DELETE', `${nodes}/n${n}`, {}] as const
  /** What h1 has routes to, by the third number of 10.5.N.0/24. */
  const routed = async () => {
    const lines = (await host.ip('-4', 'route', 'show')).split('\n')
    const found = lines.map((line) => /^10\.5\.(\d+)\.0\/24 .*\bflannel\.1\b/.exec(line)?.[1]).filter(Boolean)
    return found.map(Number).sort((a, b) => a - b)
  }
  const isRouted = (...wanted: readonly number[]) =>
    until(10_000, `${wanted} are routed`, async () => {
      assert.deepEqual(await routed(), wanted)
      assert.equal((await status(host)).peers.length, wanted.length)
    })

  const networkIs = (wanted: 'True' | 'False', ms: number) =>
    until(ms, `NetworkUnavailable is ${wanted}`, async () => {
      const { conditions = [] } = (await kubernetes.node('h1')).status
      const found = conditions.find(({ type }: { type: string }) => type === 'NetworkUnavailable')
      assert.equal(found?.status, wanted)
    })

  it('keep no new node from its subnet, which is told while they are listed: it is ready when they are routed, and says so if that takes long', async function () {
    this.timeout(180_000)
    await gate.hold('continue=')
    await startDaemon(host, { args, env: { NODE_NAME: 'h1' } })
    await gate.holds(/continue=/)
    const { families, mtu } = await host.subnetEnv()
    assert.deepEqual([families.map(({ subnet }) => subnet), mtu], [['10.5.1.0/24'], 1450])
    const { metadata } = await kubernetes.node('h1')
    assert.equal(metadata.annotations['flannel.alpha.coreos.com/public-ip'], host.address)
    await until(5_000, 'its own device is there, and it is not ready', async () => {
      assert.match(await host.ip('addr', 'show', 'dev', 'flannel.1'), /inet 10\.5\.1\.0\/32/)
      assert.match((await status(host)).notReady.join(), /the leases of the other nodes are not known yet/)
    })
    assert.deepEqual(await routed(), [])
    await networkIs('True', 90_000)
    await gate.hold('')
    await isRouted(10, 99)
    await ready(host)
    await networkIs('False', 10_000)
    assert.equal((await host.subnetEnv()).mtu, 1450)
    await host.daemon?.stop()
  })

  it('leave all in place where a node is restarted: what carries packets is changed with all of them in view', async () => {
    const before = await networkOf(host)
    await gate.hold('continue=')
    await startDaemon(host, { args, env: { NODE_NAME: 'h1' } })
    await gate.holds(/continue=/)
    assertSame(await networkOf(host), before)
    await gate.hold('')
    await ready(host)
    assertSame(await networkOf(host), before)
    await host.daemon?.stop()
    await host.ip('link', 'del', 'flannel.1')
    await host.exec(['rm', host.paths.subnetFile])
  })

  it('are all routed, and none that has gone: between the pages of the list, and between list and watch', async () => {
    await gate.hold('continue=')
    await startDaemon(host, { args, env: { NODE_NAME: 'h1' } })
    await gate.holds(/continue=/)
    await kubernetes.send(...[11, 12, 13, 14, 15].map((n) => post(flannelNode(n))), remove(10))
    await gate.hold('watch=')
    await gate.holds(/watch=/)
    await kubernetes.send(...[16, 17, 18, 19, 20].map((n) => post(flannelNode(n))), remove(99), remove(11))
    // Of the time of the list's first page, so that the watch can tell of all that came after it.
    await isRouted(10, 99)
    await until(5_000, 'it is ready: nobody could know of the others yet', async () =>
      assert.deepEqual((await status(host)).notReady, []),
    )
    await gate.hold('')
    await isRouted(12, 13, 14, 15, 16, 17, 18, 19, 20)
  })

  it('are all routed where the connection broke, and came between two watches', async () => {
    await gate.hold('watch=')
    await lab.controlPlane.exec(['ss', '-K', 'sport', '=', ':8001'])
    await gate.holds(/watch=/)
    await kubernetes.send(...[21, 22, 23].map((n) => post(flannelNode(n))), remove(12))
    await gate.hold('')
    await isRouted(13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)
  })

  it('are followed in what they say: a podCIDR that comes late, another one, another address', async () => {
    const others = [13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]
    await kubernetes.send(post({ ...flannelNode(30), spec: {} }), post(flannelNode(31)))
    await isRouted(...others, 31)
    await kubernetes.send(['PATCH', `${nodes}/n30`, { spec: { podCIDR: '10.5.30.0/24', podCIDRs: ['10.5.30.0/24'] } }])
    await isRouted(...others, 30, 31)
    const moved = { ...flannelNode(31), spec: { podCIDR: '10.5.32.0/24', podCIDRs: ['10.5.32.0/24'] } }
    await kubernetes.send(remove(31), post(moved))
    await isRouted(...others, 30, 32)
    const annotations = { 'flannel.alpha.coreos.com/public-ip': '192.168.64.77' }
    await kubernetes.send(['PATCH', `${nodes}/n30/status`, { metadata: { annotations } }])
    await until(5_000, 'the FDB has the new address', async () => {
      const { stdout } = await host.exec(['bridge', 'fdb', 'show', 'dev', 'flannel.1'])
      assert.match(stdout, / dst 192\.168\.64\.77 /)
      assert.doesNotMatch(stdout, / dst 192\.168\.64\.30 /)
    })
  })
})
