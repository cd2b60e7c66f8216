import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { systemClock } from '../../lib/clock.ts'
import { needs } from '../needs.ts'
import { Kubernetes } from './kubernetes-world.ts'
import { knowsPeers, logsInFailure, oneSegment, startDaemon, status, until } from './world.ts'

const prefix = 'flannel.alpha.coreos.com/'
const VXLAN = { Type: 'vxlan' }
const HOST_GW = { Type: 'host-gw' }
const OTHER_VNI = { Type: 'vxlan', VNI: 7 }

/** As kubelets write a ConfigMap into the pods of a daemon set: each node at another time. */
describe('a change of the backend with leases from the Kubernetes API', function () {
  needs(this, 'netns', 'etcd', 'peer:kube-apiserver')
  this.timeout(180_000)
  let lab: Lab
  let kubernetes: Kubernetes
  let kubeconfig: string
  let hosts: readonly Host[]
  let judges: readonly PingJudge[] = []

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(3), etcd: false, rpFilter: 1 })
    hosts = lab.hosts
    kubernetes = await Kubernetes.start(lab)
    kubeconfig = await kubernetes.daemonKubeconfig()
    for (const [index, { label }] of hosts.entries()) {
      const podCIDR = `10.5.${index + 1}.0/24`
      await kubernetes.send([
        'POST',
        '/api/v1/nodes',
        { metadata: { name: label }, spec: { podCIDR, podCIDRs: [podCIDR] } },
      ])
    }
    await Promise.all(hosts.map((host) => configure(host, VXLAN)))
    await Promise.all(hosts.map(start))
    for (const host of hosts) await knowsPeers(host, 2)
    for (const host of hosts) await host.addContainer('c1')
    judges = hosts.flatMap((from) =>
      hosts.flatMap((to) => (from === to ? [] : [from.container('c1').startPing(to.container('c1').address, 20)])),
    )
    for (const judge of judges) await judge.answered(AbortSignal.timeout(30_000))
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
    await lab?.close()
  })

  const netConf = ({ label }: Host) => join(lab.folder, `net-conf-${label}.json`)
  const configure = async (host: Host, Backend: object) =>
    await writeFile(netConf(host), JSON.stringify({ Network: '10.5.0.0/16', Backend }))
  const start = async (host: Host) => {
    const args = ['--kube-subnet-mgr', `--kubeconfig-file=${kubeconfig}`, `--net-config-path=${netConf(host)}`]
    return await startDaemon(host, { args: [...args, '--ingress-guard=on'], env: { NODE_NAME: host.label } })
  }
  const pause = async (ms: number) => await systemClock.sleep(ms, AbortSignal.timeout(60_000))
  const sendsBy = async (host: Host, to: Host) => {
    const [route] = await host.ipJson('route', 'get', to.container('c1').address)
    return route?.['dev']
  }

  const settled = async (type: string, device: string) =>
    await until(60_000, `all is ${device}`, async () => {
      for (const host of hosts) {
        const { backendChange, notReady } = await status(host)
        assert.deepEqual([backendChange, notReady], [null, []], JSON.stringify(backendChange))
        for (const to of hosts) if (to !== host) assert.equal(await sendsBy(host, to), device)
        const { annotations } = (await kubernetes.node(host.label)).metadata
        const said = ['backend-type', 'accepts', 'sends'].map((name) => annotations[prefix + name])
        assert.deepEqual(said, [type, undefined, undefined])
        const names = (await host.ipJson('link')).map(({ ifname }) => String(ifname))
        assert.deepEqual(
          names.filter((name) => name.startsWith('flannel')),
          device === 'eth0' ? [] : [device],
        )
      }
    })

  const nothingLost = async () => {
    const sent = judges.map((judge) => judge.verdict().sent)
    await until(20_000, 'more packets', async () => {
      for (const [n, judge] of judges.entries()) assert.ok(judge.verdict().sent > (sent[n] ?? 0) + 25)
    })
    for (const judge of judges) assert.deepEqual([judge.address, judge.verdict().lost], [judge.address, 0])
  }

  it('loses no packet though each node hears of it at another time', async () => {
    for (const host of hosts) {
      await configure(host, HOST_GW)
      await pause(2_000)
    }
    await settled('host-gw', 'eth0')
    await nothingLost()
  })

  it('waits for a node that has not heard of it, which both ways reach, and says for whom', async () => {
    const [h1, h2, h3] = hosts as [Host, Host, Host]
    await Promise.all([h1, h2].map((host) => configure(host, VXLAN)))
    await until(30_000, 'the others have moved', async () => {
      assert.deepEqual([await sendsBy(h1, h2), await sendsBy(h2, h1)], ['flannel.1', 'flannel.1'])
      assert.deepEqual([await sendsBy(h1, h3), await sendsBy(h3, h1)], ['eth0', 'eth0'])
      const { backendChange } = await status(h1)
      assert.match(JSON.stringify(backendChange.waiting), /h3.*does not receive by vxlan yet/)
    })
    const { annotations } = (await kubernetes.node('h1')).metadata
    assert.match(annotations[`${prefix}accepts`], /vxlan.*host-gw|host-gw.*vxlan/)
    await configure(h3, VXLAN)
    await settled('vxlan', 'flannel.1')
    await nothingLost()
  })

  it('goes on by daemons that are killed and by another change of mind half way', async () => {
    await Promise.all(hosts.map((host) => configure(host, HOST_GW)))
    await pause(900)
    for (const host of hosts) {
      host.daemon?.kill('SIGKILL')
      await host.daemon?.waitExit()
      await configure(host, OTHER_VNI)
      await start(host)
      await pause(700)
    }
    await settled('vxlan', 'flannel.7')
    await nothingLost()
  })
})
