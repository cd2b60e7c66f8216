import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs, peerProgram } from '../needs.ts'
import { Kubernetes, nodeObject } from './kubernetes-world.ts'
import {
  assertSame,
  flanneld,
  knowsPeers,
  logsInFailure,
  networkOf,
  oneSegment,
  ready,
  startDaemon,
  status,
  until,
  vxlan,
} from './world.ts'

const prefix = 'flannel.alpha.coreos.com'
const nodes = '/api/v1/nodes'

describe('leases from the Kubernetes API', function () {
  needs(this, 'netns', 'etcd', 'peer:kube-apiserver')
  this.timeout(120_000)
  let lab: Lab
  let kubernetes: Kubernetes
  let args: readonly string[]

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), etcd: false })
    kubernetes = await Kubernetes.start(lab)
    args = await kubernetes.daemonArgs(vxlan)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  const start = (host: Host) => startDaemon(host, { args, env: { NODE_NAME: host.label } })
  const annotate = (name: string, annotations: Record<string, string | null>) =>
    kubernetes.send(['PATCH', `${nodes}/${name}`, { metadata: { annotations } }])

  describe('at the start', () => {
    it('waits for a podCIDR and names the flag, then routes to each other, and containers ping', async () => {
      const [h1, h2] = lab.hosts as [Host, Host]
      await kubernetes.send(['POST', nodes, nodeObject('h1')], ['POST', nodes, nodeObject('h2', '10.5.2.0/24')])
      await Promise.all([start(h1), start(h2)])
      await ready(h2)
      await until(5_000, 'the missing podCIDR is named', async () => {
        const waiting = (await status(h1)).conditions.find(({ code }: { code: string }) => code === 'lease-waiting')
        assert.match(waiting?.text ?? '', /Node h1 has no podCIDR yet/)
        assert.match(waiting.remedy, /--allocate-node-cidrs/)
      })
      await kubernetes.send(['PATCH', `${nodes}/h1`, { spec: { podCIDR: '10.5.1.0/24', podCIDRs: ['10.5.1.0/24'] } }])
      await Promise.all(lab.hosts.map((host) => ready(host)))
      await Promise.all(lab.hosts.map((host) => knowsPeers(host, 1)))
      const containers = [await h1.addContainer('c1'), await h2.addContainer('c1')]
      await containers[0]?.exec(['ping', '-c', '1', '-W', '2', '10.5.2.2'])
      const check = await flanneld(h1, ['check'], { args, env: { NODE_NAME: 'h1' } })
      assert.match(check.stdout, /^ok {4}mtu +vxlan leaves containers 1450 of 1500 bytes$/m)
      assert.doesNotMatch(check.stdout, /^fail|etcd/m)
      const { metadata, status: said } = await kubernetes.node('h1')
      assert.equal(metadata.annotations[`${prefix}/public-ip`], h1.address)
      assert.equal(metadata.annotations[`${prefix}/backend-type`], 'vxlan')
      assert.match(metadata.annotations[`${prefix}/backend-data`], /^\{"VNI":1,"VtepMAC":"[0-9a-f:]{17}"\}$/)
      await until(5_000, 'the network is reported', async () => {
        const found = (await kubernetes.node('h1')).status.conditions ?? said.conditions
        const [condition] = found.filter(({ type }: { type: string }) => type === 'NetworkUnavailable')
        assert.deepEqual([condition?.status, condition?.reason], ['False', 'FlannelIsUp'])
      })
    })
  })

  describe('beside flannel', function () {
    needs(this, 'peer:flanneld')

    it('reaches a node of flannel, takes it over and gives it back', async () => {
      const [h1, h2] = lab.hosts as [Host, Host]
      const ping = (from: Host, to: string) =>
        until(10_000, `${from.label} reaches ${to}`, () =>
          from.container('c1').exec(['ping', '-c', '1', '-W', '1', to]),
        )
      const env = { NODE_NAME: 'h2' }
      for (const program of [peerProgram('peer:flanneld'), undefined, peerProgram('peer:flanneld')]) {
        await h2.daemon?.stop()
        // Or what the last one has made would carry the packets.
        await h2.ip('link', 'del', 'flannel.1')
        await h2.exec(['rm', h2.paths.subnetFile])
        await startDaemon(h2, { args, env, ...(program && { program }) })
        await h2.subnetEnv()
        await ping(h1, '10.5.2.2')
        await ping(h2, '10.5.1.2')
      }
      await h2.daemon?.stop()
      await start(h2)
      await ready(h2)
    })
  })

  describe('while they run', () => {
    it('restores its annotations, and follows the overwriting of its address', async () => {
      await annotate('h1', { [`${prefix}/public-ip`]: '203.0.113.1', [`${prefix}/backend-data`]: null })
      const address = async () => (await kubernetes.node('h1')).metadata.annotations[`${prefix}/public-ip`]
      const is = (expected: string) =>
        until(10_000, `the address is ${expected}`, async () => assert.equal(await address(), expected))
      const own = lab.host('h1').address
      await is(own)
      await annotate('h1', { [`${prefix}/public-ip-overwrite`]: '192.168.64.77' })
      await is('192.168.64.77')
      await until(5_000, 'the peer sends there', async () =>
        assert.ok((await networkOf(lab.host('h2'))).some((line) => line.includes('dst 192.168.64.77'))),
      )
      await annotate('h1', { [`${prefix}/public-ip-overwrite`]: null })
      await is(own)
    })

    it('keeps its hardware address over a restart without its state and device', async () => {
      const h1 = lab.host('h1')
      const data = async () => (await kubernetes.node('h1')).metadata.annotations[`${prefix}/backend-data`]
      const before = await data()
      await h1.daemon?.stop()
      await h1.exec(['rm', '-rf', h1.paths.stateDir])
      await h1.ip('link', 'del', 'flannel.1')
      await start(h1)
      await ready(h1)
      assert.equal(await data(), before)
    })

    it('serves its pods on when a Node is made again with the same podCIDR', async () => {
      const [h1, h2] = lab.hosts as [Host, Host]
      const kept = async () => (await networkOf(h1)).filter((line) => /10\.5\.|flannel/.test(line))
      const before = await kept()
      const data = (await kubernetes.node('h1')).metadata.annotations[`${prefix}/backend-data`]
      await kubernetes.send(['DELETE', `${nodes}/h1`, {}], ['POST', nodes, nodeObject('h1', '10.5.1.0/24')])
      await until(15_000, 'the new Node bears the old annotations and the condition', async () => {
        const { metadata, status: said } = await kubernetes.node('h1')
        assert.equal(metadata.annotations?.[`${prefix}/backend-data`], data)
        assert.equal(metadata.annotations[`${prefix}/public-ip`], h1.address)
        const found = said.conditions?.find(({ type }: { type: string }) => type === 'NetworkUnavailable')
        assert.equal(found?.status, 'False')
      })
      await Promise.all([knowsPeers(h1, 1), knowsPeers(h2, 1)])
      assertSame(await kept(), before)
      const pods = [h1.container('c1'), await h1.addContainer('again')]
      for (const pod of pods) await h2.container('c1').exec(['ping', '-c', '1', '-W', '2', pod.address])
      for (const pod of pods) await pod.exec(['ping', '-c', '1', '-W', '2', '10.5.2.2'])
      await h1.removeContainer('again')
    })

    it('takes the podCIDR of a Node that was deleted and made again', async () => {
      const h1 = lab.host('h1')
      await kubernetes.send(['DELETE', `${nodes}/h1`, {}], ['POST', nodes, nodeObject('h1', '10.5.9.0/24')])
      await until(10_000, 'subnet.env has the new subnet', async () =>
        assert.deepEqual((await h1.subnetEnv()).families[0]?.subnet, '10.5.9.0/24'),
      )
      await until(10_000, 'the peer has the new route only', async () => {
        const routes = (await networkOf(lab.host('h2'))).filter((line) => /^10\.5\.[19]\.0\/24 /.test(line))
        assert.deepEqual(routes.map((line) => line.split(' ')[0]).sort(), ['10.5.9.0/24'])
      })
    })

    it('uses the address that its Node names', async () => {
      const h2 = lab.host('h2')
      await h2.daemon?.stop()
      await h2.ip('addr', 'add', '192.168.64.99/24', 'dev', 'eth0')
      await annotate('h2', { [`${prefix}/node-public-ip`]: '192.168.64.99' })
      await start(h2)
      await until(10_000, 'it is published, and the device uses it', async () => {
        assert.equal((await kubernetes.node('h2')).metadata.annotations[`${prefix}/public-ip`], '192.168.64.99')
        assert.ok((await networkOf(h2)).some((line) => /vxlan id 1 local 192\.168\.64\.99 /.test(line)))
      })
    })
  })
})
