import assert from 'node:assert/strict'
import type { Container } from '../../lab/container.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { IpAddr } from '../../lib/address.ts'
import { knowsPeers, startDaemon, until } from '../e2e/world.ts'
import { gigabitsPerSecond, smallDatagramsPerSecond } from './iperf.ts'
import type { Figure, Measurement, Sample } from './measurement.ts'

/** Short, and often: what else runs on the machine changes from second to second. */
const SECONDS = 1
const TURNS = 6
const BACKENDS = ['vxlan', 'host-gw'] as const
const MODES = ['off', 'count', 'on'] as const
type Mode = (typeof MODES)[number]

const MEASURES = [
  { name: 'TCP, 1 stream', unit: 'Gbit/s', digits: 2, take: gigabitsPerSecond },
  { name: 'UDP, 64 bytes, received', unit: '/s', digits: 0, take: smallDatagramsPerSecond },
] as const

/** Two hosts with one backend and one mode of the guard, in a cluster of their own. */
interface Pair {
  readonly mode: Mode
  readonly from: Container
  readonly address: IpAddr
}

/**
 * What the ingress guard takes from the traffic that it lets through, container to container. All modes stand beside each other in one lab and
 * take turns, another one first each time; of its turns in a round the fastest counts, being the least disturbed one.
 */
export const guard: Measurement = {
  name: 'guard',
  rounds: 3,
  oursOnly: true,
  figures: BACKENDS.flatMap((backend) => MEASURES.flatMap((measure) => figuresOf(backend, measure))),
  async prepare(defer) {
    const hosts = BACKENDS.flatMap((backend) => MODES.flatMap((mode) => hostNames(backend, mode)))
    const lab = await Lab.create({ segments: [{ name: 'lan', subnet: '192.168.64.0/24', hosts }] })
    defer(() => lab.close())
    const pairs = new Map<string, readonly Pair[]>()
    for (const backend of BACKENDS) {
      const made: Pair[] = []
      for (const mode of MODES) made.push(await makePair(lab, backend, mode))
      pairs.set(backend, made)
    }
    return async () => {
      const sample: Record<string, number> = {}
      for (const [backend, made] of pairs) Object.assign(sample, await sampleOf(backend, made))
      return sample
    }
  },
}

function figuresOf(backend: string, { name, unit, digits }: (typeof MEASURES)[number]): readonly Figure[] {
  return [
    { key: keyOf(backend, name, 'off'), title: `${backend}, ${name}, guard off`, unit, digits },
    { key: keyOf(backend, name, 'count'), title: '  count, share of it', unit: '', digits: 3 },
    { key: keyOf(backend, name, 'on'), title: '  on, share of it', unit: '', digits: 3 },
  ]
}

async function makePair(lab: Lab, backend: string, mode: Mode): Promise<Pair> {
  const prefix = `/bench/${backend}/${mode}`
  await lab.configure({ Network: '10.5.0.0/16', Backend: { Type: backend } }, prefix)
  const [one, two] = hostNames(backend, mode).map((name) => lab.host(name)) as [Host, Host]
  for (const host of [one, two])
    await startDaemon(host, { args: [`--etcd-prefix=${prefix}`, `--ingress-guard=${mode}`] })
  for (const host of [one, two]) {
    await knowsPeers(host, 1, 30_000)
    const { stdout } = await host.exec(['nft', 'list', 'ruleset'])
    assert.equal(/flanneld-guard/.test(stdout), mode !== 'off', `${host.label}: the guard is ${mode}`)
  }
  const [from, to] = [await one.addContainer('c'), await two.addContainer('c')]
  await to.start(['iperf3', '-s'], { log: `${two.folder}/iperf.log` })
  await until(10_000, 'the containers reach each other', async () => {
    assert.equal((await from.ping(to.address, { count: 1 })).received, 1)
  })
  return { mode, from, address: to.address }
}

async function sampleOf(backend: string, pairs: readonly Pair[]): Promise<Sample> {
  const sample: Record<string, number> = {}
  for (const { name, take } of MEASURES) {
    const best = new Map<Mode, number>()
    for (let turn = 0; turn < TURNS; turn += 1) {
      const first = turn % pairs.length
      for (const pair of [...pairs.slice(first), ...pairs.slice(0, first)])
        best.set(pair.mode, Math.max(best.get(pair.mode) ?? 0, await take(pair, SECONDS)))
    }
    const off = best.get('off') ?? Number.NaN
    for (const [mode, value] of best) sample[keyOf(backend, name, mode)] = mode === 'off' ? value : value / off
  }
  return sample
}

function keyOf(backend: string, measure: string, mode: Mode): string {
  return `${backend} ${measure} ${mode}`
}

function hostNames(backend: string, mode: Mode): readonly string[] {
  // Names of hosts are short.
  const name = `${backend.slice(0, 1)}${mode}`
  return [`${name}1`, `${name}2`]
}
