import assert from 'node:assert/strict'
import type { Container } from '../../lab/container.ts'
import type { Host } from '../../lab/host.ts'
import { defaultPrefix, Lab } from '../../lab/lab.ts'
import type { Cidr } from '../../lib/address.ts'
import { needs, peerProgram } from '../needs.ts'
import { carries, UdpHost, udpNetwork } from './udp-host.ts'
import { transfer } from './udp-transfer.ts'

const ownSubnet = '10.5.200.0/24' as Cidr

describe("udp engine beside flannel's daemon", function () {
  needs(this, 'netns', 'etcd', 'peer:flanneld')
  this.timeout(60_000)
  let lab: Lab
  let ours: Container
  let theirs: Container

  before(async () => {
    lab = await Lab.create({
      segments: [{ name: 'lan', subnet: '192.168.64.0/24', hosts: ['ours', 'theirs'] }],
      netConf: { Network: udpNetwork, Backend: { Type: 'udp' } },
    })
    const [one, two] = lab.hosts as [Host, Host]
    await lab.etcd.put(`${defaultPrefix}/subnets/10.5.200.0-24`, JSON.stringify({ PublicIP: one.address }))
    await two.startDaemon({ program: peerProgram('peer:flanneld') })
    const subnet = (await two.subnetEnv()).families[0]?.subnet as Cidr
    await UdpHost.start(one, ownSubnet, [{ subnet, publicIp: two.address }])
    ours = await one.addContainer('c')
    theirs = await two.addContainer('c')
  })
  after(async () => await lab?.close())

  it('exchanges small, full-size and fragmented packets, begun by either side', async () => {
    for (const options of [{}, { size: 1472 - 28, df: true }, { size: 10_000 }]) {
      await carries(ours, theirs, options)
      await carries(theirs, ours, options)
    }
  })

  it('exchanges TCP in both directions without changing a byte', async () => {
    await Promise.all([transfer(ours, theirs, lab.folder, 10_000_001), transfer(theirs, ours, lab.folder, 10_000_001)])
  })

  it('has the same TTL as between two of flannel', async () => {
    const { stdout } = await ours.exec(['ping', '-n', '-c', '1', theirs.address])
    assert.match(stdout, /ttl=60/)
  })
})
