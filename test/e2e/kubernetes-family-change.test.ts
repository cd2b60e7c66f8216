import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { ChangingHosts, reachesByIpv6, told } from './changing-hosts.ts'
import { Kubernetes } from './kubernetes-world.ts'
import { knowsPeers, logsInFailure, ready, startDaemon, status, until } from './world.ts'

const prefix = 'flannel.alpha.coreos.com/'
const single = { Network: '10.5.0.0/16', Backend: { Type: 'vxlan' } }
const dual = { ...single, EnableIPv6: true, IPv6Network: 'fc00::/48' }

describe('a second family with leases from the Kubernetes API', function () {
  needs(this, 'netns', 'etcd', 'peer:kube-apiserver')
  this.timeout(180_000)
  let lab: Lab
  let kubernetes: Kubernetes
  let kubeconfig: string
  let hosts: readonly [Host, Host, Host]
  let changing: ChangingHosts

  before(async () => {
    const segment = { name: 'lan1', subnet: '192.168.64.0/24', subnet6: 'fd00:64::/64', hosts: ['h1', 'h2', 'h3'] }
    lab = await Lab.create({ segments: [segment], etcd: false })
    hosts = lab.hosts as unknown as typeof hosts
    kubernetes = await Kubernetes.start(lab)
    kubeconfig = await kubernetes.daemonKubeconfig()
    // The last one has joined before the cluster had IPv6.
    for (const [n, host] of hosts.entries()) await kubernetes.send(nodeOf(host, n < 2 ? 2 : 1))
    await configure(single)
    await Promise.all(hosts.map(start))
    for (const host of hosts) await knowsPeers(host, 2)
    for (const host of hosts) await host.addContainer('c1')
    changing = await ChangingHosts.start(hosts, 10)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await changing?.stop()
    await lab?.close()
  })

  const nodeOf = (host: Host, families: 1 | 2) => {
    const n = hosts.indexOf(host) + 1
    const podCIDRs = [`10.5.${n}.0/24`, `fc00:0:0:${n}::/64`].slice(0, families)
    return [
      'POST',
      '/api/v1/nodes',
      { metadata: { name: host.label }, spec: { podCIDR: podCIDRs[0], podCIDRs } },
    ] as const
  }
  const netConf = ({ label }: Host) => join(lab.folder, `net-conf-${label}.json`)
  const configure = async (config: object) => {
    for (const host of hosts) await writeFile(netConf(host), JSON.stringify(config))
  }
  const start = async (host: Host) => {
    const args = ['--kube-subnet-mgr', `--kubeconfig-file=${kubeconfig}`, `--net-config-path=${netConf(host)}`]
    return await startDaemon(host, { args, env: { NODE_NAME: host.label } })
  }
  const annotations = async (host: Host) => {
    const found = (await kubernetes.node(host.label)).metadata.annotations
    return ['public-ipv6', 'backend-v6-data'].map((name) => found[prefix + name])
  }
  const families = async (host: Host, count: number) =>
    await until(30_000, `${host.label} has ${count} families`, async () => {
      assert.equal((await host.subnetEnv()).families.length, count)
      assert.deepEqual(await told(host), [])
      assert.equal(
        (await annotations(host)).filter((text) => text !== undefined && text !== '').length,
        2 * (count - 1),
      )
    })
  const says = async (host: Host, text: RegExp, remedy: RegExp) =>
    await until(30_000, `${host.label} says what is missing`, async () => {
      const [found] = await told(host)
      assert.equal(found?.code, 'lease-family', JSON.stringify(found))
      assert.match(found?.text ?? '', text)
      assert.match(found?.remedy ?? '', remedy)
    })

  it('is had where the Node has a podCIDR of it; where not, that is named, and IPv4 goes on, over a restart too', async () => {
    const [h1, h2, h3] = hosts
    await configure(dual)
    for (const host of [h1, h2]) await families(host, 2)
    await says(
      h3,
      /Node h3 has no IPv6 podCIDR yet/,
      /cannot be changed: .*delete the Node and let the kubelet register it/,
    )
    await reachesByIpv6(h1, h2)
    await reachesByIpv6(h2, h1)
    assert.equal((await status(h3)).ready, true)
    h3.daemon?.kill('SIGKILL')
    await h3.daemon?.stop()
    await start(h3)
    await ready(h3)
    await says(h3, /Node h3 has no IPv6 podCIDR yet/, /delete the Node/)
    for (const host of hosts) await knowsPeers(host, 2)
    await changing.nothingLost()
  })

  it('comes to a node whose Node is made anew with podCIDRs of both', async () => {
    const [h1, , h3] = hosts
    await kubernetes.send(['DELETE', '/api/v1/nodes/h3', {}], nodeOf(h3, 2))
    await families(h3, 2)
    for (const host of hosts) await knowsPeers(host, 2)
    await reachesByIpv6(h3, h1)
    await reachesByIpv6(h1, h3)
  })

  it('names a podCIDR outside of its network, and goes where it is turned off', async () => {
    const lost = () => changing.judges.map((judge) => judge.verdict().lost)
    const before = lost()
    await configure(single)
    for (const host of hosts) await families(host, 1)
    await configure({ ...dual, IPv6Network: 'fc00:1::/48' })
    for (const host of hosts)
      await says(host, /podCIDR fc00:0:0:\d::\/64 of Node h\d does not lie inside IPv6Network/, /./)
    await configure(single)
    for (const host of hosts) await families(host, 1)
    for (const host of hosts) {
      const { stdout } = await host.exec(['sh', '-c', 'ip -6 route; ip -6 addr; ip link'])
      assert.doesNotMatch(stdout, /fc00:|flannel-v6/)
      await knowsPeers(host, 2)
    }
    assert.deepEqual(lost(), before)
  })
})
