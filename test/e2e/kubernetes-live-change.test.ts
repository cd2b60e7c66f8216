import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'
import { needs } from '../needs.ts'
import { ChangingHosts, sendsBy } from './changing-hosts.ts'
import { Kubernetes, nodeObject } from './kubernetes-world.ts'
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
  let changing: ChangingHosts

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(3), etcd: false, rpFilter: 1 })
    hosts = lab.hosts
    kubernetes = await Kubernetes.start(lab)
    kubeconfig = await kubernetes.daemonKubeconfig()
    for (const [index, { label }] of hosts.entries())
      await kubernetes.send(['POST', '/api/v1/nodes', nodeObject(label, `10.5.${index + 1}.0/24`)])
    await Promise.all(hosts.map((host) => configure(host, VXLAN)))
    await Promise.all(hosts.map(start))
    for (const host of hosts) await knowsPeers(host, 2)
    for (const host of hosts) await host.addContainer('c1')
    changing = await ChangingHosts.start(hosts)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await changing?.stop()
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
  const settled = async (type: string, device: string) =>
    await changing.settled({ device, tunnel: device === 'eth0' ? undefined : device }, async (host) => {
      const { annotations } = (await kubernetes.node(host.label)).metadata
      const said = ['backend-type', 'accepts', 'sends'].map((name) => annotations[prefix + name])
      assert.deepEqual(said, [type, undefined, undefined])
    })

  it('loses no packet though each node hears of it at another time', async () => {
    for (const host of hosts) {
      await configure(host, HOST_GW)
      await pause(2_000)
    }
    await settled('host-gw', 'eth0')
    await changing.nothingLost()
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
    await changing.nothingLost()
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
    await changing.nothingLost()
  })
})
