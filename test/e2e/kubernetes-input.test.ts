import assert from 'node:assert/strict'
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'
import { needs } from '../needs.ts'
import { Kubernetes } from './kubernetes-world.ts'
import { logsInFailure, networkOf, oneSegment, ready, startDaemon, status, until, vxlan } from './world.ts'

const prefix = 'flannel.alpha.coreos.com'
const nodes = '/api/v1/nodes'

interface Row {
  readonly id: string
  readonly reason: string
  readonly text?: string
}

/** What others write into Nodes, and operators into the ConfigMap, that is not as it should be. */
describe('bad input from Kubernetes', function () {
  needs(this, 'netns', 'etcd', 'peer:kube-apiserver')
  this.timeout(120_000)
  let lab: Lab
  let kubernetes: Kubernetes
  let host: Host
  let args: readonly string[]
  let volume: string

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), etcd: false })
    kubernetes = await Kubernetes.start(lab)
    host = lab.host('h1')
    volume = join(lab.folder, 'kube-flannel')
    await mkdir(volume)
    await symlink('..data/net-conf.json', join(volume, 'net-conf.json'))
    await swap(JSON.stringify(vxlan))
    const kubeconfig = await kubernetes.daemonKubeconfig()
    args = ['--kube-subnet-mgr', `--kubeconfig-file=${kubeconfig}`, `--net-config-path=${volume}/net-conf.json`]
    await kubernetes.send(['POST', nodes, node('h1', '10.5.1.0/24')])
    await start()
    await ready(host, 30_000)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  const start = (env: Record<string, string> = {}) => startDaemon(host, { args, env: { NODE_NAME: 'h1', ...env } })
  const node = (name: string, podCIDR: string, annotations: Record<string, string> = {}) => ({
    metadata: { name, annotations },
    spec: { podCIDR, podCIDRs: [podCIDR] },
  })
  /** A Node of flannel, number `n`, with these annotations in place of its own. */
  const peer = (name: string, n: number, more: Record<string, string> = {}) => {
    const said: Record<string, string> = {
      'kube-subnet-manager': 'true',
      'backend-type': 'vxlan',
      'backend-data': `{"VNI":1,"VtepMAC":"02:00:00:00:00:${n.toString(16).padStart(2, '0')}"}`,
      'public-ip': `192.168.64.${n}`,
      ...more,
    }
    const annotations = Object.fromEntries(Object.entries(said).map(([key, text]) => [`${prefix}/${key}`, text]))
    return node(name, `10.5.${n}.0/24`, annotations)
  }
  /** As the kubelet changes a ConfigMap's volume: a new folder, and one link that is replaced. */
  let versions = 0
  async function swap(text: string): Promise<void> {
    versions += 1
    const folder = `..2026_${versions}`
    await mkdir(join(volume, folder))
    await writeFile(join(volume, folder, 'net-conf.json'), text)
    await symlink(folder, join(volume, '..data_tmp'))
    await rename(join(volume, '..data_tmp'), join(volume, '..data'))
  }
  const mtu = async () => (await host.subnetEnv()).mtu

  it('routes to the good Nodes, and names why to none of the others', async () => {
    const bad: readonly (readonly [string, Record<string, string>, string])[] = [
      ['no-json', { 'backend-data': '{' }, 'unreadable'],
      ['a-list', { 'backend-data': '[1]' }, ''],
      ['a-text', { 'backend-data': '"02:00:00:00:00:01"' }, ''],
      ['vni-text', { 'backend-data': '{"VNI":"1","VtepMAC":"02:00:00:00:00:24"}' }, ''],
      ['no-mac', { 'backend-data': '{"VNI":1}' }, ''],
      ['path', { 'public-ip': '../../etc/shadow' }, 'unreadable'],
      ['shell', { 'public-ip': '$(touch /flannel-was-here)' }, 'unreadable'],
      ['lines', { 'backend-type': 'vxlan\nE0101 00:00:00 forged line' }, ''],
      ['large', { 'backend-data': `{"VNI":1,"x":"${'y'.repeat(200_000)}"}` }, 'unreadable'],
      ['deep', { accepts: `${'['.repeat(5_000)}${']'.repeat(5_000)}` }, 'unreadable'],
      ['proto', { 'backend-data': '{"VNI":1,"VtepMAC":"02:00:00:00:00:2a","__proto__":{}}' }, 'unreadable'],
      ['no-address', { 'public-ip': '' }, 'no-public-ip'],
      ['loopback', { 'public-ip': '127.0.0.1' }, ''],
      ['windows', { 'backend-data': '{"VNI":4096,"VtepMAC":"00:15:5d:00:00:01"}' }, ''],
    ]
    await kubernetes.send(
      ['POST', nodes, node('nobody', '10.5.200.0/24')],
      ...bad.map(([name, more], n) => ['POST', nodes, peer(name, 30 + n, more)] as const),
      ...Array.from({ length: 10 }, (_, n) => ['POST', nodes, peer(`good-${n}`, 100 + n)] as const),
    )
    await until(20_000, 'the good ones are routed to, the others named', async () => {
      const { peers, rejected, notReady } = await status(host)
      assert.deepEqual(notReady, [])
      const fine = peers.filter(({ state }: { state: string }) => state === 'ok')
      assert.equal(fine.length, 10, JSON.stringify({ peers, rejected }))
      const named = new Map<string, string>([
        ...rejected.map(({ id, reason }: Row) => [id, reason] as const),
        ...peers
          .filter(({ state }: { state: string }) => state !== 'ok')
          .map(({ id, reason }: Row) => [id, reason] as const),
      ])
      assert.deepEqual([...named.keys()].sort(), bad.map(([name]) => name).sort())
      for (const [name, , reason] of bad) if (reason !== '') assert.equal(named.get(name), reason)
    })
    const routes = (await networkOf(host)).filter((line) => /^10\.5\.\d+\.0\/24 .*(proto 102|nhid)/.test(line))
    assert.equal(routes.length, 10)
    const log = (await host.daemon?.logText()) ?? ''
    assert.doesNotMatch(log, /^E0101/m)
    assert.ok(log.split('\n').every((line) => line.length < 2_000))
    await host.exec(['test', '!', '-e', '/flannel-was-here'])
  })

  it('lets the older of two win that have one podCIDR or one public address, and names both', async () => {
    // Nodes have their age in seconds; among equals their uid decides, which is a random one.
    await systemClock.sleep(1_100, host.signal)
    const second = { ...peer('same-cidr', 101, { 'public-ip': '192.168.64.150' }) }
    await kubernetes.send(
      ['POST', nodes, second],
      ['POST', nodes, peer('same-address', 60, { 'public-ip': '192.168.64.102' })],
    )
    await until(10_000, 'the younger are rejected', async () => {
      const { rejected, peers } = await status(host)
      const text = (name: string) => rejected.find(({ id }: Row) => id === name)?.text ?? ''
      assert.match(text('same-cidr'), /10\.5\.101\.0\/24 overlaps the subnet of lease good-1, which goes first/)
      assert.match(text('same-address'), /192\.168\.64\.102 is that of lease good-2, which goes first/)
      assert.equal(peers.filter(({ state }: { state: string }) => state === 'ok').length, 10)
    })
    // As Karpenter's, which keeps a Node until it is drained, while its podCIDR is given to another.
    const held = (finalizers: readonly string[]) => ['PATCH', `${nodes}/good-1`, { metadata: { finalizers } }] as const
    await kubernetes.send(held(['example.com/drain']), ['DELETE', `${nodes}/good-1`, {}])
    await until(10_000, 'the younger takes its place', async () => {
      assert.ok((await networkOf(host)).some((line) => /^192\.168\.64\.150|dst 192\.168\.64\.150/.test(line)))
      const { rejected } = await status(host)
      const [dying] = rejected.filter(({ id }: Row) => id === 'good-1')
      assert.match(dying?.text ?? '', /10\.5\.101\.0\/24 overlaps the subnet of lease same-cidr, which goes first/)
    })
    await kubernetes.send([
      'PATCH',
      `${nodes}/good-1`,
      { metadata: { '$deleteFromPrimitiveList/finalizers': ['example.com/drain'] } },
    ])
  })

  it('lets a Node whose kubelet is silent give its address to the one that has it now, and takes it back (autoscaler#3639, hcloud-cloud-controller-manager#231)', async () => {
    const report = (name: string, said: string) =>
      kubernetes.send([
        'PATCH',
        `${nodes}/${name}/status`,
        { status: { conditions: [{ type: 'Ready', status: said, reason: 'NodeStatusUnknown', message: '' }] } },
      ])
    // The machine of the first is gone, and its address another machine's; nobody has deleted its Node.
    await kubernetes.send(['POST', nodes, peer('gone', 61, { 'public-ip': '192.168.64.161' })])
    await report('gone', 'True')
    await systemClock.sleep(1_100, host.signal)
    await kubernetes.send(['POST', nodes, peer('heir', 62, { 'public-ip': '192.168.64.161' })])
    const isServed = (name: string, other: string) =>
      until(10_000, `${name} goes first`, async () => {
        const { rejected } = await status(host)
        assert.deepEqual(
          rejected.filter(({ id }: Row) => id === name || id === other).map(({ id }: Row) => id),
          [other],
        )
        assert.match(rejected.find(({ id }: Row) => id === other)?.text ?? '', new RegExp(`is that of lease ${name},`))
      })
    await isServed('gone', 'heir')
    await report('gone', 'Unknown')
    await isServed('heir', 'gone')
    assert.ok((await networkOf(host)).some((line) => /^10\.5\.62\.0/.test(line)))
    await report('heir', 'Unknown')
    await isServed('gone', 'heir')
    await report('heir', 'True')
    await report('gone', 'True')
    await isServed('gone', 'heir')
    await kubernetes.send(['DELETE', `${nodes}/gone`, {}], ['DELETE', `${nodes}/heir`, {}])
  })

  it('routes to the Node that a load balancer outside stands for, as its controller writes it (flannel#1122, k8s-bigip-ctlr)', async () => {
    const said = { 'backend-data': '{"VtepMAC":"02:00:00:00:00:fe"}', 'public-ip': '192.168.64.90' }
    const spec = { podCIDR: '10.5.254.1/24', podCIDRs: ['10.5.254.1/24'] }
    await kubernetes.send(['POST', nodes, { ...peer('bigip', 254, said), spec }])
    await until(10_000, 'it is routed to', async () => {
      const network = await networkOf(host)
      assert.ok(network.some((line) => /^10\.5\.254\.0\/24 /.test(line)))
      assert.ok(network.some((line) => /^02:00:00:00:00:fe .*dst 192\.168\.64\.90/.test(line)))
    })
    await kubernetes.send(['DELETE', `${nodes}/bigip`, {}])
  })

  it('follows the link of a ConfigMap, keeps the last good one of it, and starts with no bad one', async () => {
    await swap(JSON.stringify({ ...vxlan, Backend: { ...vxlan.Backend, MTU: 1400 } }))
    await until(10_000, 'the new MTU is told', async () => assert.equal(await mtu(), 1350))
    for (const [text, why] of [
      ['{"Network":', /JSON/],
      ['{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":"x"}}', /Backend\.VNI/],
      ['{"Network":"10.5.0.0/16","Backend":{"Type":"vxlam"}}', /vxlam/],
      ['', /./],
    ] as const) {
      await swap(text)
      await until(10_000, `the fault is named: ${why}`, async () => {
        const { conditions, notReady } = await status(host)
        const found = conditions.find(({ code }: { code: string }) => code === 'config-invalid')
        assert.match(found?.text ?? '', why)
        assert.deepEqual([notReady, await mtu()], [[], 1350])
      })
    }
    await host.daemon?.stop()
    const daemon = await start()
    await until(10_000, 'it has ended', async () => assert.equal(daemon.exit?.code, 78))
    await swap(JSON.stringify(vxlan))
    await start()
    await ready(host, 20_000)
    await until(10_000, 'the MTU is that of the device', async () => assert.equal(await mtu(), 1450))
  })

  it('names Services in the network of pods, and a bridge that has all of it', async () => {
    await host.daemon?.stop()
    await host.ip('link', 'add', 'docker0', 'type', 'bridge')
    await host.ip('addr', 'add', '10.5.0.1/16', 'dev', 'docker0')
    await host.ip('link', 'set', 'docker0', 'up')
    await start({ KUBERNETES_SERVICE_HOST: '10.5.200.1', KUBERNETES_SERVICE_PORT: '443' })
    await ready(host, 20_000)
    await until(10_000, 'both are named', async () => {
      const { conditions } = await status(host)
      const text = (code: string) => conditions.find((each: { code: string }) => each.code === code)?.text ?? ''
      assert.match(text('service-range'), /10\.5\.200\.1, the first Service, is in 10\.5\.0\.0\/16/)
      assert.match(text('overlap'), /10\.5\.0\.0\/16/)
    })
  })
})
