import assert from 'node:assert/strict'
import type { Json } from '../../lab/cluster/api.ts'
import { type Cluster, dualStackSegment } from '../../lab/cluster/cluster.ts'
import type { Pod } from '../../lab/cluster/pod.ts'
import { type Cidr, familyOf, parseCidr } from '../../lib/address.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { until } from '../until.ts'
import { hasIptablesRules, hasNftChains, type Range } from './flannel-rules.ts'
import { manifestObjects, withContainer, withNetConf } from './manifest.ts'
import { statuses } from './status.ts'
import { reachEachOther, stream } from './traffic.ts'
import {
  ask,
  deletePods,
  install,
  logsInFailure,
  newCluster,
  nodesReady,
  programs,
  reinstall,
  rolledOut,
  sharedCluster,
  startPods,
} from './world.ts'

/** The checks of flannel's own end-to-end suite (its folders e2e and functional), by its names, for what this kernel has. */

interface Spec {
  readonly name: string
  readonly backend: string
  readonly nft?: boolean
}

const vxlan: Spec = { name: 'vxlan', backend: 'vxlan' }
const specs: readonly Spec[] = [
  vxlan,
  { name: 'vxlan-nftables', backend: 'vxlan', nft: true },
  { name: 'host-gw', backend: 'host-gw' },
  { name: 'udp', backend: 'udp' },
]
const networks = { 4: '10.244.0.0/16', 6: 'fd00:244::/48' } as Readonly<Record<4 | 6, Cidr>>

async function objectsFor({ backend, nft = false }: Spec, more = {}): Promise<readonly Json[]> {
  const objects = await withNetConf({ Backend: { Type: backend }, EnableNFTables: nft, ...more })
  // Its engine in the daemon, where the kernel has no FOU, needs /dev/net/tun.
  const privileged = (container: Json) => ({ ...container, securityContext: { privileged: true } })
  return backend === 'udp' ? withContainer(objects, privileged) : objects
}

/** On nodes on which no daemon runs: all objects are created, rolled out, and have written what pods need. */
async function prepare(cluster: Cluster, objects: readonly Json[]): Promise<void> {
  const said = await cluster.apply(...objects)
  for (const line of said.trim().split('\n')) assert.match(line, / created$/)
  await rolledOut(cluster)
  for (const node of cluster.nodes) assert.match((await node.read('/run/flannel/subnet.env')) ?? '', /^FLANNEL_MTU=/m)
  await nodesReady(cluster)
}

async function remove(cluster: Cluster, objects: readonly Json[]): Promise<void> {
  const input = objects.map((object) => JSON.stringify(object)).join('\n---\n')
  await cluster.kubectl(['delete', '-f', '-', '--wait', '--timeout=120s'], { input, timeout: 125_000 })
}

async function twoPods(cluster: Cluster): Promise<readonly [Pod, Pod]> {
  return (await startPods(cluster, [
    { name: 'multitool1', node: 'n1' },
    { name: 'multitool2', node: 'n2' },
  ])) as unknown as [Pod, Pod]
}

async function hasRules(cluster: Cluster, { nft = false }: { nft?: boolean }): Promise<void> {
  for (const { metadata, spec } of await cluster.list('/api/v1/nodes')) {
    for (const text of spec.podCIDRs) {
      const own = parseCidr(text) as Cidr
      const range: Range = { own, network: networks[familyOf(own)] }
      await (nft ? hasNftChains : hasIptablesRules)(cluster.node(metadata.name), range)
    }
  }
}

