import './slow.ts'
import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { assertSettled } from '../e2e/changing-hosts.ts'
import { flanneld, leasePrefix, logsInFailure, oneSegment } from '../e2e/world.ts'
import { long } from '../long.ts'
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

const hostGw: TunnelCase = { title: 'host-gw', backend: { Type: 'host-gw' }, device: 'eth0', mtu: 1500, direct: true }
const vxlan: TunnelCase = { title: 'vxlan', backend: { Type: 'vxlan' }, device: 'flannel.1', mtu: 1450 }

/** While a device of IP in IP has the first name. */
const second: TunnelCase = { ...udp, title: 'udp in the kernel, bound to the uplink', device: 'flannel1' }

/** ipip and udp in the kernel, each once as source and once as target; `npm run test:long` has each of them to and from the others. */
const TOUR: readonly TunnelCase[] = long
  ? [hostGw, ipip, second, ipip, vxlan, udp, hostGw, udp, vxlan, ipip, hostGw]
  : [hostGw, ipip, second, ipip, vxlan]

describe("a change of the backend under Debian's kernel, with strict rp_filter and the guard", function () {
  needs(this, 'netns', 'etcd')
  // Some twenty steps of either host, of which each waits for the other's.
  this.timeout(6 * patience)
  let lab: Lab
  let hosts: readonly Host[] = []
  let judges: readonly PingJudge[] = []

  before(async () => {
    loadFou()
    lab = await tunnelLab(hostGw, oneSegment(2))
    hosts = lab.hosts
    await bringUp(hosts, { args: ['--ingress-guard=on'] })
    await allKnow(hosts, 1)
    judges = hosts.flatMap((from) =>
      hosts.flatMap((to) => (from === to ? [] : [from.container('c1').startPing(to.container('c1').address, 100)])),
    )
    await Promise.all(judges.map((judge) => judge.answered(AbortSignal.timeout(patience))))
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
    await lab?.close()
  })

  const change = async ({ backend }: TunnelCase) => {
    await lab.configure({ Network: '10.5.0.0/16', Backend: backend })
    // One that comes back too often is held, if nobody says that it is meant.
    for (const host of hosts) await flanneld(host, ['switch'])
  }

  const settled = async ({ title, device }: TunnelCase) => {
    const longer = 4 * patience
    // Asked first, since it starts no program.
    const leasesAre = async () => {
      for (const { value } of await lab.etcd.list(leasePrefix)) {
        const { Accepts, Sends } = JSON.parse(value)
        assert.deepEqual([Accepts, Sends], [undefined, undefined], value)
      }
    }
    const hostsAre = async () => {
      await leasesAre()
      await assertSettled(hosts, { device, tunnel: device === 'eth0' ? undefined : device })
    }
    await patiently(`all is ${title}`, hostsAre, longer)
  }

  const nothingLost = async () => {
    const sent = judges.map((judge) => judge.verdict().sent)
    await patiently('more packets', async () => {
      for (const [n, judge] of judges.entries()) assert.ok(judge.verdict().sent > (sent[n] ?? 0) + 20)
    })
    const verdicts = judges.map((judge) => judge.verdict())
    for (const { lost } of verdicts) assert.equal(lost, 0, JSON.stringify(verdicts))
  }

  for (const [place, to] of TOUR.entries()) {
    const from = TOUR[place - 1]
    if (from === undefined) continue
    it(`from ${from.title} to ${to.title} loses no packet`, async () => {
      await change(to)
      await settled(to)
      await nothingLost()
    })
  }
})
