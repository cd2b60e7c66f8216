import './slow.ts'
import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { logsInFailure, oneSegment, status } from '../e2e/world.ts'
import { needs } from '../needs.ts'
import {
  allKnow,
  bringUp,
  ipip,
  loadFou,
  patience,
  patiently,
  type TunnelCase,
  tunnelLab,
  udp,
} from './tunnel-world.ts'

const vxlan: TunnelCase = { title: 'vxlan', backend: { Type: 'vxlan' }, device: 'flannel.1', mtu: 1450 }
const hostGw: TunnelCase = { title: 'host-gw', backend: { Type: 'host-gw' }, device: 'eth0', mtu: 1500 }
/** Each of the two tunnels that other kernels lack once as source and once as target. */
const TOUR = [ipip, vxlan, udp, hostGw]

describe('a change of the backend without a restart, to and from ipip and udp in the kernel', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(2 * patience)
  let lab: Lab
  let hosts: readonly [Host, Host]
  let judges: readonly PingJudge[] = []

  before(async () => {
    loadFou()
    lab = await tunnelLab(hostGw, oneSegment(2))
    hosts = [lab.host('h1'), lab.host('h2')]
    await bringUp(hosts, { args: ['--ingress-guard=on'] })
    await allKnow(hosts, 1)
    const [one, two] = hosts.map((host) => host.container('c1'))
    assert(one && two)
    judges = [one.startPing(two.address, 50), two.startPing(one.address, 50)]
    for (const judge of judges) await judge.answered(AbortSignal.timeout(patience))
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
    await lab?.close()
  })

  for (const [place, { title, backend, device, mtu }] of TOUR.entries()) {
    it(`from ${(TOUR[place - 1] ?? hostGw).title} to ${title} loses no packet and leaves nothing`, async () => {
      await lab.configure({ Network: '10.5.0.0/16', Backend: backend })
      await patiently(`all is ${title}`, async () => {
        for (const host of hosts) {
          const { backendChange, notReady } = await status(host)
          assert.deepEqual([backendChange, notReady], [null, []], JSON.stringify(backendChange))
          const [other] = hosts.filter((each) => each !== host)
          const [route] = await host.ipJson('route', 'get', other?.container('c1').address ?? '')
          assert.equal(route?.['dev'], device)
          const names = (await host.ipJson('link')).map(({ ifname }) => String(ifname))
          const tunnels = names.filter((name) => name.startsWith('flannel'))
          assert.deepEqual(tunnels, device === 'eth0' ? [] : [device])
          assert.equal((await host.subnetEnv()).mtu, mtu)
          assert.doesNotMatch(await host.ip('rule'), /847/)
        }
      })
      const sent = judges.map((judge) => judge.verdict().sent)
      await patiently('more packets', async () => {
        for (const [n, judge] of judges.entries()) assert.ok(judge.verdict().sent > (sent[n] ?? 0) + 20)
      })
      for (const judge of judges) assert.deepEqual([judge.address, judge.verdict().lost], [judge.address, 0])
    })
  }
})
