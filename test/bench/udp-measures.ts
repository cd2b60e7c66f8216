import { execPath } from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { gigabitsPerSecond, iperf, SMALL_DATAGRAMS, smallDatagramsPerSecond } from './iperf.ts'
import { cpuMs, residentMb } from './process-cost.ts'
import { percentile } from './statistics.ts'
import { HEALTH_PORT, type Side } from './udp-sides.ts'

export interface Figure {
  readonly title: string
  readonly unit: string
  readonly digits: number
  /** Of issue 4, as a multiple of flannel's figure, or an own bound. */
  readonly goal?: { readonly atLeast: number } | { readonly atMost: number } | { readonly under: number }
}

export interface Measure {
  readonly name: string
  readonly figures: readonly Figure[]
  /** Only where a daemon of ours runs. */
  readonly oursOnly?: boolean
  /** A value for each figure; undefined where the side has none. */
  take(side: Side, seconds: number): Promise<readonly (number | undefined)[]>
}

const price: Figure = { title: '  CPU of the daemons per Gbit/s', unit: '%', digits: 0, goal: { atMost: 0.2 } }

export const measures: readonly Measure[] = [
  {
    name: 'tcp',
    figures: [{ title: 'TCP, 1 stream', unit: 'Gbit/s', digits: 2, goal: { atLeast: 5 } }, price],
    take: async (side, seconds) => await tcp(side, seconds, 1),
  },
  {
    name: 'tcp4',
    figures: [{ title: 'TCP, 4 streams', unit: 'Gbit/s', digits: 2, goal: { atLeast: 5 } }, price],
    take: async (side, seconds) => await tcp(side, seconds, 4),
  },
  {
    name: 'udp',
    figures: [{ title: 'UDP, 64 bytes, received', unit: '/s', digits: 0, goal: { atLeast: 2 } }],
    take: async (side, seconds) => [await smallDatagramsPerSecond(side, seconds)],
  },
  {
    name: 'rtt',
    figures: [
      { title: 'round trip, p50', unit: 'us', digits: 0, goal: { atMost: 1 } },
      { title: 'round trip, p99', unit: 'us', digits: 0, goal: { atMost: 1 } },
    ],
    take: async ({ from, address }) => {
      const argv = ['ping', '-n', '-i', '0.002', '-c', '1000', address]
      const { stdout } = await from.exec(argv, { anyCode: true, timeout: 60_000 })
      const times = [...stdout.matchAll(/time=([\d.]+)/g)].map(([, ms]) => Number(ms) * 1000)
      return [percentile(times, 0.5), percentile(times, 0.99)]
    },
  },
  {
    name: 'health',
    oursOnly: true,
    figures: ['TCP, 4 streams', 'UDP, 64 bytes'].flatMap((load) => [
      { title: `/healthz under ${load}: p50`, unit: 'ms', digits: 1 },
      { title: '  p99', unit: 'ms', digits: 1, goal: { under: 50 } },
      { title: '  longest', unit: 'ms', digits: 1 },
      { title: '  p99 of how late a timer of the asking program is', unit: 'ms', digits: 1 },
    ]),
    take: async (side, seconds) => [
      ...(await health(side, seconds, ['-P', '4'])),
      ...(await health(side, seconds, SMALL_DATAGRAMS)),
    ],
  },
  {
    // After the load of the others.
    name: 'memory',
    figures: [{ title: 'resident memory of a daemon', unit: 'MB', digits: 1 }],
    take: async ({ daemons }) => {
      const each = daemons().map(({ pid }) => residentMb(pid))
      return [each.length === 0 ? undefined : Math.max(...each)]
    },
  },
  {
    name: 'restart',
    figures: [{ title: 'gap in a running ping when one daemon is restarted', unit: 'ms', digits: 0 }],
    take: async ({ from, address, daemons, restart }) => {
      if (daemons().length === 0) return [undefined]
      const judge = from.startPing(address, PING_MS)
      try {
        await judge.answered(AbortSignal.timeout(10_000))
        await restart()
        await delay(2_000)
      } finally {
        await judge.stop()
      }
      return [judge.verdict().lost * PING_MS]
    },
  },
]

const PING_MS = 10

async function tcp(side: Side, seconds: number, streams: number): Promise<readonly (number | undefined)[]> {
  const before = processorMs(side)
  const gigabits = await gigabitsPerSecond(side, seconds, streams)
  const percent = (processorMs(side) - before) / (seconds * 10)
  return [gigabits, side.daemons().length === 0 ? undefined : percent / gigabits]
}

function processorMs({ daemons }: Side): number {
  return daemons().reduce((sum, { pid }) => sum + cpuMs(pid), 0)
}

// Asks over one connection, with 10 ms between an answer and the next question.
const asker = `
const [, port, seconds] = process.argv
const http = require('node:http'), agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
const took = [], late = [], end = performance.now() + Number(seconds) * 1000
function ask() {
  const asked = performance.now()
  http.get({ host: '127.0.0.1', port, path: '/healthz', agent }, (response) => response.resume().on('end', () => {
    const now = performance.now()
    took.push(now - asked)
    if (now > end) { agent.destroy(); console.log(JSON.stringify({ took, late })) }
    else setTimeout(() => { late.push(performance.now() - now - 10); ask() }, 10)
  }))
}
ask()`

async function health(side: Side, seconds: number, load: readonly string[]): Promise<readonly number[]> {
  const argv = [execPath, '-e', asker, String(HEALTH_PORT), String(seconds)]
  const ask = side.hosts.map(async (host) => JSON.parse((await host.exec(argv, { timeout: 120_000 })).stdout))
  const [answers] = await Promise.all([Promise.all(ask), iperf(side, seconds, load)])
  const took: number[] = answers.flatMap((answer) => answer.took)
  const late: number[] = answers.flatMap((answer) => answer.late)
  return [percentile(took, 0.5), percentile(took, 0.99), percentile(took, 1), percentile(late, 0.99)]
}
