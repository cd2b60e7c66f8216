import assert from 'node:assert/strict'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { CniHost } from './cni-world.ts'
import { Kubernetes } from './kubernetes-world.ts'
import { logsInFailure, oneSegment, ready, status, until, vxlan } from './world.ts'

const nodes = '/api/v1/nodes'

describe('CNI with leases from the Kubernetes API', function () {
  needs(this, 'netns', 'etcd', 'cni', 'peer:kube-apiserver')
  this.timeout(120_000)
  let lab: Lab
  let kubernetes: Kubernetes
  let cni: CniHost

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), etcd: false })
    kubernetes = await Kubernetes.start(lab)
    cni = await CniHost.open(lab.host('h1'))
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await cni?.close()
    await lab?.close()
  })

  const node = (podCIDR: string) => ({ metadata: { name: 'h1' }, spec: { podCIDR, podCIDRs: [podCIDR] } })
  const range = () => cni.conflist().plugins[0].ipam.ranges.flat()[0].subnet

  it('follows a Node that is made again with another podCIDR, names its old pods, and repairs the bridge after them', async () => {
    await kubernetes.send(['POST', nodes, node('10.5.1.0/24')])
    const args = await kubernetes.daemonArgs(vxlan)
    await cni.start({ args: [...cni.args, ...args], env: { NODE_NAME: 'h1' } })
    await ready(cni.host)
    assert.equal(range(), '10.5.1.0/24')
    const { addresses } = await cni.add('old')
    assert.match(addresses[0] ?? '', /^10\.5\.1\./)

    await kubernetes.send(['DELETE', `${nodes}/h1`, {}], ['POST', nodes, node('10.5.2.0/24')])
    await until(20_000, 'the conflist follows', async () => assert.equal(range(), '10.5.2.0/24'))
    await until(30_000, 'the old pod is named', async () => {
      const found = (await status(cni.host)).conditions.find(
        ({ code }: { code: string }) => code === 'cni-bridge-address',
      )
      assert.match(found?.text ?? '', new RegExp(`cni0 has 10\\.5\\.1\\.1/24.*${addresses[0]} by old`))
    })
    await assert.rejects(cni.add('new'), /already has an IP address different from/)
    await cni.forget('new')
    await cni.del('old')
    await until(30_000, 'the bridge is repaired', async () =>
      assert.doesNotMatch(await cni.inside('ip -4 -o address show dev cni0'), /10\.5\.1\.1/),
    )
    assert.match((await cni.add('next')).addresses[0] ?? '', /^10\.5\.2\./)
    await cni.del('next')
  })
})
