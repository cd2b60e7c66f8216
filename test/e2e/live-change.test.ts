import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { ChangingHosts } from './changing-hosts.ts'
import { DATAGRAMS_PER_SECOND, type StreamCounts, Streams } from './streams.ts'
import { bringUp, flanneld, knowsPeers, leaseOf, logsInFailure, oneSegment, status } from './world.ts'

const network = { Network: '10.5.0.0/16' }
const BACKENDS = {
  vxlan: { Type: 'vxlan' },
  'vxlan with another VNI': { Type: 'vxlan', VNI: 7 },
  'vxlan with DirectRouting': { Type: 'vxlan', DirectRouting: true },
  'host-gw': { Type: 'host-gw' },
  udp: { Type: 'udp', Engine: 'userspace' },
} as const
type Name = keyof typeof BACKENDS

/** Each once as source and once as target, or every ordered pair. */
const TOUR: readonly Name[] = long
  ? [
      'vxlan',
      'host-gw',
      'vxlan with another VNI',
      'vxlan with DirectRouting',
      'host-gw',
      'vxlan with DirectRouting',
      'vxlan with another VNI',
      'host-gw',
      'udp',
      'host-gw',
      'vxlan',
      'udp',
      'vxlan',
      'vxlan with another VNI',
      'udp',
      'vxlan with another VNI',
      'vxlan',
      'vxlan with DirectRouting',
      'udp',
      'vxlan with DirectRouting',
      'vxlan',
    ]
  : ['vxlan', 'host-gw', 'vxlan with another VNI', 'vxlan with DirectRouting', 'udp', 'vxlan']
const DEVICES: Readonly<Record<Name, string>> = {
  vxlan: 'flannel.1',
  'vxlan with another VNI': 'flannel.7',
  'vxlan with DirectRouting': 'eth0',
  'host-gw': 'eth0',
  udp: 'flannel0',
}

/** host-gw has none. */
const TUNNELS: Readonly<Partial<Record<Name, string>>> = {
  ...DEVICES,
  'vxlan with DirectRouting': 'flannel.1',
}

describe('a change of the backend without a restart', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let hosts: readonly Host[]
  let changing: ChangingHosts

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(3), netConf: { ...network, Backend: BACKENDS.vxlan } })
    hosts = lab.hosts
    await bringUp(hosts)
    for (const host of hosts) await knowsPeers(host, 2)
    changing = await ChangingHosts.start(hosts, 10)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await changing?.stop()
    await lab?.close()
  })

  const change = async (name: Name) => {
    await lab.configure({ ...network, Backend: BACKENDS[name] })
    // One that comes back too often is held, if nobody says that it is meant.
    for (const host of hosts) await flanneld(host, ['switch'])
  }

  /** All hosts send by it, and nothing else is left. */
  const settled = async (name: Name) => {
    const tunnel = name === 'host-gw' ? undefined : TUNNELS[name]
    await changing.settled({ device: DEVICES[name], tunnel }, async (host) => {
      const { conditions } = await status(host)
      assert.deepEqual(
        conditions.filter(({ severity }: { severity: string }) => severity !== 'info'),
        [],
      )
      const { Accepts, Sends, BackendType } = JSON.parse((await leaseOf(lab, host)).value)
      const type = name === 'udp' ? undefined : BACKENDS[name].Type
      assert.deepEqual([Accepts, Sends, BackendType], [undefined, undefined, type])
    })
  }

  /** The same streams on three paths at once, while something happens. */
  const streamed = async (work: () => Promise<unknown>) => {
    const pairs = hosts.map((from, n) => [from, hosts[(n + 1) % hosts.length] as Host] as const)
    const streams = await Promise.all(
      pairs.map(([from, to]) => Streams.start(lab, from.container('c1'), to.container('c1'))),
    )
    const counted: StreamCounts[] = []
    try {
      await work()
    } finally {
      for (const stream of streams) counted.push(await stream.stop())
    }
    for (const { tcp, udp } of counted) {
      assert.deepEqual([tcp.broken, tcp.wrong, tcp.received], [null, 0, tcp.sent], JSON.stringify(tcp))
      assert.ok(tcp.sent > 0 && udp.sent > 0)
      assert.deepEqual([udp.lost, udp.doubled], [0, 0], JSON.stringify(udp))
    }
    return counted.reduce((sum, { udp }) => sum + udp.reordered, 0)
  }

  let usuallyReordered = 0

  it('streams of TCP and UDP arrive whole without a change', async () => {
    usuallyReordered = await streamed(async () => await systemClock.sleep(3_000, AbortSignal.timeout(10_000)))
  })

  for (const [place, name] of TOUR.entries()) {
    const before = TOUR[place - 1]
    if (before === undefined) continue
    it(`from ${before} to ${name} loses no packet, and no stream notices it`, async () => {
      const reordered = await streamed(async () => {
        await change(name)
        await settled(name)
        await changing.nothingLost()
      })
      // What waits in the engine of userspace udp is overtaken by what needs no process: at most what arrives before the old way ends.
      const mayWait = before === 'udp' ? (hosts.length * DATAGRAMS_PER_SECOND) / 2 : 0
      assert.ok(
        reordered <= usuallyReordered + mayWait,
        `${reordered} datagrams reordered, ${usuallyReordered} without a change`,
      )
    })
  }
})
