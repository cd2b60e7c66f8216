import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { addServices, besideKubeProxy } from './kube-proxy-cases.ts'
import { Kubernetes } from './kubernetes-world.ts'
import { bringUp, logsInFailure, oneSegment, startDaemon, vxlan } from './world.ts'

describe('beside kube-proxy', function () {
  needs(this, 'netns', 'etcd', 'peer:kube-apiserver', 'peer:kube-proxy')
  this.timeout(300_000)
  let lab: Lab
  let kubernetes: Kubernetes

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlan })
    await bringUp(lab.hosts, { args: ['--ip-masq'] })
    kubernetes = await Kubernetes.start(lab)
    await kubernetes.addNodes()
    await addServices({ lab, kubernetes })
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(() => lab?.close())

  for (const mode of ['iptables', 'nftables'] as const) {
    for (const ours of ['iptables', 'nftables'] as const)
      besideKubeProxy(() => ({ lab, kubernetes, network, start }), [mode, ours])
  }

  const network = vxlan.Network
  async function start(host: Host, rules: 'iptables' | 'nftables'): Promise<void> {
    await lab.configure({ ...vxlan, EnableNFTables: rules === 'nftables' })
    await startDaemon(host, { args: ['--ip-masq'] })
  }
})
