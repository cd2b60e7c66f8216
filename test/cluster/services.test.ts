import type { Cluster } from '../../lab/cluster/cluster.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { manifestObjects } from './manifest.ts'
import { servicesWork } from './services.ts'
import { install, logsInFailure, newCluster, programs, sharedCluster } from './world.ts'

for (const proxyMode of ['iptables', ...(long ? (['nftables'] as const) : [])] as const) {
  describe(`Services, kube-proxy with ${proxyMode}`, function () {
    needs(this, ...programs)
    this.timeout(240_000)
    let cluster: Cluster

    before(async () => {
      cluster = proxyMode === 'iptables' ? await sharedCluster() : await newCluster({ proxyMode })
      await install(cluster, await manifestObjects())
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, cluster)
    })

    servicesWork(() => cluster)

    after(async () => {
      if (proxyMode !== 'iptables') await cluster?.close()
    })
  })
}
