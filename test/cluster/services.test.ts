import type { Cluster } from '../../lab/cluster/cluster.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { manifestObjects, withNetConf } from './manifest.ts'
import { servicesWork } from './services.ts'
import { install, logsInFailure, newCluster, programs, reinstall, sharedCluster } from './world.ts'

type Rules = 'iptables' | 'nftables'

const proxyModes: readonly Rules[] = long ? ['iptables', 'nftables'] : ['iptables']
const ruleModes: readonly Rules[] = long ? ['iptables', 'nftables'] : ['iptables']

for (const proxyMode of proxyModes) {
  describe(`Services, kube-proxy with ${proxyMode}`, function () {
    needs(this, ...programs)
    this.timeout(240_000)
    let cluster: Cluster

    before(async () => {
      cluster = proxyMode === 'iptables' ? await sharedCluster() : await newCluster({ proxyMode })
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, cluster)
    })

    for (const rules of ruleModes) {
      describe(`beside rules of ours in ${rules}`, () => {
        before(async () => {
          // A change of rules needs new daemons.
          await (long ? reinstall : install)(cluster, await withNetConf({ EnableNFTables: rules === 'nftables' }))
        })

        servicesWork(() => cluster)
      })
    }

    after(async () => {
      if (cluster === undefined) return
      if (proxyMode === 'iptables') await (long ? reinstall : install)(cluster, await manifestObjects())
      else await cluster.close()
    })
  })
}
