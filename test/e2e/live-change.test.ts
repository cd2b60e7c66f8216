import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'
import { long, repeat } from '../long.ts'
import { needs } from '../needs.ts'
import { ChangingHosts } from './changing-hosts.ts'
import { DATAGRAMS_PER_SECOND, type StreamCounts, Streams } from './streams.ts'
import { bringUp, flanneld, knowsPeers, leaseOf, logsInFailure, status, twoSegments } from './world.ts'

const network = { Network: '10.5.0.0/16' }
const BACKENDS = {
  vxlan: { Type: 'vxlan' },
  'vxlan with another VNI': { Type: 'vxlan', VNI: 7 },
  'vxlan with another port': { Type: 'vxlan', Port: 4789 },
  'vxlan with DirectRouting': { Type: 'vxlan', DirectRouting: true },
  'host-gw': { Type: 'host-gw' },
  udp: { Type: 'udp', Engine: 'userspace' },
  'udp with another port': { Type: 'udp', Engine: 'userspace', Port: 9000 },
} as const
type Name = keyof typeof BACKENDS

/** How hosts differ: reverse path filter (Red Hat's is strict) and ingress guard. */
const HOSTS = {
  'rp_filter 0, guard on': { rpFilter: 0, guard: 'on' },
  'rp_filter 1, guard off': { rpFilter: 1, guard: 'off' },
  'rp_filter 1, guard on': { rpFilter: 1, guard: 'on' },
  'rp_filter 0, guard off': { rpFilter: 0, guard: 'off' },
} as const
type Kind = keyof typeof HOSTS

/** To another port from the same backend, which has two devices then. */
const EVERY_PAIR: readonly Name[] = [
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
  'vxlan with another port',
  'vxlan',
  'vxlan with another port',
  'udp',
  'udp with another port',
  'udp',
  'udp with another port',
  'vxlan',
]
/** Every ordered pair on every kind of hosts; or each backend once as source and once as target, and each kind once. */
const TOURS: Readonly<Record<Kind, readonly Name[]>> = long
  ? {
      'rp_filter 0, guard on': EVERY_PAIR,
      'rp_filter 1, guard off': EVERY_PAIR,
      'rp_filter 1, guard on': EVERY_PAIR,
      'rp_filter 0, guard off': EVERY_PAIR,
    }
  : {
      'rp_filter 0, guard on': ['udp', 'host-gw', 'vxlan with another VNI'],
      'rp_filter 1, guard off': ['vxlan', 'vxlan with DirectRouting', 'vxlan with another port'],
      'rp_filter 1, guard on': ['vxlan with DirectRouting', 'udp', 'udp with another port'],
      'rp_filter 0, guard off': ['vxlan with another VNI', 'vxlan'],
    }

/** Between hosts of one segment; the others go through a router. */
const DEVICES: Readonly<Record<Name, string>> = {
  vxlan: 'flannel.1',
  'vxlan with another VNI': 'flannel.7',
  'vxlan with another port': 'flannel-1',
  'vxlan with DirectRouting': 'eth0',
  'host-gw': 'eth0',
  udp: 'flannel0',
  'udp with another port': 'flannel1',
}

/** host-gw has none, and leads to no host of another segment: these keep what they had. */
const TUNNELS: Readonly<Record<Exclude<Name, 'host-gw'>, string>> = {
  vxlan: 'flannel.1',
  'vxlan with another VNI': 'flannel.7',
  'vxlan with another port': 'flannel-1',
  'vxlan with DirectRouting': 'flannel.1',
  udp: 'flannel0',
  'udp with another port': 'flannel1',
}

/** Without a change: what the paths of this machine do by themselves. */
let usuallyReordered = 0

