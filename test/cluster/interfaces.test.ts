import assert from 'node:assert/strict'
import type { Cluster } from '../../lab/cluster/cluster.ts'
import type { Pod } from '../../lab/cluster/pod.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { until } from '../until.ts'
import { manifestObjects, withContainer } from './manifest.ts'
import { statuses } from './status.ts'
import { reachEachOther, undisturbed } from './traffic.ts'
import { install, logsInFailure, newCluster, programs, startPods } from './world.ts'

const prefix = 'flannel.alpha.coreos.com/'
const hosts = ['n1', 'n2']

if (long) {
  describe('nodes with two interfaces, known to Kubernetes by the second', function () {
    needs(this, ...programs)
    this.timeout(300_000)
    let cluster: Cluster
    let pods: readonly [Pod, Pod]

    before(async () => {
      // As Vagrant makes them: the default route leads over eth0, and the nodes see each other over eth1.
      const segments = [
        { name: 'nat', subnet: '192.168.64.0/24', hosts },
        { name: 'lan', subnet: '192.168.65.0/24', hosts },
      ]
      cluster = await newCluster({ segments, nodeNic: 1 })
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, cluster)
    })

    after(async () => {
      await cluster?.close()
    })

    const withArgs = async (more: readonly string[]) =>
      withContainer(await manifestObjects(), ({ args, ...rest }) => ({ ...rest, args: [...args, ...more] }))
    const publicIps = async () =>
      (await cluster.list('/api/v1/nodes')).map(({ metadata }) => metadata.annotations[`${prefix}public-ip`])
    const uses = async (device: string, network: string) => {
      await until(20_000, `each uses ${device}`, async () => {
        for (const { external } of await statuses(cluster)) assert.equal(external?.interface, device)
        assert.deepEqual(await publicIps(), [`${network}.11`, `${network}.12`])
      })
      for (const node of cluster.nodes) {
        const [link] = JSON.parse((await node.exec(['ip', '-d', '-json', 'link', 'show', 'flannel.1'])).stdout)
        assert.equal(link.linkinfo.info_data.link, device)
      }
    }

    it('are reached over that of the default route where nothing is said', async () => {
      await install(cluster, await manifestObjects())
      await uses('eth0', '192.168.64')
      pods = (await startPods(cluster, [
        { name: 'a', node: 'n1' },
        { name: 'b', node: 'n2' },
      ])) as unknown as [Pod, Pod]
    })

    it('are reached over the one that Kubernetes knows, by --iface=$(HOST_IP)', async () => {
      await install(cluster, await withArgs(['--iface=$(HOST_IP)']))
      await uses('eth1', '192.168.65')
      await reachEachOther(cluster, pods)
    })

    it('are reached over the one that leads to an address, by --iface-can-reach', async () => {
      await install(cluster, await withArgs(['--iface-can-reach=192.168.64.1']))
      await uses('eth0', '192.168.64')
      await install(cluster, await withArgs(['--iface-can-reach=192.168.65.1']))
      await uses('eth1', '192.168.65')
      await reachEachOther(cluster, pods)
    })

    it('tell peers what public-ip-overwrite says: set, changed and removed, without a restart or a lost packet', async () => {
      const node = cluster.node('n1')
      await node.exec(['ip', 'address', 'add', '192.168.65.111/24', 'dev', 'eth1'])
      const overwrite = async (address: string | null) =>
        await cluster.api.send('PATCH', '/api/v1/nodes/n1', {
          metadata: { annotations: { [`${prefix}public-ip-overwrite`]: address } },
        })
      const reachedAt = async (address: string) =>
        await until(20_000, `n1 is reached at ${address}`, async () => {
          assert.equal((await publicIps())[0], address)
          const { stdout } = await cluster.node('n2').exec(['bridge', 'fdb', 'show', 'dev', 'flannel.1'])
          assert.deepEqual(
            [...stdout.matchAll(/ dst (\S+) self permanent/g)].map((match) => match[1]),
            [address],
          )
        })
      const started = async () => (await statuses(cluster)).map(({ startedAt }) => startedAt)
      const before = await started()
      await undisturbed(cluster, pods, async () => {
        await overwrite('192.168.65.111')
        await reachedAt('192.168.65.111')
        await overwrite('192.168.64.11')
        await reachedAt('192.168.64.11')
        await overwrite(null)
        await reachedAt('192.168.65.11')
      })
      assert.deepEqual(await started(), before)
    })

    it('public-ip-overwrite annotation propagates', async () => {
      // The check of flannel's suite: there before the daemon starts.
      await cluster.kubectl(['annotate', 'node', 'n1', `${prefix}public-ip-overwrite=172.18.0.2`])
      await cluster.kubectl(['-n', 'kube-flannel', 'delete', 'pod', '--all', '--wait'])
      await until(60_000, 'the annotation says so', async () => assert.equal((await publicIps())[0], '172.18.0.2'))
      await cluster.kubectl(['annotate', 'node', 'n1', `${prefix}public-ip-overwrite-`])
      await until(20_000, 'and ends with it', async () => assert.equal((await publicIps())[0], '192.168.65.11'))
    })
  })
}
