import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import type { Cluster } from '../../lab/cluster/cluster.ts'
import type { ClusterNode } from '../../lab/cluster/node.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { until } from '../until.ts'
import { viaFlannelsPlugin } from './flannel-manifest.ts'
import { manifestObjects } from './manifest.ts'
import { deletePods, install, logsInFailure, programs, sharedCluster, startPods } from './world.ts'

const folder = join(import.meta.dirname, '../../packaging/kubernetes')
const prefix = 'flannel.alpha.coreos.com/'

describe('an uninstall, as Documentation/kubernetes-cluster.md has it', function () {
  needs(this, ...programs)
  this.timeout(240_000)
  let cluster: Cluster

  before(async () => {
    cluster = await sharedCluster()
    await install(cluster, await manifestObjects())
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, cluster)
  })

  const all = async (node: ClusterNode, argv: readonly string[]) => (await node.exec(argv, { anyCode: true })).stdout
  /** Whatever of the network of pods the host has. */
  const traces = async (node: ClusterNode) => {
    const kernel = await all(node, [
      'sh',
      '-c',
      'ip link; ip route show table all; ip neigh; ip nexthop; nft list ruleset; iptables-save; ip6tables-save',
    ])
    const folders = ['/etc/cni/net.d', '/opt/cni/bin', '/run/flannel']
    const files = await all(node, ['find', ...folders, '-type', 'f'])
    const state = await all(node, ['find', '/var/lib/flannel', '/var/lib/cni', '-mindepth', '1', '-type', 'f'])
    const ours = /flannel|cni0|10\.244\.|proto 102/i
    // Chains of the plugin portmap stay when its last hostPort goes, and are its own.
    const ofKernel = kernel.split('\n').filter((line) => ours.test(line) && !/KUBE-|kube-proxy/.test(line))
    return [...ofKernel, ...`${files}\n${state}`.split('\n').filter((line) => line !== '')]
  }

  /** What happens where container runtimes look for configurations: a file that comes is `rename` and `change`, one that goes `rename`. */
  const watchConfigurations = async (node: ClusterNode) => {
    const log = join(node.host.folder, 'net.d.log')
    const mark = async (name: string) =>
      await node.exec(['sh', '-c', `cd /etc/cni/net.d && : >${name}.mark && rm ${name}.mark`])
    const script =
      "fs.watch('/etc/cni/net.d', (event, name) => name === 'end.mark' ? process.exit() : console.log(event, name))"
    const watch = await node.start([process.execPath, '-e', script], { log })
    const seen = async () => (await readFile(log, 'utf8')).split('\n').filter((line) => line !== '')
    const former = await seen()
    await until(10_000, 'it is watched', async () => {
      await mark('begin')
      assert.ok((await seen()).length > former.length)
    })
    return async () => {
      await mark('end')
      await watch.waitExit()
      return (await seen()).slice(former.length).filter((line) => !line.endsWith(' begin.mark'))
    }
  }

  /** As after a crash: on record, and deleted by nobody. Its bridge goes in the second step of the uninstall. */
  const leaveRecord = async () => {
    const record = '/var/lib/cni/networks/cbr0/10.244.1.200'
    await cluster.node('n1').exec(['sh', '-c', `printf 'gone\\neth0' > ${record}`])
  }

  const uninstall = async () => {
    await cluster.kubectl(['-n', 'kube-flannel', 'delete', 'daemonset', 'kube-flannel-ds', '--wait', '--timeout=60s'])
    await until(60_000, 'its pods are gone', async () => {
      assert.deepEqual(await cluster.list('/api/v1/namespaces/kube-flannel/pods'), [])
    })
    const happened = await Promise.all(cluster.nodes.map(watchConfigurations))
    await cluster.apply(await readFile(join(folder, 'cleanup.yml'), 'utf8'))
    const cleanup = 'daemonset/kube-flannel-cleanup'
    await cluster.kubectl(['-n', 'kube-flannel', 'rollout', 'status', cleanup, '--timeout=120s'], { timeout: 130_000 })
    await cluster.kubectl(['-n', 'kube-flannel', 'delete', cleanup, '--wait', '--timeout=60s'])
    // Never one that kubelet would start pods by.
    for (const ended of happened) assert.deepEqual(await ended(), ['rename 10-flannel.conflist'])
  }

  it('is refused by a daemon that still runs', async () => {
    await cluster.apply(await readFile(join(folder, 'cleanup.yml'), 'utf8'))
    try {
      await until(60_000, 'it says why', async () => {
        const pods = await cluster.list('/api/v1/namespaces/kube-flannel/pods?labelSelector=app%3Dflannel-cleanup')
        assert.equal(pods.length, 2)
        for (const { status } of pods) {
          const [kernel] = status.initContainerStatuses
          assert.equal((kernel.state.terminated ?? kernel.lastState.terminated)?.exitCode, 75)
        }
      })
    } finally {
      await cluster.kubectl(['-n', 'kube-flannel', 'delete', 'daemonset', 'kube-flannel-cleanup', '--wait'])
    }
  })

  it('leaves nothing on the nodes', async () => {
    await startPods(cluster, [
      { name: 'a', node: 'n1' },
      { name: 'b', node: 'n2' },
    ])
    await deletePods(cluster)
    for (const node of cluster.nodes) assert.notDeepEqual(await traces(node), [])
    await leaveRecord()
    await uninstall()
    for (const node of cluster.nodes) assert.deepEqual(await traces(node), [], node.label)
  })

  if (long) {
    it("leaves nothing of flannel's way either, by whose plugin containers got their network", async () => {
      await install(cluster, await viaFlannelsPlugin())
      await startPods(cluster, [{ name: 'a', node: 'n1' }])
      await deletePods(cluster)
      // As after a crash: on record, and deleted by nobody.
      const record = '/var/lib/cni/networks/cbr0/10.244.1.200'
      await cluster.node('n1').exec(['sh', '-c', `printf 'gone\\neth0' > ${record}`])
      await uninstall()
      for (const node of cluster.nodes) assert.deepEqual(await traces(node), [], node.label)
    })
  }

  it('takes the annotations along where they are asked for', async () => {
    const names = ['backend-type', 'backend-data', 'backend-v6-data', 'kube-subnet-manager', 'public-ip', 'public-ipv6']
    const ours = ['node-id', 'accepts', 'sends', 'tunnel-ip', 'tunnel-ipv6']
    await cluster.kubectl(['annotate', 'nodes', '--all', ...[...names, ...ours].map((name) => `${prefix}${name}-`)])
    for (const { metadata } of await cluster.list('/api/v1/nodes')) {
      assert.deepEqual(
        Object.keys(metadata.annotations).filter((name) => name.startsWith(prefix)),
        [],
      )
    }
  })
})