for (const [kind, tour] of Object.entries(TOURS) as readonly [Kind, readonly Name[]][])
  describe(`a change of the backend without a restart, three hosts on two segments, ${kind}`, function () {
    needs(this, 'netns', 'etcd')
    this.timeout(180_000)
    const { rpFilter, guard } = HOSTS[kind]
    const [first, ...others] = tour as readonly [Name, ...Name[]]
    let lab: Lab
    let hosts: readonly Host[]
    let changing: ChangingHosts
    let tunnel: string
    /** Of all streams that a change was under. */
    const seen = { changes: 0, pings: 0, tcpBytes: 0, datagrams: 0, reordered: 0 }

    before(async () => {
      lab = await Lab.create({ segments: twoSegments, rpFilter, netConf: { ...network, Backend: BACKENDS[first] } })
      hosts = lab.hosts
      await bringUp(hosts, { args: [`--ingress-guard=${guard}`] })
      for (const host of hosts) await knowsPeers(host, 2)
      changing = await ChangingHosts.start(hosts, 10)
      tunnel = TUNNELS[first as keyof typeof TUNNELS]
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })

    after(async () => {
      await changing?.stop()
      await lab?.close()
      if (long) process.stderr.write(`${kind}: ${JSON.stringify(seen)}\n`)
    })

    const change = async (name: Name) => {
      await lab.configure({ ...network, Backend: BACKENDS[name] })
      // One that comes back too often is held, if nobody says that it is meant.
      for (const host of hosts) await flanneld(host, ['switch'])
    }

    const areNeighbours = (from: Host, to: Host) => segmentOf(from) === segmentOf(to)

    /** All hosts send by it wherever it leads, and nothing is left that nobody needs. */
    const settled = async (name: Name) => {
      if (name !== 'host-gw') tunnel = TUNNELS[name]
      const device = (from: Host, to: Host) => (areNeighbours(from, to) ? DEVICES[name] : tunnel)
      const leadsTo = (from: Host, to: Host) => name !== 'host-gw' || areNeighbours(from, to)
      await changing.settled({ device, tunnel, leadsTo }, async (host) => {
        const { conditions } = await status(host)
        assert.deepEqual(
          conditions.filter(({ severity }: { severity: string }) => severity !== 'info'),
          [],
        )
        const { Accepts, Sends, BackendType } = JSON.parse((await leaseOf(lab, host)).value)
        const { Type, Port, DirectRouting }: { Type: string; Port?: number; DirectRouting?: true } = BACKENDS[name]
        const type = Type === 'udp' ? undefined : Type
        const said = Accepts?.map((path: { Port?: number; Direct?: true }) => [path.Port, path.Direct])
        assert.equal(BackendType, type)
        // A single way is said in flannel's words, which have neither a port nor direct paths.
        const isPlain = Port === undefined && DirectRouting === undefined
        if (name !== 'host-gw')
          assert.deepEqual([said, Sends], [isPlain ? undefined : [[Port, DirectRouting]], undefined])
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
      return counted
    }

    if (long || kind === 'rp_filter 0, guard on')
      it('streams of TCP and UDP arrive whole without a change', async () => {
        usuallyReordered = reorderedIn(
          await streamed(async () => await systemClock.sleep(repeat(1_000, 5_000), AbortSignal.timeout(10_000))),
        )
      })

    for (const [place, name] of others.entries()) {
      const before = tour[place] ?? first
      it(`from ${before} to ${name} loses no packet, and no stream notices it`, async () => {
        const ways = [DEVICES[before], tunnel]
        const counted = await streamed(async () => {
          await change(name)
          await settled(name)
          await changing.nothingLost()
        })
        const reordered = reorderedIn(counted)
        seen.changes += 1
        seen.pings = changing.judges.reduce((sum, judge) => sum + judge.verdict().sent, 0)
        for (const { tcp, udp } of counted) {
          seen.tcpBytes += tcp.received
          seen.datagrams += udp.sent
        }
        seen.reordered += reordered
        // What waits in the engine of userspace udp is overtaken by what needs no process: at most what arrives before the old way ends.
        const mayWait = ways.some((device) => [TUNNELS.udp, TUNNELS['udp with another port']].includes(device))
          ? (hosts.length * DATAGRAMS_PER_SECOND) / 2
          : 0
        assert.ok(
          reordered <= usuallyReordered + mayWait,
          `${reordered} datagrams reordered, ${usuallyReordered} without a change`,
        )
      })
    }
  })

function segmentOf({ address }: Host): string {
  return address.slice(0, address.lastIndexOf('.'))
}

function reorderedIn(counted: readonly StreamCounts[]): number {
  return counted.reduce((sum, { udp }) => sum + udp.reordered, 0)
}
