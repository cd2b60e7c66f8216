import assert from 'node:assert/strict'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { ChangingHosts } from './changing-hosts.ts'
import { bringUp, flanneld, knowsPeers, logsInFailure } from './world.ts'

const network = { Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' }
const SEGMENT = { name: 'lan1', subnet: '192.168.64.0/24', subnet6: 'fd00:64::/64', hosts: ['h1', 'h2', 'h3'] }
/** Backend, devices of IPv4 and IPv6; host-gw has none of its own. */
const TOUR = [
  ['vxlan', { Type: 'vxlan' }, ['flannel.1', 'flannel-v6.1']],
  ['host-gw', { Type: 'host-gw' }, []],
  ['vxlan, from direct paths', { Type: 'vxlan' }, ['flannel.1', 'flannel-v6.1']],
  ['another VNI', { Type: 'vxlan', VNI: 7 }, ['flannel.7', 'flannel-v6.7']],
] as const

describe('a change of the backend with two families', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let changing: ChangingHosts

  before(async () => {
    lab = await Lab.create({ segments: [SEGMENT], rpFilter: 1, netConf: { ...network, Backend: TOUR[0][1] } })
    await bringUp(lab.hosts, { args: ['--ingress-guard=on'] })
    for (const host of lab.hosts) await knowsPeers(host, 2)
    for (const host of lab.hosts) assert.equal(host.container('c1').addresses.length, 2)
    changing = await ChangingHosts.start(lab.hosts, 20)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await changing?.stop()
    await lab?.close()
  })

  for (const [name, backend, devices] of TOUR.slice(1))
    it(`to ${name} loses no packet of either`, async () => {
      await lab.configure({ ...network, Backend: backend })
      for (const host of lab.hosts) await flanneld(host, ['switch'])
      const [device = 'eth0', device6 = 'eth0'] = devices
      await changing.settled({ device, tunnel: devices }, async (host) => {
        for (const to of lab.hosts) {
          if (to === host) continue
          const [route] = await host.ipJson('-6', 'route', 'get', to.container('c1').addresses[1] ?? '')
          assert.equal(route?.['dev'], device6, `${host.label} to ${to.label}`)
        }
      })
      await changing.nothingLost()
    })
})
