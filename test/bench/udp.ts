// npm run bench:udp [-- --seconds 5] [--rounds 3]: container to container through the userspace proxy and, alternating, through
// flannel's daemon ($FLANNELD_PEER). One line per measure: ours, the peer's, the ratio of the medians.
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Container } from '../../lab/container.ts'
import { Lab } from '../../lab/lab.ts'
import type { Program } from '../../lab/program.ts'
import type { Cidr } from '../../lib/address.ts'
import { UdpHost, udpNetwork } from '../netns/udp-host.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '3' },
    /** Only the measures whose names begin so: `UDP`. */
    only: { type: 'string', default: '' },
    /** Only ours, to tune. */
    alone: { type: 'boolean', default: false },
  },
})
const seconds = Number(values.seconds)
const rounds = Number(values.rounds)
const peerProgram = process.env['FLANNELD_PEER'] ?? ''
if (peerProgram === '' && !values.alone) throw new Error('FLANNELD_PEER names no flannel daemon (or give --alone)')

interface Side {
  readonly name: string
  readonly from: Container
  readonly to: Container
  /** Both ends' daemons: their processor time is the price. */
  readonly daemons: readonly Program[]
}

interface Measure {
  readonly name: string
  readonly unit: string
  readonly digits: number
  readonly better: 'more' | 'less'
  take(side: Side): Promise<readonly number[]>
  /** A measure may give more than one figure at once; the names of the further ones. */
  readonly also?: readonly { name: string; unit: string; digits: number; better: 'more' | 'less' }[]
}

const allMeasures: readonly Measure[] = [
  {
    name: 'TCP, 1 stream',
    unit: 'Gbit/s',
    digits: 2,
    better: 'more',
    also: [{ name: '  daemons, CPU per Gbit/s', unit: '% of a core', digits: 0, better: 'less' }],
    take: async (side) => await tcp(side, 1),
  },
  {
    name: 'TCP, 4 streams',
    unit: 'Gbit/s',
    digits: 2,
    better: 'more',
    also: [{ name: '  daemons, CPU per Gbit/s', unit: '% of a core', digits: 0, better: 'less' }],
    take: async (side) => await tcp(side, 4),
  },
  {
    name: 'UDP, 64 bytes, received',
    unit: '/s',
    digits: 0,
    better: 'more',
    take: async (side) => {
      const { end } = await iperf(side, ['-u', '-b', '0', '-l', '64'])
      // What the receiver counted: flooded, the sender's number says nothing.
      const { packets, lost_packets: lost } = end.sum_received ?? end.sum
      return [(packets - lost) / seconds]
    },
  },
  {
    name: 'round trip, p50',
    unit: 'us',
    digits: 0,
    better: 'less',
    also: [{ name: 'round trip, p99', unit: 'us', digits: 0, better: 'less' }],
    take: roundTrips,
  },
]

const measures = allMeasures.filter(({ name }) => name.startsWith(values.only))

const lab = await Lab.create({
  segments: [{ name: 'lan', subnet: '192.168.64.0/24', hosts: ['ours1', 'ours2', 'peer1', 'peer2'] }],
  netConf: { Network: udpNetwork, Backend: { Type: 'udp' } },
})
try {
  const sides = [await ours(), ...(values.alone ? [] : [await peers()])]
  const results = new Map<string, number[][]>()
  for (let round = 0; round < rounds; round += 1) {
    for (const measure of measures) {
      for (const side of sides) {
        const figures = await measure.take(side)
        for (const [index, figure] of figures.entries()) {
          const key = `${side.name} ${measure.name} ${index}`
          results.set(key, [...(results.get(key) ?? []), [figure]])
        }
        await delay(200)
      }
    }
  }
  for (const measure of measures) {
    for (const [index, what] of [measure, ...(measure.also ?? [])].entries()) {
      const medians = sides.map(({ name }) => median((results.get(`${name} ${measure.name} ${index}`) ?? []).flat()))
      const [own = Number.NaN, peer] = medians
      const shown = `${what.name.padEnd(26)} ${own.toFixed(what.digits).padStart(9)} ${what.unit}`
      const against =
        peer === undefined
          ? ''
          : `   flannel ${peer.toFixed(what.digits).padStart(8)}   ratio ${(own / peer).toFixed(2)}`
      process.stdout.write(`${shown}${against}\n`)
    }
  }
} finally {
  await lab.close()
}

async function ours(): Promise<Side> {
  const [one, two] = [lab.host('ours1'), lab.host('ours2')]
  const subnets = ['10.5.1.0/24', '10.5.2.0/24'] as Cidr[]
  const [first = '' as Cidr, second = '' as Cidr] = subnets
  const left = await UdpHost.start(one, first, [{ subnet: second, publicIp: two.address }])
  const right = await UdpHost.start(two, second, [{ subnet: first, publicIp: one.address }])
  return await side('ours', left.program, right.program, one, two)
}

async function peers(): Promise<Side> {
  const [one, two] = [lab.host('peer1'), lab.host('peer2')]
  const left = await one.startDaemon({ program: peerProgram })
  const right = await two.startDaemon({ program: peerProgram })
  return await side('flannel', left, right, one, two)
}

async function side(
  name: string,
  left: Program,
  right: Program,
  one: (typeof lab.hosts)[0],
  two: (typeof lab.hosts)[0],
) {
  if (one === undefined || two === undefined) throw new Error('the lab has too few hosts')
  const [from, to] = [await one.addContainer('c'), await two.addContainer('c')]
  await to.start(['iperf3', '-s'], { log: `${two.folder}/iperf.log` })
  for (let tries = 0; (await from.ping(to.address, { count: 1 })).received === 0; tries += 1) {
    if (tries > 10) throw new Error(`${name}: the containers do not reach each other`)
  }
  return { name, from, to, daemons: [left, right] }
}

async function tcp(side: Side, streams: number): Promise<readonly number[]> {
  const before = processorSeconds(side)
  const { end } = await iperf(side, ['-P', String(streams)])
  const used = ((processorSeconds(side) - before) / seconds) * 100
  const gigabits = end.sum_received.bits_per_second / 1e9
  return [gigabits, used / gigabits]
}

// biome-ignore lint/suspicious/noExplicitAny: the shape is iperf3's
async function iperf(side: Side, args: readonly string[]): Promise<any> {
  const argv = ['iperf3', '-J', '-c', side.to.address, '-t', String(seconds), ...args]
  const { stdout } = await side.from.exec(argv, { timeout: (seconds + 20) * 1000 })
  return JSON.parse(stdout)
}

async function roundTrips(side: Side): Promise<readonly number[]> {
  const argv = ['ping', '-n', '-i', '0.002', '-c', '1000', side.to.address]
  const { stdout } = await side.from.exec(argv, { anyCode: true })
  const times = [...stdout.matchAll(/time=([\d.]+)/g)].map(([, ms]) => Number(ms) * 1000).sort((a, b) => a - b)
  return [times[Math.floor(times.length / 2)] ?? Number.NaN, times[Math.floor(times.length * 0.99)] ?? Number.NaN]
}

/** User and system time of the daemons so far. */
function processorSeconds({ daemons }: Side): number {
  return daemons.reduce((sum, { pid }) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ')
    return sum + (Number(fields[11]) + Number(fields[12])) / 100
  }, 0)
}

function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
