import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import type { Cluster } from '../../lab/cluster/cluster.ts'
import { needs, peerProgram } from '../needs.ts'
import { manifestObjects } from './manifest.ts'
import { dropPods, install, logsInFailure, programs, sharedCluster, startPods } from './world.ts'

const chart = join(import.meta.dirname, '../../packaging/chart')

describe('the chart', function () {
  needs(this, 'peer:helm', ...programs)
  this.timeout(240_000)
  let cluster: Cluster

  before(async () => {
    cluster = await sharedCluster()
    await install(cluster, await manifestObjects())
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, cluster)
  })

  after(async () => {
    if (cluster !== undefined) await dropPods(cluster)
  })

  it('leaves the CNI configuration to the daemon, and pods of two nodes ping each other', async () => {
    const values = ['--set', 'cni.managedBy=daemon', '--set', 'admissionPolicy.enabled=true']
    const template = ['template', 'flannel', chart, '--namespace', 'kube-flannel', ...values]
    await install(cluster, [execFileSync(peerProgram('peer:helm'), template, { encoding: 'utf8' })])
    const [a, b] = await startPods(cluster, [
      { name: 'a', node: 'n1' },
      { name: 'b', node: 'n2' },
    ])
    if (a === undefined || b === undefined) throw new Error('there are two')
    await a.exec(['ping', '-c', '3', '-i', '0.2', '-W', '2', b.address])
    await b.exec(['ping', '-c', '3', '-i', '0.2', '-W', '2', a.address])
  })
})