// What of it is cheap, npm test has elsewhere: the rules, pods that reach each other and a Service, rolling restarts.
if (long) {
  describe("flannel's own checks", function () {
    needs(this, ...programs)
    this.timeout(300_000)
    let cluster: Cluster

    before(async () => {
      cluster = await sharedCluster()
      await cluster.kubectl(['delete', 'namespace', 'kube-flannel', '--ignore-not-found', '--wait', '--timeout=60s'])
      await cluster.kubectl(['delete', 'clusterrole,clusterrolebinding', 'flannel', '--ignore-not-found'])
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, cluster)
    })

    after(async () => {
      if (cluster === undefined) return
      await deletePods(cluster)
      await install(cluster, await manifestObjects())
    })

    for (const spec of specs) {
      describe(`flannel backends ${spec.name}`, () => {
        let objects: readonly Json[]
        let pods: readonly [Pod, Pod]

        it('provides pod-to-pod connectivity', async () => {
          objects = await objectsFor(spec)
          await prepare(cluster, objects)
          pods = await twoPods(cluster)
          for (const [from, to] of [pods, pods.toReversed() as [Pod, Pod]]) {
            const { sent, received } = await from.ping(to.address, { count: 5 })
            assert.equal(received, sent)
          }
          await hasRules(cluster, spec)
        })

        it('passes iperf3 throughput test', async () => await stream(cluster, pods))

        if (spec === vxlan) resilience(() => [cluster, pods])

        if (spec.backend === 'udp') {
          it('is left for vxlan, in pods that cannot have it any more', async () => {
            // Their tun is there and carries nothing, on both nodes at once.
            await remove(cluster, objects)
            objects = await objectsFor(vxlan)
            await prepare(cluster, objects)
            await until(60_000, 'the change is over', async () => {
              for (const { backendChange, notReady } of await statuses(cluster))
                assert.deepEqual([backendChange, notReady], [null, []])
            })
            await reachEachOther(cluster, pods)
          })
        }

        it('is deleted within two minutes', async () => {
          await deletePods(cluster)
          await remove(cluster, objects)
        })
      })
    }
  })

  describe('flannel dual-stack backends', function () {
    needs(this, ...programs)
    this.timeout(300_000)
    let cluster: Cluster

    before(async () => {
      const podRange = `${networks[4]},${networks[6]}`
      const serviceRange = '10.96.0.0/16,fd00:96::/112'
      cluster = await newCluster({ segments: dualStackSegment(2), podRange, serviceRange })
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, cluster)
    })

    after(async () => {
      await cluster?.close()
    })

    for (const spec of specs.filter(({ backend }) => backend !== 'udp')) {
      it(`${spec.name} provides dual-stack pod-to-pod connectivity`, async () => {
        await reinstall(cluster, await objectsFor(spec, { EnableIPv6: true, IPv6Network: networks[6] }))
        await reachEachOther(cluster, await twoPods(cluster))
        await hasRules(cluster, spec)
        await deletePods(cluster)
      })
    }
  })
}

function resilience(world: () => readonly [Cluster, readonly [Pod, Pod]]): void {
  it('resolves and reaches a ClusterIP service across nodes', async () => {
    const [cluster, [client]] = world()
    const ports = [{ port: 80 }]
    const metadata = { name: 'dns-web', labels: { app: 'dns-web' } }
    const spec = { selector: { app: 'multitool2' }, ports }
    await cluster.apply({ apiVersion: 'v1', kind: 'Service', metadata, spec })
    const { spec: made } = await cluster.api.get('/api/v1/namespaces/default/services/dns-web')
    await until(10_000, 'it answers by its ClusterIP', async () =>
      assert.deepEqual(await ask(client, made.clusterIP), { client: client.address, pod: 'multitool2' }),
    )
  })

  it('recovers pod connectivity after a pod is deleted and recreated', async () => {
    const [cluster, [, stays]] = world()
    await cluster.kubectl(['delete', 'pod', 'multitool1', '--wait', '--timeout=60s'])
    const [again] = (await startPods(cluster, [{ name: 'multitool1', node: 'n1' }])) as [Pod]
    await reachEachOther(cluster, [again, stays])
  })

  it('preserves connectivity and subnet leases across a flannel DaemonSet restart', async () => {
    const [cluster] = world()
    const subnets = async () =>
      await Promise.all(
        cluster.nodes.map(
          async (node) => /^FLANNEL_SUBNET=.*/m.exec((await node.read('/run/flannel/subnet.env')) ?? '')?.[0],
        ),
      )
    const before = await subnets()
    assert.ok(before.every((line) => line !== undefined))
    await cluster.kubectl(['-n', 'kube-flannel', 'rollout', 'restart', 'daemonset/kube-flannel-ds'])
    await rolledOut(cluster)
    assert.deepEqual(await subnets(), before)
    await reachEachOther(cluster, (await twoPods(cluster)) as [Pod, Pod])
  })
}
