import { describeAnyLeaseStore } from '../conformance/any-lease-store.ts'
import { needs } from '../needs.ts'
import { ApiServer } from './api-server.ts'
import { leaseWorld } from './lease-world.ts'

describe('Kubernetes', function () {
  needs(this, 'etcd', 'peer:kube-apiserver')
  let server: ApiServer
  // None where the program is not there: the hook behind the tests runs all the same.
  const started: ApiServer[] = []

  before(async function () {
    this.timeout(100_000)
    server = await ApiServer.start()
    started.push(server)
  })
  after(async () => {
    for (const one of started) await one.close()
  })

  describeAnyLeaseStore('a real API server', () => leaseWorld(server))
})
