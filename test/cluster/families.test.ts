import assert from 'node:assert/strict'
import { type Cluster, dualStackSegment } from '../../lab/cluster/cluster.ts'
import type { Pod } from '../../lab/cluster/pod.ts'
import { type Cidr, familyOf } from '../../lib/address.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { until } from '../until.ts'
import { withNetConf } from './manifest.ts'
import { reachEachOther } from './traffic.ts'
import { answering, ask, deletePods, install, logsInFailure, newCluster, programs, startPods } from './world.ts'

const network4 = '10.244.0.0/16'
const network6 = 'fd00:244::/48'
/** The router of the nodes' segment: outside of the cluster. */
const outside = { 4: '192.168.64.1', 6: 'fd00:64::1' }

interface Case {
  readonly what: string
  readonly podRange: string
  readonly netConf: object
}

// With both families IPv4 first is what flannel's dual-stack checks have.
const cases: readonly Case[] = [
  {
    what: 'IPv6 first',
    podRange: `${network6},${network4}`,
    netConf: { EnableIPv6: true, IPv6Network: network6 },
  },
  {
    what: 'IPv6 alone',
    podRange: network6,
    netConf: { EnableIPv4: false, EnableIPv6: true, IPv6Network: network6, Network: undefined },
  },
]

if (long) {
  for (const { what, podRange, netConf } of cases) {
    describe(`podCIDRs of ${what}`, function () {
      needs(this, ...programs)
      this.timeout(240_000)
      let cluster: Cluster
      let pods: readonly [Pod, Pod]
      const families = podRange.split(',').map((network) => familyOf(network as Cidr))

      before(async () => {
        const serviceRange = '10.96.0.0/16,fd00:96::/112'
        cluster = await newCluster({ segments: dualStackSegment(2), podRange, serviceRange })
        await install(cluster, await withNetConf(netConf))
      })

      afterEach(async function () {
        await logsInFailure(this.currentTest?.err, cluster)
      })

      after(async () => {
        await cluster?.close()
      })

      it('are in subnet.env, and pods get an address of each in their order', async () => {
        pods = (await startPods(cluster, [
          { name: 'a', node: 'n1' },
          { name: 'b', node: 'n2' },
        ])) as unknown as [Pod, Pod]
        const { spec } = await cluster.api.get('/api/v1/nodes/n1')
        assert.deepEqual(
          spec.podCIDRs.map((cidr: Cidr) => familyOf(cidr)),
          families,
        )
        const text = (await cluster.node('n1').read('/run/flannel/subnet.env')) ?? ''
        assert.deepEqual(
          [...text.matchAll(/^FLANNEL_(IPV6_)?SUBNET=(.*)$/gm)].map((match) => match[1] ?? ''),
          [...families].sort().map((family) => (family === 4 ? '' : 'IPV6_')),
        )
        // Kubernetes puts the address of the node's first family first, whatever the order of the podCIDRs.
        for (const { addresses } of pods) {
          assert.deepEqual(addresses.map((address) => familyOf(address)).sort(), [...families].sort())
        }
      })

      it('let pods ping each other and stream both ways', async () => await reachEachOther(cluster, pods))

      it('reach the world outside as their node', async () => {
        const server = await answering(cluster.lab.router, cluster.lab.folder, 9000)
        try {
          for (const family of families) {
            const node = cluster.node('n1').addresses.find((address) => familyOf(address as Cidr) === family)
            await until(10_000, 'the outside answers', async () =>
              assert.deepEqual(await ask(pods[0], outside[family], 9000), { client: node, pod: 'outside' }),
            )
          }
        } finally {
          await server.stop()
        }
      })

      it('reach a Service of each family', async () => {
        const spec = { selector: { app: 'b' }, ports: [{ port: 80 }], ipFamilyPolicy: 'PreferDualStack' }
        for (const family of families) {
          const name = `of-ipv${family}`
          const own = { ...spec, ipFamilyPolicy: 'SingleStack', ipFamilies: [`IPv${family}`] }
          const metadata = { name, labels: { app: name } }
          await cluster.apply({ apiVersion: 'v1', kind: 'Service', metadata, spec: own })
          const { spec: made } = await cluster.api.get(`/api/v1/namespaces/default/services/${name}`)
          await until(20_000, `${made.clusterIP} answers`, async () =>
            assert.equal((await ask(pods[0], made.clusterIP))?.pod, 'b'),
          )
        }
        await deletePods(cluster)
      })
    })
  }
}
