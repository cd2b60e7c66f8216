import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import type { Program } from '../../lab/program.ts'
import type { Kubernetes, ProxyMode } from './kubernetes-world.ts'
import { answer, answerPort, askedAs, iptablesRules, outside, rulePlaces } from './rules.ts'
import { countInLog, ready, status, until } from './world.ts'

/** The container behind the first two is on h2, the one behind the third on h1. */
const cluster = { clusterIp: '10.96.0.20', nodePort: 30_020 }
const local = { clusterIp: '10.96.0.30', nodePort: 30_030 }
const self = { clusterIp: '10.96.0.40', nodePort: 30_040 }

/** Two hosts, h1 and h2, with a container `c1` each; their Nodes are in the API. */
export interface ProxyWorld {
  readonly lab: Lab
  readonly kubernetes: Kubernetes
  readonly network: string
  /** A daemon that writes rules of that kind, with `--ip-masq`. */
  readonly start: (host: Host, rules: 'iptables' | 'nftables') => Promise<unknown>
}

export async function addServices({ lab, kubernetes }: Pick<ProxyWorld, 'lab' | 'kubernetes'>): Promise<void> {
  const [h1, h2] = [lab.host('h1'), lab.host('h2')]
  const behind = (host: Host) => ({ endpoint: host.container('c1').address, node: host.label, port: answerPort })
  await kubernetes.addService('cluster', { ...cluster, policy: 'Cluster', ...behind(h2) })
  await kubernetes.addService('local', { ...local, policy: 'Local', ...behind(h2) })
  await kubernetes.addService('self', { ...self, policy: 'Cluster', ...behind(h1) })
  for (const place of [h1.container('c1'), h2.container('c1'), lab.controlPlane]) await answer(place, { ms: 60_000 })
}

