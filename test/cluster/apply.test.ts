import assert from 'node:assert/strict'
import type { Cluster } from '../../lab/cluster/cluster.ts'
import type { Pod } from '../../lab/cluster/pod.ts'
import type { Cidr } from '../../lib/address.ts'
import { needs } from '../needs.ts'
import { until } from '../until.ts'
import { hasIptablesRules } from './flannel-rules.ts'
import { manifestObjects } from './manifest.ts'
import { stream } from './traffic.ts'
import {
  answering,
  ask,
  dropPods,
  install,
  logsInFailure,
  podObject,
  programs,
  sharedCluster,
  startPods,
} from './world.ts'

describe('kubectl apply -f kube-flannel.yml', function () {
  needs(this, ...programs)
  this.timeout(240_000)
  let cluster: Cluster
  let [a, b]: Pod[] = []

  before(async () => {
    cluster = await sharedCluster()
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, cluster)
  })

  after(async () => {
    if (cluster !== undefined) await dropPods(cluster)
  })

  it('makes all nodes Ready', async () => {
    await install(cluster, await manifestObjects())
  })

  it('runs without privileges and with nothing to write but its folders', async () => {
    for (const pod of await cluster.list('/api/v1/namespaces/kube-flannel/pods')) {
      const [container] = pod.spec.containers
      const capabilities = { add: ['NET_ADMIN', 'NET_RAW', 'DAC_OVERRIDE'], drop: ['ALL'] }
      assert.deepEqual(container.securityContext.capabilities, capabilities)
      assert.equal(container.securityContext.readOnlyRootFilesystem, true)
      const refused = await cluster.kubectl(
        [
          '-n',
          'kube-flannel',
          'exec',
          pod.metadata.name,
          '-c',
          'kube-flannel',
          '--',
          'node',
          '-e',
          'fs.writeFileSync("/x", "")',
        ],
        { anyCode: true },
      )
      assert.match(refused.stderr, /EROFS/)
    }
  })

  it('lets pods of two nodes ping each other, also at full MTU', async () => {
    ;[a, b] = (await startPods(cluster, [
      { name: 'a', node: 'n1' },
      { name: 'b', node: 'n2' },
    ])) as [Pod, Pod]
    const mtu = Number(/FLANNEL_MTU=(\d+)/.exec((await cluster.node('n1').read('/run/flannel/subnet.env')) ?? '')?.[1])
    assert.equal(mtu, 1450)
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      await from.exec(['ping', '-c', '3', '-i', '0.2', '-W', '2', to.address])
      await from.exec(['ping', '-c', '1', '-W', '2', '-M', 'do', '-s', String(mtu - 28), to.address])
      const tooLong = await from.exec(['ping', '-c', '1', '-W', '1', '-M', 'do', '-s', String(mtu - 27), to.address], {
        anyCode: true,
      })
      assert.match(tooLong.stderr + tooLong.stdout, /message too long/i)
    }
  })

  it("has flannel's rules, as its own suite expects them", async () => {
    for (const { metadata, spec } of await cluster.list('/api/v1/nodes')) {
      await hasIptablesRules(cluster.node(metadata.name), { own: spec.podCIDR, network: '10.244.0.0/16' as Cidr })
    }
  })

  it('carries TCP both ways, and no address is changed on the way', async () => {
    await stream(cluster, [a as Pod, b as Pod])
    assert.deepEqual(await ask(a as Pod, (b as Pod).address), { client: a?.address, pod: 'b' })
    assert.deepEqual(await ask(b as Pod, (a as Pod).address), { client: b?.address, pod: 'a' })
  })

  it('lets pods and nodes reach pods, and pods the world outside as their node', async () => {
    assert.equal((await ask(cluster.node('n1'), (b as Pod).address))?.pod, 'b')
    const server = await answering(cluster.lab.controlPlane, cluster.lab.folder, 9000)
    try {
      await until(10_000, 'the outside answers', async () =>
        assert.deepEqual(await ask(a as Pod, '192.0.2.10', 9000), {
          client: cluster.node('n1').address,
          pod: 'outside',
        }),
      )
    } finally {
      await server.stop()
    }
  })

  it('leaves nothing of a pod that is deleted', async () => {
    const node = cluster.node('n1')
    const state = async () => ({
      ports: (await node.exec(['ip', '-br', 'link', 'show', 'master', 'cni0'])).stdout.split('\n').length,
      addresses: (await node.exec(['sh', '-c', 'ls /var/lib/cni/networks/cbr0'])).stdout,
      namespaces: (await node.exec(['ls', '/run/netns'])).stdout,
      nat: (await node.exec(['iptables-save', '-t', 'nat'])).stdout.match(/CNI-\w+/g)?.length ?? 0,
    })
    const before = await state()
    await startPods(cluster, [{ name: 'gone', node: 'n1', hostPort: 8099 }])
    assert.notDeepEqual(await state(), before)
    const { uid } = await cluster.pod('gone')
    await cluster.kubectl(['delete', 'pod', 'gone', '--wait', '--timeout=60s'])
    const without = (now: Awaited<ReturnType<typeof state>>) => ({ ...now, addresses: addressesOf(now), nat: 0 })
    await until(20_000, 'all of it is gone', async () => {
      assert.deepEqual(without(await state()), without(before))
      await assert.rejects(node.processOfPod(uid), /no process/)
    })
  })

  it('takes the same objects again without a change', async () => {
    const said = await cluster.apply(...(await manifestObjects()), podObject({ name: 'a', node: 'n1' }))
    assert.ok(
      said
        .trim()
        .split('\n')
        .every((line) => line.endsWith(' unchanged')),
      said,
    )
  })
})

/** host-local also notes the last address that it gave. */
function addressesOf({ addresses }: { addresses: string }): readonly string[] {
  return addresses.split('\n').filter((name) => /^\d/.test(name))
}
