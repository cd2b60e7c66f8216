import './slow.ts'
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { addServices, besideKubeProxy } from '../e2e/kube-proxy-cases.ts'
import { Kubernetes } from '../e2e/kubernetes-world.ts'
import { contractRules, iptablesRules, rulePlaces } from '../e2e/rules.ts'
import { logsInFailure, oneSegment, startDaemon } from '../e2e/world.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { allKnow, ipip, patience, patiently } from './tunnel-world.ts'

const network = '10.5.0.0/16'
const nodes = '/api/v1/nodes'
const podCidrs = { h1: '10.5.1.0/24', h2: '10.5.2.0/24' }
const slow = 10

// What flannel's own end-to-end suite checks of ipip, and kube-proxy by IPVS: neither is in every test machine's kernel.
if (long) {
  describe('Nodes with ipip', function () {
    needs(this, 'netns', 'etcd', 'peer:kube-apiserver', 'peer:kube-proxy')
    this.timeout(12 * patience)
    let lab: Lab
    let kubernetes: Kubernetes
    let args: readonly string[]

    before(async () => {
      lab = await Lab.create({ segments: oneSegment(2), rpFilter: 1, etcd: false })
      kubernetes = await Kubernetes.start(lab, { ms: 6 * patience })
      await kubernetes.send(...lab.hosts.map((host) => ['POST', nodes, nodeOf(host)] as const))
      args = [...(await kubernetes.daemonArgs({})), '--ip-masq']
      for (const host of lab.hosts) {
        await start(host, 'iptables')
        await host.subnetEnv({ timeout: 4 * patience })
        await host.addContainer('c1')
      }
      await allKnow(lab.hosts, 1, 4 * patience)
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })

    after(() => lab?.close())

    async function start(host: Host, rules: 'iptables' | 'nftables'): Promise<void> {
      await writeFile(
        kubernetes.netConf,
        JSON.stringify({ Network: network, Backend: ipip.backend, EnableNFTables: rules === 'nftables' }),
      )
      await startDaemon(host, { args, env: { NODE_NAME: host.label } })
    }

    async function pingBothWays(): Promise<void> {
      const [c1, c2] = lab.hosts.map((host) => host.container('c1'))
      assert(c1 && c2)
      for (const [from, to] of [
        [c1, c2],
        [c2, c1],
      ] as const) {
        const { received } = await from.ping(to.address, { count: 3, wait: 5_000 })
        assert.equal(received, 3, `${from.name} -> ${to.name}`)
      }
    }

    it('have the podCIDR in subnet.env', async () => {
      for (const host of lab.hosts) {
        const { families, mtu } = await host.subnetEnv()
        assert.deepEqual([families[0]?.subnet, mtu], [podCidrs[host.label as 'h1' | 'h2'], ipip.mtu])
      }
    })

    it('ping each other both ways', pingBothWays)

    it('have the rules of the contract', async () => {
      const subnet = (await lab.host('h1').subnetEnv()).families[0]?.subnet ?? ''
      assert.deepEqual(await iptablesRules(lab.host('h1')), [...contractRules(subnet)].sort())
    })

    it('keep their subnets, with rules of nftables after a restart', async () => {
      const before = await Promise.all(lab.hosts.map((host) => host.subnetEnv()))
      for (const host of lab.hosts) {
        await host.daemon?.stop()
        await start(host, 'nftables')
      }
      await allKnow(lab.hosts, 1, 4 * patience)
      assert.deepEqual(await Promise.all(lab.hosts.map((host) => host.subnetEnv())), before)
      for (const host of lab.hosts)
        await patiently('rules', async () => assert.deepEqual(await rulePlaces(host), ['nft ip', 'nft ip6']))
      await pingBothWays()
    })

    describe('beside kube-proxy', () => {
      before(() => addServices({ lab, kubernetes }))

      for (const ours of ['iptables', 'nftables'] as const)
        besideKubeProxy(() => ({ lab, kubernetes, network, start }), ['ipvs', ours], { slow })
    })
  })
}

function nodeOf({ label, address }: Host): object {
  const podCIDR = podCidrs[label as 'h1' | 'h2']
  const status = { addresses: [{ type: 'InternalIP', address }] }
  return { metadata: { name: label }, spec: { podCIDR, podCIDRs: [podCIDR] }, status }
}