/** What Services promise beside one mode of kube-proxy, with one kind of our rules. `slow`: so many times as long takes everything. */
export function besideKubeProxy(
  world: () => ProxyWorld,
  [mode, ours]: readonly [ProxyMode, 'iptables' | 'nftables'],
  { slow = 1 }: { readonly slow?: number } = {},
): void {
  describe(`in ${mode} mode, our rules in ${ours}`, () => {
    const proxies: Program[] = []
    let repairs: readonly number[] = []
    let lab: Lab
    let h1: Host
    let h2: Host

    before(async () => {
      lab = world().lab
      ;[h1, h2] = [lab.host('h1'), lab.host('h2')]
      for (const host of lab.hosts) {
        await host.daemon?.stop()
        await world().start(host, ours)
      }
      for (const host of lab.hosts) await ready(host, slow * 10_000)
      repairs = await Promise.all(lab.hosts.map(async (host) => await countInLog(host, /repaired/)))
      const starting = lab.hosts.map(startProxy)
      // One that did not come up must not leave the other to the next mode.
      for (const started of await Promise.allSettled(starting))
        if (started.status === 'fulfilled') proxies.push(started.value)
      await Promise.all(starting)
    })

    after(async () => {
      await Promise.all(proxies.map((proxy) => proxy.stop()))
      for (const host of lab.hosts) await host.daemon?.stop()
      for (const host of lab.hosts) await host.exec(['nft', 'flush', 'ruleset'])
    })

    const startProxy = async (host: Host) => {
      const { kubernetes, network } = world()
      return await kubernetes.startProxy(host, { mode, network, ms: slow * 30_000 })
    }
    const c1 = () => h1.container('c1')
    const overlay = async (host: Host, n: 0 | 1) =>
      ((await host.subnetEnv()).families[0]?.subnet ?? '').replace(/0\/24$/, String(n))
    /** By TCP and UDP; an answer counts only if it comes from where the question went. */
    const seen = async (from: Parameters<typeof askedAs>[0], address: string, port: number, ms = slow * 10_000) => {
      const to = { address, port, ms }
      return [await askedAs(from, { ...to, protocol: 'tcp' }), await askedAs(from, { ...to, protocol: 'udp' })]
    }

    it('a container reaches a ClusterIP as itself', async () => {
      assert.deepEqual(await seen(c1(), cluster.clusterIp, answerPort), [c1().address, c1().address])
    })

    it('a host reaches a ClusterIP by its overlay address', async () => {
      const own = await overlay(h1, 0)
      assert.deepEqual(await seen(h1, cluster.clusterIp, answerPort), [own, own])
    })

    it('outside reaches a container of another host by a NodePort, which sees the overlay address of the first host', async () => {
      const first = await overlay(h1, 0)
      assert.deepEqual(await seen(lab.controlPlane, h1.address, cluster.nodePort), [first, first])
    })

    it('outside reaches a container of the same host by a NodePort, which sees the bridge', async () => {
      const bridge = await overlay(h2, 1)
      assert.deepEqual(await seen(lab.controlPlane, h2.address, cluster.nodePort), [bridge, bridge])
    })

    it('externalTrafficPolicy Local keeps the address of the client, and drops where no container is', async () => {
      assert.deepEqual(await seen(lab.controlPlane, h2.address, local.nodePort), [outside, outside])
      // By IPVS it takes those of other nodes then (kubernetes#97081).
      if (mode !== 'ipvs') assert.deepEqual(await seen(lab.controlPlane, h1.address, local.nodePort, 1_500), ['', ''])
    })

    it('a container reaches itself by its Service, from its bridge', async () => {
      const bridge = await overlay(h1, 1)
      assert.deepEqual(await seen(c1(), self.clusterIp, answerPort), [bridge, bridge])
    })

    it('a container reaches the outside world as its host, another container as itself', async () => {
      assert.deepEqual(await seen(c1(), outside, answerPort), [h1.address, h1.address])
      const { address } = h2.container('c1')
      assert.deepEqual(await seen(c1(), address, answerPort), [c1().address, c1().address])
    })

    it('neither fights the other', async () => {
      const places =
        ours === 'iptables' ? ['iptables-nft FLANNEL-FWD', 'iptables-nft FLANNEL-POSTRTG'] : ['nft ip', 'nft ip6']
      for (const host of lab.hosts) {
        assert.deepEqual(await rulePlaces(host), places)
        const { conditions } = await status(host)
        // The lab's etcd speaks without TLS.
        assert.deepEqual(
          conditions.filter(({ code }: { code: string }) => code !== 'etcd-in-clear'),
          [],
        )
      }
      assert.deepEqual(await Promise.all(lab.hosts.map(async (host) => await countInLog(host, /repaired/))), repairs)
      if (mode !== 'iptables' || ours === 'nftables') return
      const { stdout } = await h1.exec(['iptables-nft', '-t', 'nat', '-S', 'POSTROUTING'])
      const [kube, flannel] = ['KUBE-POSTROUTING', 'FLANNEL-POSTRTG'].map((chain) => stdout.indexOf(chain))
      assert((kube ?? -1) > 0 && (kube ?? 0) < (flannel ?? 0), stdout)
    })

    it('all of it again after our rules were lost', async () => {
      const look = async () => (ours === 'iptables' ? await iptablesRules(h1) : await rulePlaces(h1))
      const before = await look()
      const table = 'nft list tables | grep flannel-ip | while read -r line; do nft delete $line; done'
      const harm = ours === 'iptables' ? 'iptables-nft -t nat -F POSTROUTING; iptables-nft -F FORWARD' : table
      await h1.exec(['sh', '-c', harm])
      await until(slow * 1_000, 'healed', async () => assert.deepEqual(await look(), before))
      const first = await overlay(h1, 0)
      // kube-proxy puts its own back within half a minute, by its canary; here it is started anew.
      await proxies.shift()?.stop()
      proxies.unshift(await startProxy(h1))
      await until(slow * 20_000, 'Services', async () => {
        assert.deepEqual(await seen(c1(), cluster.clusterIp, answerPort, slow * 1_500), [c1().address, c1().address])
        assert.deepEqual(await seen(lab.controlPlane, h1.address, cluster.nodePort, slow * 1_500), [first, first])
      })
    })
  })
}
